"""Ab initio volumes and refinements of simulated stacks against their truth, seed by seed.

    python benchmarks/volumes3d_truth.py [--particles 1500] [--seeds 1,2,3] [--refine]

Prints, for each structure and seed, CPU seconds (one thread), the resolution at which the volume
and the truth correlate to 0.5 after brute-force alignment in both hands, and what the program
itself reports. Every seed simulates a stack of its own.
"""

import argparse
import time

import torch
from classes2d_common import AMPLITUDE_CONTRAST, CS_MM, VOLTAGE_KV, simulated_stack
from volumes3d_common import named, onto, true_volume

from cryosnake.classes2d import Optics
from cryosnake.volumes3d import ab_initio, refine


def optics_of(table) -> Optics:
    """The CTF parameters of a simulated stack."""
    parts = (table[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle"))
    return Optics(*parts, VOLTAGE_KV, CS_MM, AMPLITUDE_CONTRAST)


def run(name: str, seed: int, args) -> None:
    """One structure, one seed."""
    structure, diameter_angst = named(name)
    sizes = {"pixel_size_angst": args.pixel_size, "diameter_angst": diameter_angst}
    stack = simulated_stack(
        args.particles,
        box_px=args.box,
        species=[structure],
        snr=(args.snr / 1.8, args.snr * 1.8),
        junk=args.junk,
        seed=seed,
        **sizes,
    )
    optics, truth = optics_of(stack.table), true_volume(structure, args.box, args.pixel_size)
    begin = time.process_time()
    (found,) = ab_initio(stack.images, optics, restarts=args.restarts, seed=seed, **sizes)
    took = time.process_time() - begin
    right = onto(found.volume, truth, args.pixel_size, diameter_angst)[2]
    line = f"{name:16s} seed {seed:2d}  ab initio {took:5.1f} s, FSC 0.5 with truth {right:5.1f} A"
    if args.refine:
        begin = time.process_time()
        final = refine(stack.images, optics, found.volume, seed=seed, **sizes)
        took = time.process_time() - begin
        right = onto(final.volume, truth, args.pixel_size, diameter_angst)[2]
        line += (
            f"  refinement {took:5.1f} s, truth {right:5.2f} A, "
            f"reported {final.resolution_angst:5.2f} A"
        )
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structures", default="proteasome,betagal,half_proteasome,asymmetric")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--particles", type=int, default=1500)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pixel-size", type=float, default=3.5)
    parser.add_argument("--snr", type=float, default=0.055, help="middle of a range of 3.2")
    parser.add_argument("--junk", type=float, default=0.0)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--refine", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(vars(args), flush=True)
    for name in args.structures.split(","):
        for seed in args.seeds.split(","):
            run(name, int(seed), args)


if __name__ == "__main__":
    main()
