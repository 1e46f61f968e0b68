"""What the files of 3D say, as plain values for tables and figures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.assessment.montage import NO_RESOLUTION_ANGST
from cryosnake.report.json_values import length, number, objects, whole_number
from cryosnake.report.status import percent
from cryosnake.report.volumes_files import RoundVolumes
from cryosnake.report.volumes_tables import Told

HANDS = {
    "undetermined": "not told by projections",
    "same": "the same structure and hand",
    "mirrored": "the mirror image of the chosen one",
    "unsure": "the same structure, hand unsure",
    "different": "another structure",
}


@dataclass(frozen=True)
class VolumeRow:
    """A volume of an ab initio reconstruction or a 3D classification; None where not known."""

    number: int
    particles: int
    share: float | None
    angst: float | None
    evidence: float | None
    chosen: bool


@dataclass(frozen=True)
class ScoreRow:
    """A volume that was held against the class averages."""

    name: str
    score: float | None
    error: float | None
    spread: float | None
    confidence: float | None
    hand: str
    chosen: bool


@dataclass(frozen=True)
class RefinedRow:
    """A refinement in numbers, for the table over rounds."""

    round: int
    particles: int | None
    engine: str
    angst: float | None
    b_factor_angst2: float | None
    area_ratio: float | None
    known_angst: float | None
    problem: str


def known_angst(angst: float) -> list[str]:
    """A resolution in words; none where there is none."""
    return [f"{angst:.1f} Å"] if 0 < angst < NO_RESOLUTION_ANGST else []


def volume_rows(told: Told) -> list[VolumeRow]:
    """The volumes in the order of their files."""
    return [
        VolumeRow(
            number=place,
            particles=int(np.nan_to_num(row["csnVolumePopulation"])),
            share=_known(row["rlnClassDistribution"]),
            angst=_resolution(row["rlnEstimatedResolution"]),
            evidence=_known(row["csnVolumeEvidence"]),
            chosen=row["csnVolumeChosen"] == 1,
        )
        for place, row in enumerate(told.table.to_dict("records"), start=1)
    ]


def empty_words(told: Told) -> str:
    """How many particles show nothing; empty where none do."""
    share = number(told.about.get("csnEmptyShare"))
    if not share or share <= 0:
        return ""
    return f"{percent(min(share, 1.0), 1.0)} of the particles show none of the volumes."


def chosen_words(decisions: pd.DataFrame | None, rule: str) -> str:
    """Which volume goes on and why, as the step decided it; empty where it says nothing."""
    if decisions is None or not {"csnRule", "csnValue", "csnEvidence"} <= set(decisions.columns):
        return ""
    rows = decisions[(decisions["csnRule"] == rule) & (decisions["csnVerdict"] != "fail")]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    doubt = "Not sure: " if row["csnVerdict"] == "unsure" else "Chosen: "
    return f"{doubt}{row['csnValue']}. All: {row['csnEvidence']}."


def score_rows(told: Told) -> list[ScoreRow]:
    """The volumes by their score, the highest first."""
    rows = [
        ScoreRow(
            name=row["csnVolume"],
            score=_known(row["csnVolumeScore"]),
            error=_known(row["csnVolumeError"]),
            spread=_known(row["csnVolumeSpread"]),
            confidence=_known(row["csnVolumeConfidence"]),
            hand=HANDS.get(row["csnVolumeHand"], row["csnVolumeHand"]),
            chosen=row["csnVolumeChosen"] == 1,
        )
        for row in told.table.to_dict("records")
    ]
    return sorted(rows, key=lambda row: -1.0 if row.score is None else -row.score)


def score_words(told: Told) -> str:
    """What the cross-validation came to, as a sentence."""
    chosen = [row for row in score_rows(told) if row.chosen]
    if not chosen:
        return "No volume is chosen."
    row = chosen[0]
    sure = str(told.about.get("csnVolumeVerdict")) == "pass"
    words = f"{row.name} explains the class averages best" + ("" if sure else ", but not surely so")
    if row.score is not None:
        words += f": mean correlation {row.score:.3f}"
        if row.error is not None:
            words += f" ± {row.error:.3f}"
    ball = number(told.about.get("csnVolumeFeatureless"))
    if ball is not None:
        words += f" (a featureless ball: {ball:.3f})"
    confidence = number(told.about.get("csnVolumeConfidence"))
    if confidence is not None:
        words += f"; confidence {confidence:.2f}"
    return words + "."


def refined_row(found: RoundVolumes) -> RefinedRow:
    """A round's refinement; of one with a problem only that."""
    result = found.result or {}
    parts = objects(result)
    return RefinedRow(
        round=found.particles,
        particles=whole_number(result.get("particles")),
        engine=str(result.get("engine") or "-"),
        angst=length(result.get("resolution_angst")),
        b_factor_angst2=number(result.get("b_factor_angst2")),
        area_ratio=number(parts.get("directional", {}).get("area_ratio")),
        known_angst=length(parts.get("known_map", {}).get("resolution_angst")),
        problem=str(result.get("problem") or ""),
    )


def cone_resolutions(cones: pd.DataFrame | None) -> np.ndarray | None:
    """(D,) resolutions in angstrom of the directions that have one; None where fewer than three
    do."""
    if cones is None:
        return None
    angst = cones["csnConeResolution_angst"].to_numpy(float)
    angst = angst[(angst > 0) & (angst < NO_RESOLUTION_ANGST)]
    return angst if len(angst) >= 3 else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _resolution(value: float) -> float | None:
    return float(value) if 0 < value < NO_RESOLUTION_ANGST else None
