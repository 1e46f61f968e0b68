"""Resolution against number of particles, refined from the volume and from known poses.

    python benchmarks/refine_forecast.py [--particles 2400] [--seeds 3,4]

A simulated stack is refined whole; then an eighth, a quarter and a half of it, each from the volume
cut at 40 A and from the poses of the whole. Prints CPU seconds (one thread), the corrected
FSC 0.143 of the half maps under the mask of the whole, FSC 0.5 with the truth, and what the line
through the parts foretells for the whole.
"""

import argparse
import time
from dataclasses import fields

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import named, optics_of, true_volume

from cryosnake.stages.postprocess import postprocess
from cryosnake.validation.forecast import fit_resolution
from cryosnake.validation.fsc import corrected_fsc
from cryosnake.validation.orientations import views
from cryosnake.validation.shells import low_pass
from cryosnake.volumes3d import VolumePoses, refine


def run(seed: int, args) -> None:
    """One stack: the whole, and its parts from either start."""
    structure, diameter_angst = named(args.structure)
    pixel = args.pixel_size
    truth = true_volume(structure, args.box, pixel).numpy()
    start = low_pass(truth, pixel, 40.0)
    stack = simulated_stack(
        args.particles,
        box_px=args.box,
        species=[structure],
        snr=(args.snr / 1.8, args.snr * 1.8),
        junk=0.0,
        seed=seed,
        pixel_size_angst=pixel,
        diameter_angst=diameter_angst,
    )
    mask_angst = 1.1 * diameter_angst
    sizes = {"pixel_size_angst": pixel, "diameter_angst": mask_angst, "seed": 1}

    def refined(rows: np.ndarray, poses: VolumePoses | None):
        begin = time.process_time()
        optics = optics_of(stack.table.iloc[rows])
        found = refine(stack.images[rows], optics, start, initial_poses=poses, **sizes)
        return found, time.process_time() - begin

    whole, took = refined(np.arange(args.particles), None)
    seen = views(whole.poses.rot_deg, whole.poses.tilt_deg)
    judged = postprocess(*whole.halves, pixel, seen, diameter_angst=mask_angst)

    def figures(found) -> tuple[float, float]:
        of_halves = corrected_fsc(*found.halves, pixel, judged.mask).resolution_angst
        with_truth = corrected_fsc(found.halves.mean(0), truth, pixel, judged.mask)
        return of_halves, with_truth.resolution_half_angst

    angst, right = figures(whole)
    print(f"seed {seed} whole {args.particles}: {angst:.2f} A, truth {right:.2f} A, {took:.0f} s")
    order = np.random.default_rng(1).permutation(args.particles)
    points = {"volume": [], "poses": []}
    for part in (8, 4, 2):
        rows = np.sort(order[: args.particles // part])
        known = {f.name: getattr(whole.poses, f.name)[rows].copy() for f in fields(VolumePoses)}
        for name, poses in (("volume", None), ("poses", VolumePoses(**known))):
            found, took = refined(rows, poses)
            of_halves, right = figures(found)
            points[name].append((len(rows), of_halves))
            print(
                f"seed {seed} {len(rows)} from the {name}: {of_halves:.2f} A, truth {right:.2f} A, "
                f"{took:.0f} s",
                flush=True,
            )
    for name, found in points.items():
        foretold = fit_resolution(*zip(*found, strict=True)).resolution_at(args.particles)
        print(f"seed {seed} foretold from the {name}: {foretold:.2f} A, found {angst:.2f} A")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structure", default="betagal")
    parser.add_argument("--seeds", default="3,4")
    parser.add_argument("--particles", type=int, default=2400)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pixel-size", type=float, default=3.5)
    parser.add_argument("--snr", type=float, default=0.0346, help="middle of a range of 3.2")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(vars(args), flush=True)
    for seed in args.seeds.split(","):
        run(int(seed), args)


if __name__ == "__main__":
    main()
