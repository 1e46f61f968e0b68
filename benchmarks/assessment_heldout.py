"""The class model on structures and seeds it was never trained on, at the default threshold.

    python benchmarks/assessment_heldout.py [--relion] [--only NAME ...] [--folder DIR]

Rates are by particles. Strict: junk in kept classes over all junk, and true particles in rejected
classes over all true ones; what is left in classes by the classification itself counts, and the
same rates of a choice that knows every class's majority stand beside them. By classes: particles in
kept classes that are mostly junk over those in all such classes, and the reverse. With --relion the
same sets are classified by RELION as well, about two minutes each.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from assessment_sets import (
    Classified,
    classified,
    counted,
    held_out_plan,
)
from assessment_stacks import KINDS, Plan, simulate
from assessment_structures import available
from classes2d_common import SimulatedStack, simulated_stack
from classes2d_relion import RELION, relion_found, write_stack

from cryosnake.assessment import LABELS, assess
from cryosnake.tables import read_star

THREE = "proteasome+betagal+apoferritin"
SETS = {
    "proteasome, 30 classes": ("proteasome", 9001, {"particles": 4000, "classes": 30}),
    "half proteasome": ("half_proteasome", 9002, {}),
    "beta-galactosidase": ("betagal", 9003, {}),
    "apoferritin": ("apoferritin", 9004, {}),
    "three": (THREE, 9005, {}),
    "three, 60 % junk": (THREE, 9006, {"junk": 0.6}),
    "one view preferred": ("betagal", 9007, {"preferred": 0.6, "snr": (0.1, 0.3)}),
    "weak": ("proteasome", 9008, {"snr": (0.02, 0.05), "classes": 12}),
    "little junk": ("apoferritin", 9009, {"junk": 0.05}),
}
#: Of RELION: small, it is slow.
RELION_SETS = {
    name: (
        structures,
        seed,
        {"particles": 1000, "classes": 10, "box_px": 48, "snr": (0.2, 0.5)},
    )
    for name, structures, seed in (
        ("proteasome, 1,000", "proteasome", 9101),
        ("beta-galactosidase, 1,000", "betagal", 9102),
    )
}
#: Stacks of the other simulation, `classes2d_common`: junk is noise, pairs and edges.
COMMON = {
    "classes2d_common, SNR 0.03-0.1": (9201, (0.03, 0.1)),
    "classes2d_common, SNR 0.1-0.3": (9202, (0.1, 0.3)),
}
ITERATIONS = 20


def common_set(seed: int, snr: tuple[float, float], folder: Path) -> Classified:
    """A stack of `classes2d_common`, classified by the native engine."""
    plan = held_out_plan("proteasome", seed, snr=snr, pixel_size_angst=4.0, diameter_angst=190.0)

    def simulated(plan: Plan) -> tuple[np.ndarray, pd.DataFrame]:
        stack = simulated_stack(plan.particles, snr=plan.snr, seed=plan.seed)
        kind = stack.table["kind"].where(stack.junk, "particle")
        return stack.images, stack.table.assign(kind=kind)

    return classified(plan, folder, simulated)


def relion_set(plan: Plan, folder: Path) -> Classified:
    """The set of a plan, classified by RELION."""
    images, particles = simulate(plan)
    n = plan.box_px
    axis = np.arange(n) - n // 2
    outside = np.hypot(*np.meshgrid(axis, axis)) * plan.pixel_size_angst > plan.diameter_angst / 2
    images -= images[:, outside].mean(1)[:, None, None]
    images /= images[:, outside].std(1)[:, None, None]
    stack = SimulatedStack(images, particles, [], plan.pixel_size_angst, plan.diameter_angst)
    (folder / "relion").mkdir(parents=True, exist_ok=True)
    if not (folder / "relion" / f"run_it{ITERATIONS:03d}_model.star").is_file():
        write_stack(stack, folder)
        command = RELION.format(
            iterations=ITERATIONS,
            classes=plan.classes,
            diameter=plan.diameter_angst,
            seed=1,
            threads=1,
        )
        with open(folder / "log.txt", "w") as log:
            subprocess.run(command.split(), cwd=folder, stdout=log, stderr=log, check=True)
    found = relion_found(folder, ITERATIONS)
    blocks = read_star(folder / "relion" / f"run_it{ITERATIONS:03d}_model.star")
    table = pd.DataFrame(blocks["model_classes"])
    members = read_star(folder / "relion" / f"run_it{ITERATIONS:03d}_data.star")["particles"]
    number = len(found.averages)
    population = np.bincount(found.classes, minlength=number)
    best = members["rlnMaxValueProbDistribution"].groupby(members["rlnClassNumber"]).mean()
    table = table.assign(
        csnClassPopulation=population,
        csnClassEvidence=np.nan,
        csnClassContrast=np.nan,
        csnClassProbability=best.reindex(range(1, number + 1)).to_numpy(),
    )
    counts = counted(found.classes, particles["kind"], number)
    return Classified(plan, found.averages, table, counts)


def judged(found: Classified) -> pd.DataFrame:
    """The table of `assess` at its defaults, with what the classes truly hold."""
    table = assess(
        found.averages,
        found.table,
        pixel_size_angst=found.plan.pixel_size_angst,
        diameter_angst=found.plan.diameter_angst,
    )
    return table.assign(
        good=found.counts[:, 0],
        junk=found.counts[:, 1:].sum(axis=1),
        mostly_good=found.labels == "good",
        truth=found.labels,
    )


def rates(table: pd.DataFrame) -> list[float]:
    """Strict false positives and negatives; those of a choice by majority; by classes."""
    good, junk = table["good"].to_numpy(), table["junk"].to_numpy()
    kept, mostly = table["csnClassKept"].to_numpy() == 1, table["mostly_good"].to_numpy()
    size = good + junk
    pairs = [
        (junk[kept], junk),
        (good[~kept], good),
        (junk[mostly], junk),
        (good[~mostly], good),
        (size[kept & ~mostly], size[~mostly]),
        (size[~kept & mostly], size[mostly]),
    ]
    return [part.sum() / max(whole.sum(), 1) for part, whole in pairs]


def show(name: str, table: pd.DataFrame) -> None:
    strict_fp, strict_fn, best_fp, best_fn, class_fp, class_fn = rates(table)
    print(
        f"{name:32} {strict_fp:6.3f} {strict_fn:6.3f}   {best_fp:6.3f} {best_fn:6.3f}   "
        f"{class_fp:6.3f} {class_fn:6.3f}   {int(table['csnClassKept'].sum()):3d} of {len(table)}",
        flush=True,
    )


def table_of(title: str, sets: dict[str, Classified]) -> None:
    """Print the rates of sets, one a line, of all together, and the confusion of classes."""
    print(f"\n{title}\n{'':32}        strict     by majority      by classes   kept")
    print(f"{'set':32} {'FP':>6} {'FN':>6}   {'FP':>6} {'FN':>6}   {'FP':>6} {'FN':>6}")
    tables = []
    for name, found in sets.items():
        tables.append(judged(found))
        show(name, tables[-1])
    total = pd.concat(tables, ignore_index=True)
    show("all", total)
    filled = total[total["csnClassPopulation"] > 0]
    crossed = pd.crosstab(filled["truth"], filled["csnClassLabel"])
    print(crossed.reindex(index=LABELS, columns=LABELS, fill_value=0).to_string())
    print("junk in kept classes, by kind:", end=" ")
    kept = {name: table["csnClassKept"] == 1 for name, table in zip(sets, tables, strict=True)}
    for index, kind in enumerate(KINDS):
        if index:
            inside = sum(
                one.counts[kept[name].to_numpy(), index].sum() for name, one in sets.items()
            )
            whole = sum(one.counts[:, index].sum() for one in sets.values())
            print(f"{kind} {inside / max(whole, 1):.3f}", end="  ")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relion", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "cryosnake-class-sets"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)

    def wanted(sets: dict) -> dict:
        return {
            name: held_out_plan(structures, seed, **changes)
            for name, (structures, seed, changes) in sets.items()
            if all(available(one) for one in structures.split("+"))
            and (not options.only or name in options.only)
        }

    sets = {name: classified(plan, options.folder) for name, plan in wanted(SETS).items()}
    sets |= {
        name: common_set(*settings, options.folder)
        for name, settings in COMMON.items()
        if not options.only or name in options.only
    }
    if sets:
        table_of("classes of the native engine", sets)
    if options.relion:
        plans = wanted(RELION_SETS)
        table_of(
            "classes of the native engine, sets of the next table",
            {name: classified(plan, options.folder) for name, plan in plans.items()},
        )
        table_of(
            "classes of RELION",
            {
                name: relion_set(plan, options.folder / f"relion_{plan.seed}")
                for name, plan in plans.items()
            },
        )


if __name__ == "__main__":
    main()
