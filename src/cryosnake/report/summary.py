"""The tables of the report, as rows of plain values: filters, facts, milestones, movies."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from cryosnake.config.model import Config
from cryosnake.curation import FILTERS, FLAG_COLUMNS
from cryosnake.report.status import CLASS_TITLES, FILTER_TITLES, percent

Milestone = tuple[str, int, int]

_MILESTONE_TITLES = {
    "size": "Particle size: micrographs that pass the stringent filter",
    "training": "Picker training: accepted micrographs",
}


@dataclass(frozen=True)
class FilterRow:
    """One line of the table of filters; `fraction` is None where nothing was computed."""

    name: str
    title: str
    accepted: int
    total: int
    fraction: float | None
    low: bool
    rejects: bool
    first_reason: int
    threshold: str


def thresholds(config: Config) -> dict[str, str]:
    """What each filter asks for, in words."""
    c = config.curation
    return {
        "input": "the file can be read, is whole, and fits the gain reference",
        "dose": f"within {100 * c.dose_tolerance:g} % of the running median",
        "drift": f"largest step {c.drift_max_angst:g} Å, whole path {c.drift_path_angst:g} Å",
        "spectrum": f"correlation of the quadrants: mean above {c.spectrum_min_mean:g}, standard"
        f" deviation below {c.spectrum_max_std:g}",
        "class": "one of " + ", ".join(CLASS_TITLES[label] for label in c.classes_kept),
        "ctf": f"fit to {c.ctf_max_resolution_angst:g} Å or better, defocus"
        f" {c.defocus_min_angst / 1e4:g}-{c.defocus_max_angst / 1e4:g} µm, astigmatism below"
        f" {100 * c.astigmatism_max_ratio:g} %",
    }


def filter_rows(table: pd.DataFrame, config: Config) -> list[FilterRow]:
    """One line a filter, in the order in which they are asked."""
    words = thresholds(config)
    rows = []
    for name in FILTERS:
        flags = table[FLAG_COLUMNS[name]]
        accepted, total = int((flags == 1).sum()), int((flags >= 0).sum())
        fraction = accepted / total if total else None
        rows.append(
            FilterRow(
                name=name,
                title=FILTER_TITLES[name],
                accepted=accepted,
                total=total,
                fraction=fraction,
                low=fraction is not None and fraction < config.report.low_acceptance,
                rejects=name == "input" or name in config.curation.reject_by,
                first_reason=int((table["csnReason"] == name).sum()),
                threshold=words[name],
            )
        )
    return rows


def pace_per_hour(table: pd.DataFrame, *, movies: int = 200) -> float | None:
    """Movies an hour over the latest `movies`, from the time axis; None where it is not known."""
    hours = table["hours"].dropna().iloc[-movies:]
    if len(hours) < 5:
        return None
    span = float(hours.max() - hours.min())
    return (len(hours) - 1) / span if span > 0 else None


def seconds_per_movie(table: pd.DataFrame) -> float | None:
    """Median processing time of a movie in seconds; None where it is not known."""
    spent = table[["csnMotion_s", "csnCtf_s", "csnCuration_s"]].sum(axis=1, min_count=1).dropna()
    return float(spent.median()) if len(spent) else None


def milestone_rows(milestones: list[Milestone], per_hour: float | None) -> list[dict[str, object]]:
    """Progress to each milestone, with a forecast at the present pace of what it counts."""
    rows = []
    for name, have, need in milestones:
        left = max(0, need - have)
        if left == 0:
            forecast = "reached"
        elif per_hour:
            forecast = f"in about {duration(3600 * left / per_hour)} at the microscope's pace"
        else:
            forecast = f"{left:,} to go"
        fraction = min(1.0, have / need) if need else 1.0
        rows.append(
            {
                "name": _MILESTONE_TITLES.get(name, name),
                "have": have,
                "need": need,
                "fraction": fraction,
                "forecast": forecast,
            }
        )
    return rows


def duration(seconds: float) -> str:
    """A time span as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def fact_rows(table: pd.DataFrame, config: Config) -> list[tuple[str, str]]:
    """Facts of the session: those of the config, and those seen in the data."""
    a = config.acquisition
    from_metadata = "from the movies' metadata"

    def fact(value: float | None, unit: str) -> str:
        return from_metadata if value is None else f"{value:g} {unit}"

    rows = [
        (f"{config.input.kind.capitalize()} from", config.input.path or "-"),
        ("Pixel size", fact(a.pixel_size_angst, "Å") + _super_resolution(config)),
        ("Voltage", fact(a.voltage_kv, "kV")),
        ("Spherical aberration", fact(a.cs_mm, "mm")),
        ("Amplitude contrast", f"{a.amplitude_contrast:g}"),
        ("Exposure per frame", _dose_per_frame(table, a.dose_e_per_angst2_per_frame)),
        ("Frames", _span(table["csnFrames"], "{:.0f}")),
        ("Gain reference", PurePosixPath(a.gain).name if a.gain else "none"),
        ("Gain orientation", a.gain_orientation.replace("_", " ")),
        ("Tilted session", "yes" if config.ctf.tilted else "no"),
        (
            "Filters",
            f"{config.curation.mode}; reject by {', '.join(config.curation.reject_by) or 'none'}",
        ),
    ]
    hours = table["hours"].dropna()
    if len(hours) > 1:
        rows.append(("Time span of the movies", duration(3600 * float(hours.max()))))
    spent = seconds_per_movie(table)
    if spent is not None:
        rows.append(("Processing time of a movie", f"{spent:.1f} s (median)"))
    tilt = table["csnTilt_deg"].dropna()
    if len(tilt):
        rows.append(("Tilt found", f"{tilt.median():.1f}° (median)"))
    return rows


def _super_resolution(config: Config) -> str:
    factor = config.acquisition.super_resolution
    return f" (stored; binned by {factor})" if factor > 1 else ""


def _dose_per_frame(table: pd.DataFrame, configured: float | None) -> str:
    used = table["csnDosePerFrame_e_per_angst2"].dropna()
    frames = table["csnFrames"].dropna()
    dose = float(used.median()) if len(used) else configured
    if dose is None:
        return "from the movies' metadata"
    total = f", {dose * frames.median():.3g} e/Å² in all" if len(frames) else ""
    return f"{dose:.3g} e/Å²{total}"


def _span(values: pd.Series, form: str) -> str:
    values = values.dropna()
    if values.empty:
        return "-"
    low, high = form.format(values.min()), form.format(values.max())
    return low if low == high else f"{low} to {high}"


def square_rows(table: pd.DataFrame, *, limit: int = 40) -> tuple[list[dict[str, object]], int]:
    """Grid squares, the latest first, with what was accepted; and how many were left out.

    Empty where fewer than two squares are known.
    """
    known = table[table["csnGridSquare"] != "-"]
    if known["csnGridSquare"].nunique() < 2:
        return [], 0
    groups = known.groupby("csnGridSquare", sort=False).agg(
        total=("csnAccepted", "size"),
        accepted=("csnAccepted", "sum"),
        resolution=("rlnCtfMaxResolution", "median"),
        last=("number", "max"),
    )
    groups = groups.sort_values("last", ascending=False)
    rows = [
        {
            "name": name,
            "total": int(row.total),
            "accepted": int(row.accepted),
            "fraction": row.accepted / row.total,
            "resolution": "-" if np.isnan(row.resolution) else f"{row.resolution:.1f}",
        }
        for name, row in zip(groups.index[:limit], groups[:limit].itertuples(), strict=True)
    ]
    return rows, max(0, len(groups) - limit)


def rejected_rows(
    table: pd.DataFrame, left_out: pd.DataFrame, *, limit: int
) -> tuple[list[dict[str, object]], int]:
    """Files not taken in, then rejected movies, input errors first and then the newest first; and
    how many movies are not listed."""
    rejected = table[table["csnAccepted"] == 0]
    input_first = (rejected["csnReason"] != "input").astype(int)
    order = np.lexsort((-rejected["number"].to_numpy(), input_first.to_numpy()))
    chosen = rejected.iloc[order[:limit]]
    rows = [
        {
            "number": "-",
            "name": PurePosixPath(row.csnSubject).name,
            "batch": "-",
            "reason": "Not taken in",
            "key": "input",
            "explanation": f"{row.csnValue}; expected {row.csnThreshold}",
        }
        for row in left_out.itertuples()
    ]
    rows += [
        {
            "number": row.number,
            "name": row.name_,
            "batch": row.csnBatch,
            "reason": FILTER_TITLES.get(row.csnReason, row.csnReason),
            "key": row.csnReason,
            "explanation": row.csnExplanation,
        }
        for row in chosen.rename(columns={"name": "name_"}).itertuples()
    ]
    return rows, len(rejected) - len(chosen)


def decision_rows(decisions: pd.DataFrame, *, limit: int) -> tuple[list[dict[str, object]], int]:
    """Decisions worth reading, the newest first; and how many were left out.

    Passes of single movies come last, so that what needs an operator is never cut off by them.
    """
    if decisions.empty:
        return [], 0
    weight = decisions["csnVerdict"].map({"warn": 0, "unsure": 1, "info": 1, "fail": 2, "pass": 3})
    about_session = decisions["csnSubject"] == "session"
    weight = weight.fillna(3).where(~about_session, 0).to_numpy()
    order = np.lexsort((-np.arange(len(decisions)), weight))[:limit]
    chosen = decisions.iloc[np.sort(order)[::-1]]
    rows = [
        {
            "time": row.csnTime,
            "subject": PurePosixPath(row.csnSubject).name,
            "rule": row.csnRule,
            "verdict": row.csnVerdict,
            "value": row.csnValue,
            "threshold": row.csnThreshold,
            "confidence": f"{row.csnConfidence:.2f}",
            "evidence": row.csnEvidence,
        }
        for row in chosen.itertuples()
    ]
    return rows, len(decisions) - len(rows)


def overall(table: pd.DataFrame) -> dict[str, object]:
    """Numbers of the tiles at the top."""
    accepted, total = int(table["csnAccepted"].sum()), len(table)
    return {
        "accepted": accepted,
        "total": total,
        "share": percent(accepted, total),
        "fraction": accepted / total if total else 0.0,
    }
