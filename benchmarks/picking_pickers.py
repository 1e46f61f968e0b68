"""The two native filters that pick, and the mask: real and simulated micrographs.

    python benchmarks/picking_pickers.py [--each 2] [--side-px 2048] [--cache DIR] [--only PART]

Parts: `real` (EMPIAR-10017, 12 micrographs, where the data are at hand), `simulated` (six
structures), `mask` (area and particles lost on good micrographs, what is caught of bad ones) and
`time` (4096 x 4096). Truth is matched one to one, within 40 px on the real micrographs (22 % of the
box of the other programs' files) and within 0.35 diameters on the simulated ones.

The real micrographs are 8-bit images that somebody has denoised; their truth stops 131 px from the
border, where the image proper ends at about 105 px. All choices were made on four of them (TUNED);
the other programs' files are for the eight others.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from picking_common import (
    EMPIAR_PIXEL_ANGST,
    SHARED,
    Score,
    SimulatedMicrograph,
    empiar_micrograph,
    empiar_names,
    empiar_picked_names,
    empiar_picks,
    empiar_truth,
    matched,
    positions,
    score,
    simulated_micrograph,
)

from cryosnake.picking.correlation_picker import pick_correlation
from cryosnake.picking.log_picker import pick_log
from cryosnake.picking.mask import keep, usable_mask
from cryosnake.picking.size_model import ParticleSize
from cryosnake.simulate.config import SimulationConfig, Species

PICKERS = {"LoG": pick_log, "correlation": pick_correlation}
PIXEL_ANGST = 1.5
#: Of the simulated micrographs: none of those (5, 6, 7) on which the choices were made.
SEED = 41

#: name: structure, diameter of the sphere of the same radius of gyration (angstrom), axes of an
#: elongated one, smallest distance in the simulation.
STRUCTURES = {
    "beta-galactosidase": (str(SHARED / "structures" / "5a1a.pdb"), 134.0, None, 190.0),
    "apoferritin": (str(SHARED / "structures" / "6z6u.pdb"), 138.0, None, 142.0),
    "proteasome": ("proteasome", 151.0, None, 168.0),
    "half proteasome": ("half_proteasome", 122.0, None, 137.0),
    "double proteasome": ("double_proteasome", 190.0, (300.0, 120.0), 273.0),
    "nanodisc": ("nanodisc", 95.0, None, 116.0),
}
#: Diameter given to the pickers for the real micrographs: as the structure says (5a1a).
EMPIAR_DIAMETER_ANGST = 134.0
BAD_SCENARIOS = ("contamination", "film", "crack", "thick_ice")


def particle_size(diameter_angst: float, axes_angst=None) -> ParticleSize:
    """A size with an uncertainty of 7 %."""
    long_angst, short_angst = axes_angst or (diameter_angst, diameter_angst)
    return ParticleSize(
        diameter_angst=diameter_angst,
        uncertainty_angst=0.07 * diameter_angst,
        long_axis_angst=long_angst,
        short_axis_angst=short_angst,
        elongated=axes_angst is not None,
        box_px=int(2 * round(1.5 * long_angst / PIXEL_ANGST / 2)),
    )


def simulated(
    name: str, scenario: str, index: int, side_px: int, cache: Path | None
) -> SimulatedMicrograph:
    structure, _, _, distance_angst = STRUCTURES[name]
    config = SimulationConfig(
        seed=SEED + index,
        height_px=side_px,
        width_px=side_px,
        frames=2,
        dose_e_per_angst2_per_frame=20,
        pixel_size_angst=PIXEL_ANGST,
        species=[Species(structure=structure)],
        min_distance_angst=distance_angst,
        particles_per_um2=700 if name == "double proteasome" else 1500,
        drift_scale=0,
        local_motion_angst=0,
    )
    return simulated_micrograph(config, index, scenario=scenario, cache_dir=cache)


def line(*cells) -> str:
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return "| " + " | ".join(texts) + " |"


def heading(*cells) -> None:
    print("\n" + line(*cells))
    print("|" + "---|" * len(cells), flush=True)


def offset_angst(picks: np.ndarray, truth: np.ndarray, tolerance_px: float, pixel: float) -> float:
    """Median distance of the hits from their particles."""
    found = matched(picks, truth, tolerance_px)
    hit = found >= 0
    if not hit.any():
        return float("nan")
    return float(np.median(np.linalg.norm(picks[hit] - truth[found[hit]], axis=1))) * pixel


def real() -> None:
    names, others = empiar_names(), empiar_picked_names()
    if not names:
        print("\nreal micrographs: not at hand")
        return
    size = particle_size(EMPIAR_DIAMETER_ANGST)
    totals: dict[tuple[str, str], Score] = {}
    lost, area = [], []

    def add(who: str, group: str, result: Score) -> None:
        totals[who, group] = totals.get((who, group), Score(0, 0, 0)) + result

    for name in names:
        image, truth = empiar_micrograph(name), empiar_truth(name)
        group = "8 with files" if name in others else "4 TUNED"
        mask = usable_mask(image, EMPIAR_PIXEL_ANGST, size)
        lost.append(1 - len(keep(as_table(truth), *mask)) / len(truth))
        area.append(mask.usable.mean())
        for who, pick in PICKERS.items():
            found = positions(pick(image, EMPIAR_PIXEL_ANGST, size, mask=mask))
            add(who, group, score(found, truth))
            add(who, "all 12", score(found, truth))
        if name in others:
            for program in ("crYOLO", "topaz", "deepPicker"):
                picks = empiar_picks(program, name)
                add(program, group, score(positions(picks), truth))
                add(f"{program}, masked", group, score(positions(keep(picks, *mask)), truth))
    heading("real micrographs", "of", "precision", "recall", "F1")
    for (who, group), result in totals.items():
        print(line(who, group, result.precision, result.recall, result.f1))
    print(
        f"\nMask on the real micrographs: {np.mean(area):.3f} of the area usable, "
        f"{np.mean(lost):.4f} of the true particles lost (worst {np.max(lost):.4f})",
        flush=True,
    )


def as_table(truth: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"rlnCoordinateX": truth[:, 0], "rlnCoordinateY": truth[:, 1]})


def on_simulated(each: int, side_px: int, cache: Path | None) -> None:
    heading("structure", "picker", "precision", "recall", "F1", "F1 in the mask", "off by (A)")
    for name, (_, diameter_angst, axes, _) in STRUCTURES.items():
        size = particle_size(diameter_angst, axes)
        tolerance_px = 0.35 * diameter_angst / PIXEL_ANGST
        totals = {who: [Score(0, 0, 0), Score(0, 0, 0), []] for who in PICKERS}
        for index in range(each):
            shot = simulated(name, "good", index, side_px, cache)
            mask = usable_mask(shot.image, PIXEL_ANGST, size)
            inside = positions(keep(as_table(shot.truth), *mask))
            for who, pick in PICKERS.items():
                found = positions(pick(shot.image, PIXEL_ANGST, size, mask=mask))
                totals[who][0] += score(found, shot.truth, tolerance_px)
                totals[who][1] += score(found, inside, tolerance_px)
                totals[who][2].append(offset_angst(found, shot.truth, tolerance_px, PIXEL_ANGST))
        for who, (whole, within, off) in totals.items():
            print(
                line(
                    name,
                    who,
                    whole.precision,
                    whole.recall,
                    whole.f1,
                    within.f1,
                    f"{np.mean(off):.1f}",
                ),
                flush=True,
            )


def on_bad(each: int, side_px: int, cache: Path | None) -> None:
    heading(
        "structure",
        "scenario",
        "usable area",
        "true particles kept (off the border)",
        "false picks, LoG: without mask",
        "with",
        "correlation: without",
        "with",
    )
    for name in ("apoferritin", "proteasome", "nanodisc"):
        diameter_angst = STRUCTURES[name][1]
        size = particle_size(diameter_angst)
        tolerance_px = 0.35 * diameter_angst / PIXEL_ANGST
        for scenario in ("good", *BAD_SCENARIOS):
            area, kept, total = [], 0, 0
            false = {(who, masked): 0 for who in PICKERS for masked in (False, True)}
            for index in range(each):
                shot = simulated(name, scenario, index, side_px, cache)
                mask = usable_mask(shot.image, PIXEL_ANGST, size)
                border_px = diameter_angst / 2 / PIXEL_ANGST + mask.scale_px
                off_border = ((shot.truth > border_px) & (shot.truth < side_px - border_px)).all(1)
                kept += len(keep(as_table(shot.truth[off_border]), *mask))
                total += int(off_border.sum())
                inner = slice(
                    *(
                        int(edge / mask.scale_px) + 1
                        for edge in (border_px, side_px - border_px - mask.scale_px)
                    )
                )
                area.append(mask.usable[inner, inner].mean())
                for who, pick in PICKERS.items():
                    for masked in (False, True):
                        found = pick(shot.image, PIXEL_ANGST, size, mask=mask if masked else None)
                        result = score(positions(found), shot.truth, tolerance_px)
                        false[who, masked] += result.picks - result.hits
            counts = [false[who, masked] / each for who in PICKERS for masked in (False, True)]
            print(
                line(
                    name,
                    scenario,
                    float(np.mean(area)),
                    kept / total,
                    *(f"{c:.1f}" for c in counts),
                ),
                flush=True,
            )


def on_time(cache: Path | None) -> None:
    shot = simulated("proteasome", "good", 0, 4096, cache)
    size = particle_size(STRUCTURES["proteasome"][1])
    heading("4096 x 4096, one thread", "processor seconds", "wall seconds")
    mask = usable_mask(shot.image, PIXEL_ANGST, size)
    steps = {
        "mask": lambda: usable_mask(shot.image, PIXEL_ANGST, size),
        "LoG": lambda: pick_log(shot.image, PIXEL_ANGST, size, mask=mask),
        "correlation": lambda: pick_correlation(shot.image, PIXEL_ANGST, size, mask=mask),
    }
    for step, work in steps.items():
        processor, wall = time.process_time(), time.perf_counter()
        for _ in range(3):
            work()
        print(
            line(
                step,
                f"{(time.process_time() - processor) / 3:.2f}",
                f"{(time.perf_counter() - wall) / 3:.2f}",
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=2, help="simulated micrographs of each kind")
    parser.add_argument("--side-px", type=int, default=2048)
    parser.add_argument("--cache", type=Path, help="folder for the potentials of structures")
    parser.add_argument("--only", choices=["real", "simulated", "mask", "time"])
    arguments = parser.parse_args()
    parts = {
        "real": real,
        "simulated": lambda: on_simulated(arguments.each, arguments.side_px, arguments.cache),
        "mask": lambda: on_bad(arguments.each, arguments.side_px, arguments.cache),
        "time": lambda: on_time(arguments.cache),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
