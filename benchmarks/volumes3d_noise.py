"""Refinements of pure noise against a true structure cut at 40 A: what resolution is claimed?

python benchmarks/volumes3d_noise.py [--particles 1500] [--seeds 1,2,3,4]
"""

import argparse

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import named, optics_of, true_volume

from cryosnake.volumes3d import refine

_BOX_PX, _PIXEL_ANGST = 64, 3.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structure", default="betagal")
    parser.add_argument("--particles", type=int, default=1500)
    parser.add_argument("--seeds", default="1,2,3,4")
    args = parser.parse_args()
    torch.set_num_threads(1)
    structure, diameter_angst = named(args.structure)
    sizes = {"pixel_size_angst": _PIXEL_ANGST, "diameter_angst": diameter_angst}
    truth = true_volume(structure, _BOX_PX, _PIXEL_ANGST).numpy()
    for seed in map(int, args.seeds.split(",")):
        table = simulated_stack(
            args.particles, box_px=_BOX_PX, species=[structure], seed=seed, **sizes
        ).table
        shape = (args.particles, _BOX_PX, _BOX_PX)
        images = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        found = refine(images, optics_of(table), truth, low_pass_angst=40.0, seed=seed, **sizes)
        print(
            f"seed {seed}: claimed {found.resolution_angst:.1f} A, mean log evidence "
            f"{found.poses.log_evidence.mean():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
