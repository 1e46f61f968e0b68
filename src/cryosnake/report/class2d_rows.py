"""What the files of 2D classification say, as plain values for tables and figures."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from cryosnake.assessment.montage import NO_RESOLUTION_ANGST
from cryosnake.report.class2d_files import RoundFiles
from cryosnake.report.json_values import number, rows_of, whole_number
from cryosnake.report.status import RULE_ADVICE, count, percent, rule_title, wilson_interval

#: A batch or grid square is poor when its share of particles in kept classes is surely below this
#: part of the median.
LOW_RATIO = 0.75
MOST_POINTS = 300
SQUARES_LISTED = 40
_MEASURES = ("good", "evidence", "largest_view", "views")
#: Verdicts that somebody should look at.
ALARMING = ("fail", "warn")
_ORDER = {"fail": 0, "warn": 1, "unsure": 2, "info": 3, "pass": 4}


@dataclass(frozen=True)
class RoundRow:
    """A finished round in numbers; None where there is nothing to tell it from.

    Parameters
    ----------
    sorted_particles : those in any class.
    share : part of them in kept classes.
    views : effective number of kept classes, the exponential of the entropy of their parts.
    """

    particles: int
    engine: str
    classes: int
    good: int
    kept: int
    sorted_particles: int
    kept_particles: int
    share: float | None
    median_angst: float | None
    best_angst: float | None
    views: float | None


@dataclass(frozen=True)
class Told:
    """A decision in words."""

    verdict: str
    what: str
    expected: str
    evidence: str
    advice: str


def round_row(found: RoundFiles, classes: pd.DataFrame) -> RoundRow:
    """The numbers of a round.

    Parameters
    ----------
    classes : its classes, or their newest state.
    """
    kept = classes[classes["csnClassKept"] == 1]
    population = kept["csnClassPopulation"].to_numpy(float)
    total, going_on = int(classes["csnClassPopulation"].sum()), int(population.sum())
    angst = kept["rlnEstimatedResolution"].to_numpy(float)
    angst = angst[(angst > 0) & (angst < NO_RESOLUTION_ANGST)]
    parts = population[population > 0] / max(1, going_on)
    return RoundRow(
        particles=found.particles,
        engine=str((found.about or {}).get("csnClassEngine", "-")),
        classes=len(classes),
        good=int((classes["csnClassLabel"] == "good").sum()),
        kept=len(kept),
        sorted_particles=total,
        kept_particles=going_on,
        share=going_on / total if total else None,
        median_angst=float(np.median(angst)) if len(angst) else None,
        best_angst=float(angst.min()) if len(angst) else None,
        views=float(np.exp(-(parts * np.log(parts)).sum())) if len(parts) else None,
    )


def outcome_words(row: RoundRow) -> str:
    """What a round came to, as a sentence."""
    particles = f"{row.kept_particles:,} of {count(row.sorted_particles, 'particle')} go on."
    if row.kept == 0:
        return f"None of {count(row.classes, 'class', 'classes')} goes on, and no particle."
    if row.kept == row.good:
        verb = "is" if row.good == 1 else "are"
        return f"{row.good} of {count(row.classes, 'class', 'classes')} {verb} good: {particles}"
    return (
        f"{row.kept} of {count(row.classes, 'class', 'classes')} go on, {row.good} are good:"
        f" {particles}"
    )


def short_words(row: RoundRow) -> str:
    """The same for a line of the steps."""
    words = [
        f"{row.kept} of {count(row.classes, 'class', 'classes')} kept",
        f"{percent(row.kept_particles, row.sorted_particles)} of the particles",
    ]
    if row.median_angst is not None:
        words.append(f"median resolution {row.median_angst:.1f} Å")
    return ", ".join(words)


def told_rows(decisions: pd.DataFrame) -> list[Told]:
    """The decisions of a round, those to look at first; none where the table is another one."""
    wanted = ["csnSubject", "csnRule", "csnVerdict", "csnValue", "csnThreshold", "csnEvidence"]
    if not set(wanted) <= set(decisions.columns):
        return []
    rows = decisions[wanted].astype(str).to_dict("records")
    rows.sort(key=lambda row: _ORDER.get(row["csnVerdict"], len(_ORDER)))
    return [_told(row) for row in rows]


def _told(row: dict) -> Told:
    rule, verdict = row["csnRule"], row["csnVerdict"]
    _, is_class, which = row["csnSubject"].rpartition(" class ")
    title = f"Class {which}" if is_class else rule_title(rule)
    evidence = row["csnEvidence"]
    # evidence may begin with the picture's file, which the reader has before him
    picture, _, sentence = evidence.partition(": ")
    if PurePosixPath(picture).suffix == ".png":
        evidence = sentence
    return Told(
        verdict=verdict,
        what=f"{title}: {row['csnValue']}",
        expected="" if row["csnThreshold"] == "-" else row["csnThreshold"],
        evidence="" if evidence == "-" else evidence,
        advice=RULE_ADVICE.get(rule, "") if verdict in ALARMING else "",
    )


# ---- over batches and grid squares ----


def measured(rows: object, name: str) -> pd.DataFrame:
    """The rows of live.json by batch or grid square: name, `particles`, measures (NaN: unknown)."""
    found = []
    for row in rows_of(rows):
        particles = whole_number(row.get("particles"))
        if particles is None or name not in row:
            continue
        values = {measure: number(row.get(measure)) for measure in _MEASURES}
        found.append({name: str(row[name]), "particles": particles, **values})
    frame = pd.DataFrame(found, columns=[name, "particles", *_MEASURES])
    frame[list(_MEASURES)] = frame[list(_MEASURES)].astype(float)
    return frame


def thinned(batches: pd.DataFrame, most: int = MOST_POINTS) -> tuple[pd.DataFrame, int]:
    """At most so many rows, each the mean over as many batches (the second value), by particles."""
    together = max(1, -(-len(batches) // most))
    if together == 1:
        return batches, 1
    group = np.arange(len(batches)) // together
    weight = batches["particles"].clip(lower=1)
    numbers = [c for c in batches.columns if c not in ("batch", "particles")]
    sums = batches[numbers].mul(weight, axis=0).groupby(group).sum(min_count=1)
    known = batches[numbers].notna().mul(weight, axis=0).groupby(group).sum()
    means = sums / known.where(known > 0)
    means["particles"] = batches["particles"].groupby(group).sum()
    return means, together


def far_below(table: pd.DataFrame) -> np.ndarray:
    """(rows,) bool: the share in kept classes is below `LOW_RATIO` of the median beyond doubt."""
    good, particles = table["good"].to_numpy(float), table["particles"].to_numpy(int)
    known = np.isfinite(good) & (particles > 0)
    low = np.zeros(len(table), bool)
    if known.sum() < 3:
        return low
    limit = LOW_RATIO * float(np.median(good[known]))
    for i in np.flatnonzero(known & (good < limit)):
        low[i] = wilson_interval(round(good[i] * particles[i]), int(particles[i]))[1] < limit
    return low


def square_rows(
    live: dict, limit: int = SQUARES_LISTED
) -> tuple[list[dict[str, object]], int, int]:
    """Grid squares, the worst first; how many are far below, and how many are not listed.

    Empty where fewer than two squares are known.
    """
    squares = measured(live.get("squares"), "square")
    squares = squares[squares["square"] != "-"].reset_index(drop=True)
    if len(squares) < 2:
        return [], 0, 0
    squares["low"] = far_below(squares)
    ordered = squares.sort_values(["low", "good"], ascending=[False, True], kind="stable")
    rows = [
        {
            "name": row["square"],
            "particles": row["particles"],
            "fraction": _known(row["good"]),
            "low": bool(row["low"]),
            "evidence": _known(row["evidence"]),
            "largest_view": _known(row["largest_view"]),
            "views": _known(row["views"]),
        }
        for row in ordered[:limit].to_dict("records")
    ]
    return rows, int(squares["low"].sum()), max(0, len(squares) - limit)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
