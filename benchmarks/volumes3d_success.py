"""How often ab initio reconstruction succeeds, and how honest a refinement from it is.

    python benchmarks/volumes3d_success.py [--structures asymmetric,betagal,membrane]
        [--seeds 1,2,3,4,5,6,7,8,9,10] [--refine]

Every seed simulates a stack of its own. Success is an FSC of 0.5 with the truth better than 20 A
after alignment in both hands. With --refine, what is reported is held against the FSC 0.5 with the
truth in two ways: the program's own figure, under the sphere, with the truth under the sphere; and
the corrected FSC under the automatic mask with the truth under that mask.
"""

import argparse
import time

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import crossing_angst, fsc, named, onto, optics_of, pixel_size_of, true_volume

from cryosnake.validation.fsc import corrected_fsc
from cryosnake.validation.mask import automatic_mask
from cryosnake.volumes3d import ab_initio, refine

_GOAL_ANGST = 20.0


def run(name: str, seed: int, args) -> dict:
    """One structure, one seed: CPU seconds and resolutions."""
    structure, diameter_angst = named(name)
    pixel_size_angst = args.pixel_size or pixel_size_of(name, args.box)
    sizes = {"pixel_size_angst": pixel_size_angst, "diameter_angst": diameter_angst}
    stack = simulated_stack(
        args.particles,
        box_px=args.box,
        species=[structure],
        snr=(args.snr / 1.8, args.snr * 1.8),
        junk=args.junk,
        seed=seed,
        **sizes,
    )
    optics, truth = optics_of(stack.table), true_volume(structure, args.box, pixel_size_angst)
    begin = time.process_time()
    (found,) = ab_initio(stack.images, optics, restarts=args.restarts, seed=seed, **sizes)
    row = {"cpu_s": time.process_time() - begin}
    row["truth"] = onto(found.volume, truth, pixel_size_angst, diameter_angst)[2]
    line = f"{name:16s} seed {seed:2d}  {row['cpu_s']:5.1f} s, truth {row['truth']:5.1f} A"
    if args.refine:
        begin = time.process_time()
        final = refine(stack.images, optics, found.volume, seed=seed, **sizes)
        row["refine_cpu_s"] = time.process_time() - begin
        row |= _honesty(final, truth, pixel_size_angst, diameter_angst)
        line += (
            f"  refined {row['refine_cpu_s']:5.1f} s, sphere: truth {row['refined']:5.2f}, "
            f"reported {row['reported']:5.2f}; mask: truth {row['masked']:5.2f}, "
            f"corrected {row['corrected']:5.2f} A"
        )
    print(line, flush=True)
    return row


def _honesty(final, truth: torch.Tensor, pixel_size_angst: float, diameter_angst: float) -> dict:
    """Resolutions in angstrom that are claimed, and those to the truth."""
    mask = automatic_mask(final.halves.mean(0), pixel_size_angst)
    corrected = corrected_fsc(*final.halves, pixel_size_angst, mask).resolution_angst
    mean = final.halves.mean(0)
    moved, _, refined = onto(mean, truth, pixel_size_angst, diameter_angst)
    turned_mask = torch.from_numpy(automatic_mask(moved.numpy(), pixel_size_angst))
    curve = fsc(moved * turned_mask, truth * turned_mask)
    return {
        "refined": refined,
        "reported": final.resolution_angst,
        "masked": crossing_angst(curve, len(curve) * 2, pixel_size_angst),
        "corrected": corrected,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structures", default="asymmetric,betagal,membrane")
    parser.add_argument("--seeds", default="1,2,3,4,5,6,7,8,9,10")
    parser.add_argument("--particles", type=int, default=1500)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pixel-size", type=float, help="angstrom; 3.5, for the membrane 4.2")
    parser.add_argument("--snr", type=float, default=0.055, help="middle of a range of 3.2")
    parser.add_argument("--junk", type=float, default=0.0)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--refine", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(vars(args), flush=True)
    for name in args.structures.split(","):
        rows = [run(name, int(seed), args) for seed in args.seeds.split(",")]
        truth = np.array([row["truth"] for row in rows])
        line = (
            f"{name:16s} {int((truth < _GOAL_ANGST).sum())} of {len(rows)} better than "
            f"{_GOAL_ANGST:.0f} A, median {np.median(truth):.1f}, worst {truth.max():.1f} A, "
            f"{np.median([row['cpu_s'] for row in rows]):.0f} CPU s"
        )
        if args.refine:
            own = np.array([row["reported"] / row["refined"] for row in rows])
            mask = np.array([row["corrected"] / row["masked"] for row in rows])
            line += (
                f"; reported / truth {own.min():.2f} to {own.max():.2f} under the sphere, "
                f"{mask.min():.2f} to {mask.max():.2f} under the mask"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
