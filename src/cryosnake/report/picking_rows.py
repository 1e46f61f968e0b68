"""What the files of picking say, as plain values for tables and figures.

The files may hold more or less than is looked for here; what is not there is left out.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cryosnake.decisions import Decision
from cryosnake.report.json_values import length, number, objects, rows_of, whole_number

_TITLES = {
    "log": "Laplacian of Gaussian",
    "correlation": "Correlation",
    "network": "Pretrained network",
    "general": "General network",
    "trained": "Trained on this sample",
    "consensus": "Consensus",
    "f1": "F1",
}
_METHODS = {
    "scale": "Response in scale space",
    "average": "Rotational average",
    "outline": "Outlines of single particles",
}
#: Columns of a training curve that say how it was run, not how it went.
_NOT_DRAWN = ("steps", "learning_rate")
_MOST_POINTS = 200


@dataclass(frozen=True)
class Measured:
    """A diameter: by which method, its uncertainty, and its values on single micrographs."""

    title: str
    diameter_angst: float
    uncertainty_angst: float | None
    values_angst: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """A line of a figure."""

    title: str
    x: list[float]
    y: list[float]


def title_of(name: str) -> str:
    """A method, picker or quantity as people read it."""
    words = name.replace("_", " ").strip()
    return _TITLES.get(name, words[:1].upper() + words[1:])


def angst(value: object, uncertainty: object = None) -> str:
    """A length with its uncertainty."""
    found, error = length(value), length(uncertainty)
    if found is None:
        return "-"
    return f"{found:.0f} Å" if error is None else f"{found:.0f} ± {error:.0f} Å"


# ---- particle size ----


def measured(size: dict) -> list[Measured]:
    """The estimates of each method, then the combined one; empty where that is not known."""
    diameter = length(size.get("diameter_angst"))
    if diameter is None:
        return []
    evidence = objects(size).get("evidence", {})
    single = rows_of(evidence.get("micrographs"))
    found = []
    for row in rows_of(evidence.get("methods")):
        value = length(row.get("diameter_angst"))
        if value is None:
            continue
        name = str(row.get("method"))
        values = [length(one.get(f"{name}_angst")) for one in single]
        found.append(
            Measured(
                _METHODS.get(name, title_of(name)) + (", unused" if row.get("weight") == 0 else ""),
                value,
                length(row.get("uncertainty_angst")),
                [value for value in values if value is not None],
            )
        )
    return [*found, Measured("Combined", diameter, length(size.get("uncertainty_angst")))]


def size_facts(size: dict) -> list[tuple[str, str]]:
    """Diameter, axes, box, and what it was measured on."""
    facts = [("Diameter", angst(size.get("diameter_angst"), size.get("uncertainty_angst")))]
    long_axis, short_axis = angst(size.get("long_axis_angst")), angst(size.get("short_axis_angst"))
    if size.get("elongated") is True:
        facts.append(("Shape", f"elongated: {long_axis} long, {short_axis} wide"))
    elif length(size.get("long_axis_angst")) is not None:
        facts.append(("Shape", f"not elongated ({long_axis} and {short_axis} across)"))
    box = whole_number(size.get("box_px"))
    if box is not None:
        facts.append(("Extraction box", f"{box} px on the micrograph"))
    tried = rows_of(objects(size).get("evidence", {}).get("micrographs"))
    used = [row for row in tried if row.get("reason", "-") == "-"]
    if tried:
        of_all = "" if len(used) == len(tried) else f" of {len(tried)}"
        facts.append(("Measured on", f"{len(used)}{of_all} micrographs"))
    return facts


def size_doubts(size: dict) -> list[str]:
    """Why the size is not sure, and which micrographs could not be used."""
    evidence = objects(size).get("evidence", {})
    notes = evidence.get("notes")
    doubts = [str(note) for note in notes] if isinstance(notes, list) else []
    if size.get("sure") is False and not doubts:
        doubts.append("the estimate is not sure")
    left_out = [
        f"{row.get('name')} was left out: {row['reason']}"
        for row in rows_of(evidence.get("micrographs"))
        if row.get("reason", "-") != "-"
    ]
    return doubts + left_out


# ---- agreement of the pickers ----


def subset_counts(agreement: dict) -> tuple[dict[tuple[str, ...], int], dict[str, int]]:
    """Particles found by exactly these pickers, and picks of each picker that is named at all."""
    subsets: dict[tuple[str, ...], int] = {}
    found = agreement.get("subsets")
    for key, value in found.items() if isinstance(found, dict) else ():
        who = tuple(sorted(name.strip() for name in str(key).split("+") if name.strip()))
        if who and whole_number(value):
            subsets[who] = subsets.get(who, 0) + whole_number(value)
    pickers = {
        name: whole_number(picker.get("picks")) or 0
        for name, picker in objects(agreement.get("pickers")).items()
    }
    for who, particles in subsets.items():
        for name in who:
            if name not in objects(agreement.get("pickers")):
                pickers[name] = pickers.get(name, 0) + particles
    return subsets, pickers


def picker_rows(agreement: dict) -> list[dict[str, object]]:
    """One line a picker: picks, precision and recall as estimated from the agreement."""
    return [
        {
            "title": title_of(name),
            "picks": whole_number(picker.get("picks")),
            "precision": number(picker.get("precision")),
            "recall": number(picker.get("recall")),
            "failed": picker.get("failed") is True,
            "why": str(picker.get("why") or ""),
        }
        for name, picker in objects(agreement.get("pickers")).items()
    ]


# ---- the model ----


def score_rows(model: dict) -> list[dict[str, object]]:
    """One line a way of picking that the model was held against, the best first."""
    rows = [
        {
            "title": title_of(name),
            "agreement": number(score.get("agreement")),
            "trained": number(score.get("trained_agreement")),
            "error": number(score.get("standard_error")),
            "chosen": name == model.get("chosen"),
        }
        for name, score in objects(model.get("scores")).items()
    ]
    return sorted(rows, key=lambda row: (-(row["agreement"] or 0.0), row["title"]))


def training_panels(model: dict) -> list[tuple[str, str, list[Curve], float | None]]:
    """Panels of `curves_figure`: loss, scores of validation, and scores over the threshold."""
    rounds = rows_of(model.get("curve"))
    along = "epoch" if any("epoch" in row for row in rounds) else "round"
    curves = curves_over(rounds, along)
    losses = [c for c in curves if "loss" in c.title.lower()]
    others = [c for c in curves if c not in losses]
    panels = []
    if losses:
        panels.append(("Loss", along, losses, None))
    if others:
        panels.append(("Held-out micrographs", along, others, None))
    over = curves_over(rows_of(model.get("validation")), "threshold")
    if over:
        panels.append(
            (
                "Held-out micrographs, by threshold",
                "threshold",
                over,
                number(model.get("threshold")),
            )
        )
    return panels


def curves_over(rows: list[dict], along: str) -> list[Curve]:
    """A curve for each quantity beside `along`; rows without that are numbered."""
    x: dict[str, list[float]] = {}
    y: dict[str, list[float]] = {}
    for place, row in list(enumerate(rows, start=1))[:: 1 + len(rows) // _MOST_POINTS]:
        where = number(row.get(along))
        for key, value in row.items():
            if key != along and key not in _NOT_DRAWN and number(value) is not None:
                x.setdefault(key, []).append(place if where is None else where)
                y.setdefault(key, []).append(number(value))
    return [Curve(title_of(str(key)), x[key], y[key]) for key in x]


# ---- yield ----


def low_rows(counts: pd.DataFrame, alerts: list[Decision], window_micrographs: int) -> np.ndarray:
    """(rows,) bool: the micrographs of regions with an alert."""
    subjects = {alert.subject for alert in alerts}
    low = np.array(counts["square"].isin(subjects))
    if "session" in subjects:
        low[-window_micrographs:] = True
    return low


def square_rows(
    counts: pd.DataFrame, alerts: list[Decision], *, limit: int = 40
) -> tuple[list[dict[str, object]], int]:
    """Yield of each grid square, the latest first; and how many were left out.

    Empty where fewer than two squares are known.
    """
    known = counts[counts["square"] != "-"]
    if known["square"].nunique() < 2:
        return [], 0
    groups = known.groupby("square", sort=False).agg(
        micrographs=("picks", "size"),
        particles=("picks", "sum"),
        median=("picks", "median"),
        last=("number", "max"),
    )
    groups = groups.sort_values("last", ascending=False)
    most = max(1.0, float(groups["median"].max()))
    low = {alert.subject for alert in alerts}
    rows = [
        {
            "name": str(name),
            "micrographs": int(row.micrographs),
            "particles": int(row.particles),
            "median": f"{row.median:g}",
            "fraction": row.median / most,
            "low": name in low,
        }
        for name, row in zip(groups.index[:limit], groups[:limit].itertuples(), strict=True)
    ]
    return rows, max(0, len(groups) - limit)
