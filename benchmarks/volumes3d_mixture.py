"""Mixtures from nothing: ab initio with several volumes, then 3D classification, against the truth.

    python benchmarks/volumes3d_mixture.py [--species proteasome,proteasome,betagal] [--junk 0.3]

A species that is named twice is twice as frequent. Prints CPU seconds (one thread), what became of
each kind of particle, and the FSC 0.5 of each volume with each species.
"""

import argparse
import time

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import named, onto, true_volume
from volumes3d_truth import optics_of

from cryosnake.volumes3d import ab_initio, classify3d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--species", default="proteasome,proteasome,betagal")
    parser.add_argument("--volumes", type=int, default=2)
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pixel-size", type=float, default=3.5)
    parser.add_argument("--snr", type=float, default=0.1, help="middle of a range of 4")
    parser.add_argument("--junk", type=float, default=0.0)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(vars(args), flush=True)
    names = args.species.split(",")
    found = [named(name) for name in names]
    diameter_angst = max(diameter for _, diameter in found)
    sizes = {"pixel_size_angst": args.pixel_size, "diameter_angst": diameter_angst}
    stack = simulated_stack(
        args.particles,
        box_px=args.box,
        species=[structure for structure, _ in found],
        snr=(args.snr / 2, args.snr * 2),
        junk=args.junk,
        seed=args.seed,
        **sizes,
    )
    optics = optics_of(stack.table)
    begin = time.process_time()
    starts = ab_initio(
        stack.images,
        optics,
        volumes=args.volumes,
        restarts=args.restarts,
        seed=args.seed,
        report=print,
        **sizes,
    )
    print(f"ab initio {time.process_time() - begin:.1f} s", flush=True)
    begin = time.process_time()
    sorted_ = classify3d(
        stack.images, optics, [one.volume for one in starts], seed=args.seed, report=print, **sizes
    )
    print(f"classification {time.process_time() - begin:.1f} s", flush=True)
    for kind, rows in stack.table.groupby("kind"):
        counts = np.bincount(
            sorted_.poses.class_index[rows.index], minlength=args.volumes + 1
        ).tolist()
        print(f"{kind:16s} in volumes {counts[:-1]}, empty {counts[-1]}")
    for one in sorted_.volumes:
        right = []
        for name in dict.fromkeys(names):
            truth = true_volume(named(name)[0], args.box, args.pixel_size)
            resolution = onto(one.volume, truth, args.pixel_size, diameter_angst)[2]
            right.append(f"{name} {resolution:.1f} A")
        print(f"share {one.share:.3f}: FSC 0.5 with {', '.join(right)}", flush=True)


if __name__ == "__main__":
    main()
