"""Consensus of three pickers on real micrographs, nothing being told of the pickers.

    python benchmarks/picking_consensus.py [--seeds 3] [--radius-px 40] [--native]

EMPIAR-10017, the 8 micrographs for which picks of crYOLO, Topaz and DeepPicker are at hand (all
three are public networks with EMPIAR-10017 among their training data). A pick counts when it is
within 40 px of a particle of the experts, one to one. Reliability is estimated from the picks of
all 8 micrographs together, without truth; nothing is fitted to the truth. The truth enters only the
columns of scores, and "best threshold", which shows what a better threshold could gain.

In the second table the file of one picker at a time is replaced by random points: as many, with the
same scores, at even density over the area of its picks. Its right standard is the consensus
without that file, since what a good picker found is gone with it.

With `--native` also the native pickers, on all 12 micrographs with a truth, and their consensus;
the size is the known one.
"""

import argparse
import time
from functools import partial

import numpy as np
import pandas as pd
from picking_common import (
    EMPIAR_PIXEL_ANGST,
    TOLERANCE_PX,
    Score,
    empiar_micrograph,
    empiar_names,
    empiar_picked_names,
    empiar_picks,
    empiar_truth,
    matched,
    positions,
    score,
)

from cryosnake.picking.agreement import agreement
from cryosnake.picking.consensus import consensus
from cryosnake.picking.correlation_picker import pick_correlation
from cryosnake.picking.log_picker import pick_log
from cryosnake.picking.mask import usable_mask
from cryosnake.picking.network import pretrained_pair
from cryosnake.picking.network_picker import pick_network
from cryosnake.picking.reliability import Reliability, estimate_reliability
from cryosnake.picking.size_model import ParticleSize
from cryosnake.picking.thresholds import certain_threshold

PICKERS = ["crYOLO", "topaz", "deepPicker"]
BETA_GALACTOSIDASE = ParticleSize(
    diameter_angst=150.0,
    uncertainty_angst=10.0,
    long_axis_angst=180.0,
    short_axis_angst=120.0,
    elongated=False,
    box_px=180,
)
Tables = list[pd.DataFrame]
Micrographs = list[dict[str, pd.DataFrame]]


def total(tables: Tables, truths: list[np.ndarray]) -> Score:
    """All micrographs together."""
    return sum(
        (score(positions(one), truth) for one, truth in zip(tables, truths, strict=True)),
        Score(0, 0, 0),
    )


def row(name: str, result: Score) -> str:
    return (
        f"| {name} | {result.picks} | {result.precision:.3f} | {result.recall:.3f} | "
        f"{result.f1:.3f} |"
    )


def ranking(tables: Tables, truths: list[np.ndarray]) -> tuple[float, float]:
    """Best F1 of any threshold on the figure of merit, and precision at a recall of 0.60."""
    pairs = list(zip(tables, truths, strict=True))
    hits = np.concatenate([matched(positions(t), truth, TOLERANCE_PX) >= 0 for t, truth in pairs])
    merit = np.concatenate([one["rlnAutopickFigureOfMerit"] for one in tables])
    particles = sum(map(len, truths))
    found = np.cumsum(hits[np.argsort(-merit, kind="stable")])
    kept = np.arange(1, len(found) + 1)
    at = int(np.searchsorted(found, 0.6 * particles))
    precision = float((found / kept)[at]) if at < len(found) else float("nan")
    return float((2 * found / (kept + particles)).max()), precision


def combined(
    micrographs: Micrographs, radius_px: float, **options
) -> tuple[Tables, Reliability, float]:
    """Consensus of all micrographs, the reliability, and seconds a micrograph for both."""
    start = time.perf_counter()
    reliability = estimate_reliability(micrographs, radius_px)
    tables = [consensus(one, radius_px, reliability=reliability, **options) for one in micrographs]
    return tables, reliability, (time.perf_counter() - start) / len(micrographs)


def without(micrographs: Micrographs, name: str) -> Micrographs:
    return [{key: one[key] for key in one if key != name} for one in micrographs]


def at_random(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """As many picks with the same scores, anywhere in the area of the picks."""
    spots = positions(table)
    spots = rng.uniform(spots.min(axis=0), spots.max(axis=0), spots.shape)
    return table.assign(rlnCoordinateX=spots[:, 0], rlnCoordinateY=spots[:, 1])


def modes(micrographs: Micrographs, truths: list[np.ndarray], radius_px: float) -> Score:
    """Table of the pickers alone, the plain modes and the consensus; the score of the latter."""
    names = sorted(micrographs[0])
    print("\n| picks | number | precision | recall | F1 |\n|---|---|---|---|---|")
    for name in names:
        print(row(name, total([one[name] for one in micrographs], truths)))
    plain = {"2 of 3": ("k_of_n", 2), "3 of 3": ("and", 3), "any": ("or", 1)}
    for label, (mode, k) in plain.items():
        tables, _, _ = combined(micrographs, radius_px, mode=mode, k=k)
        print(row(label, total(tables, truths)))
    tables, reliability, seconds = combined(micrographs, radius_px)
    result = total(tables, truths)
    print(row("**consensus**", result))
    # all locations, to see their order; two estimates of the same picks are the same
    every = [
        consensus(one, radius_px, reliability=reliability, min_probability=0.0)
        for one in micrographs
    ]
    merit = np.concatenate([one["rlnAutopickFigureOfMerit"] for one in every])
    threshold = certain_threshold(merit, reliability.particles * len(micrographs))
    certain = [one[one["rlnAutopickFigureOfMerit"] >= threshold] for one in every]
    print(row("training set (`certain_threshold`)", total(certain, truths)))
    best, precision = ranking(every, truths)
    print(f"\nBest threshold: F1 {best:.3f}. Precision at recall 0.60: {precision:.3f}.")
    print(f"Estimate and consensus together: {seconds:.2f} s a micrograph.\n")
    table = reliability.table()
    for name in names:
        own = total([one[name] for one in micrographs], truths)
        table.loc[name, ["true precision", "true recall"]] = own.precision, own.recall
    print(markdown(table))
    print("\n" + markdown(agreement(micrographs, radius_px).subsets.set_index("found_by")))
    return result


def markdown(table: pd.DataFrame) -> str:
    """A table of text and numbers as Markdown."""

    def cell(value) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| | " + " | ".join(map(str, table)) + " |", "|---" * (len(table.columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(map(cell, values)) + " |"
        for name, values in table.astype(object).iterrows()
    ]
    return "\n".join(lines)


def replaced(
    micrographs: Micrographs, truths: list[np.ndarray], radius_px: float, seeds: int, whole: Score
) -> None:
    print(f"| file replaced, {seeds} seeds | F1 (worst) | falls by | consensus without that file |")
    print("|---|---|---|---|")
    print(f"| none | {whole.f1:.3f} | | |")
    for name in PICKERS:
        found, told = [], True
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            bad = [{**one, name: at_random(one[name], rng)} for one in micrographs]
            tables, reliability, _ = combined(bad, radius_px)
            found.append(total(tables, truths).f1)
            told &= reliability.failed == [name]
        rest = total(combined(without(micrographs, name), radius_px)[0], truths)
        verdict = "named as failed every time" if told else "NOT always named as failed"
        print(
            f"| {name} ({verdict}) | {min(found):.3f} | {whole.f1 - min(found):+.3f} | "
            f"{rest.f1:.3f} |"
        )


def native() -> tuple[Micrographs, list[np.ndarray]]:
    """Picks of the native pickers on all micrographs at hand, the size being known; the truth."""
    pickers = {
        "log": pick_log,
        "correlation": pick_correlation,
        "network": partial(pick_network, model=pretrained_pair("cpu"), device="cpu"),
    }
    micrographs, truths = [], []
    for name in empiar_names():
        image = empiar_micrograph(name)
        mask = usable_mask(image, EMPIAR_PIXEL_ANGST, BETA_GALACTOSIDASE)
        micrographs.append(
            {
                picker: pick(image, EMPIAR_PIXEL_ANGST, BETA_GALACTOSIDASE, mask=mask)
                for picker, pick in pickers.items()
            }
        )
        truths.append(empiar_truth(name))
    return micrographs, truths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--radius-px", type=float, default=TOLERANCE_PX)
    parser.add_argument("--native", action="store_true", help="also the native pickers")
    args = parser.parse_args()
    names = empiar_picked_names()
    if not names:
        raise SystemExit("EMPIAR-10017 is not at hand")
    truths = [empiar_truth(name) for name in names]
    micrographs = [{one: empiar_picks(one, name) for one in PICKERS} for name in names]
    print(
        f"## Consensus, EMPIAR-10017, {len(names)} micrographs, {sum(map(len, truths))} particles"
    )
    print(f"\nRadius {args.radius_px:.0f} px.\n")
    whole = modes(micrographs, truths, args.radius_px)
    print()
    replaced(micrographs, truths, args.radius_px, args.seeds, whole)
    if args.native:
        micrographs, truths = native()
        print(f"\n## Native pickers, EMPIAR-10017, {len(truths)} micrographs\n")
        modes(micrographs, truths, args.radius_px)


if __name__ == "__main__":
    main()
