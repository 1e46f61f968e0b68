"""Mixtures from nothing: ab initio with several volumes, then 3D classification, against the truth.

    python benchmarks/volumes3d_mixture.py [--cases JUNK:ONE[+OTHER],...] [--seeds 1] [--truth]

A case is the fraction of junk (noise, pairs, edges of films, a third each) and one structure, or
two, of which the first makes up 70 % of the particles. For every case and seed one row of the
table: CPU seconds (one thread), the junk that is in no volume, the particles that are in one, and
how many of these are in a volume that mostly holds their kind. Below it the volumes. With --truth
also the FSC 0.5 of each volume with each structure (a minute more a case).
"""

import argparse
import time

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import named, onto, optics_of, true_volume

from cryosnake.volumes3d import ab_initio, classify3d

_PIXEL_ANGST, _BOX_PX = 3.5, 64
_CASES = (
    "0.3:proteasome",
    "0:proteasome+betagal",
    "0:betagal+half_proteasome",
    "0.3:proteasome+betagal",
)


def run(case: str, seed: int, args) -> None:
    """One case, one seed."""
    junk, _, names = case.partition(":")
    names = names.split("+")
    found = [named(name) for name in names]
    diameter_angst = max(diameter for _, diameter in found)
    sizes = {"pixel_size_angst": _PIXEL_ANGST, "diameter_angst": diameter_angst}
    kinds = [structure for structure, _ in found]
    stack = simulated_stack(
        args.particles,
        box_px=_BOX_PX,
        species=kinds if len(kinds) == 1 else [kinds[0]] * 7 + [kinds[1]] * 3,
        snr=(0.05, 0.2),
        junk=float(junk),
        seed=seed,
        **sizes,
    )
    optics, report = optics_of(stack.table), print if args.verbose else None
    options = {"seed": seed, "report": report, **sizes}
    begin = time.process_time()
    starts = ab_initio(stack.images, optics, volumes=2, restarts=args.restarts, **options)
    middle = time.process_time()
    result = classify3d(stack.images, optics, [one.volume for one in starts], **options)
    took = (middle - begin, time.process_time() - middle)
    kind, volume = stack.table["kind"].to_numpy(), result.poses.class_index
    counts = {
        one: np.bincount(volume[kind == one], minlength=len(starts) + 1) for one in np.unique(kind)
    }
    true = np.array([counts[name][:-1] for name in dict.fromkeys(s.name for s in kinds)])
    kept = (volume < len(starts)) & ~stack.junk
    removed = np.mean(volume[stack.junk] == len(starts)) if stack.junk.any() else np.nan
    print(
        f"| {case} | {seed} | {took[0]:.0f} | {took[1]:.0f} | {100 * removed:.1f} | "
        f"{100 * kept.sum() / (~stack.junk).sum():.1f} | "
        f"{100 * true.max(0).sum() / max(true.sum(), 1):.1f} |"
    )
    for one, row in counts.items():
        strange = int(result.outlier[kind == one].sum())
        print(f"    {one}: in volumes {row[:-1].tolist()}, in none {row[-1]} ({strange} outliers)")
    for k, one in enumerate(result.volumes):
        mine = volume == k
        evidence = result.poses.log_evidence[mine].mean() if mine.any() else np.nan
        line = (
            f"    volume {k + 1}: share {one.share:.3f}, {one.population} particles, mean log "
            f"evidence {evidence:.1f}, halves agree to {one.resolution_angst:.1f} A"
        )
        if args.truth and mine.any():
            for structure in kinds:
                truth = true_volume(structure, _BOX_PX, _PIXEL_ANGST)
                right = onto(one.volume, truth, _PIXEL_ANGST, diameter_angst)[2]
                line += f", FSC 0.5 with {structure.name} {right:.1f} A"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default=",".join(_CASES))
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(vars(args))
    print("| case | seed | ab initio s | classification s | junk removed % | kept % | pure % |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case in args.cases.split(","):
        for seed in args.seeds.split(","):
            run(case, int(seed), args)


if __name__ == "__main__":
    main()
