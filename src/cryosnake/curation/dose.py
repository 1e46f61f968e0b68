"""The dose filter over a whole session: the only filter that compares a movie with others.

It is applied to the table of all movies so far, in ledger order, whenever that table is written:
the result depends on the order of the ledger and on nothing else (not on timing, batches or
restarts).
"""

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from cryosnake.config.model import CurationConfig
from cryosnake.curation.filters import ctf_filter, dose_filter, dose_is_close, drift_filter
from cryosnake.curation.spectrum import spectrum_filter
from cryosnake.curation.verdict import FLAG_COLUMNS, REASONS, rejects
from cryosnake.decisions import Decision, now
from cryosnake.tables import star_text


def dose_reference(dose: pd.Series, first_movies: int) -> pd.Series:
    """The running median that each movie's dose is held against.

    The first `first_movies` movies with a known dose share the median of them all; each later one
    is held against the median of all movies up to and including itself. Where the dose is
    unknown (NaN), so is the reference.
    """
    known = dose.dropna()
    running = known.expanding().median()
    if len(known):
        first = known.iloc[:first_movies]
        running.loc[first.index] = first.median()
    return running.reindex(dose.index)


def apply_dose_filter(
    table: pd.DataFrame, config: CurationConfig
) -> tuple[pd.DataFrame, list[Decision]]:
    """Judge the dose of every movie, and derive which movies are accepted anew.

    Parameters
    ----------
    table : one row a movie, in ledger order, with `csnDose_counts_per_angst2` (NaN or not above
        zero: unknown) and the flags of the other filters.

    Returns
    -------
    The table with `csnDoseReference_counts_per_angst2`, `csnPassDose`, `csnAccepted`, `csnReason`
    and `csnExplanation` set, and the decisions about the session: one `warn` for each time that
    more than `dose_faulty_fraction` of the latest `dose_window_movies` movies were faulty.
    """
    table = table.reset_index(drop=True)
    dose = table["csnDose_counts_per_angst2"].astype(float)
    dose = dose.where(dose > 0)
    reference = dose_reference(dose, config.dose_first_movies)
    passed = dose_is_close(dose, reference, config.dose_tolerance)
    table["csnDoseReference_counts_per_angst2"] = reference
    table["csnPassDose"] = np.where(dose.isna(), -1, passed.astype(int))
    table = derive_acceptance(table, config)
    return table, _window_warnings(table, dose, passed, config)


def derive_acceptance(table: pd.DataFrame, config: CurationConfig) -> pd.DataFrame:
    """Set `csnAccepted`, `csnReason` and `csnExplanation` from the flags of the filters.

    The reason is the first filter, in the order of `REASONS`, that fails and is allowed to
    reject. An explanation that was written for that same filter stays (the movie's own job may
    have known more); otherwise it is made again from the metrics in the row.
    """
    table = table.copy()
    reason = pd.Series("-", index=table.index, dtype=object)
    for name in reversed(REASONS):
        if rejects(name, config) and FLAG_COLUMNS[name] in table:
            reason = reason.where(table[FLAG_COLUMNS[name]] != 0, name)
    nothing = pd.Series("-", index=table.index, dtype=object)
    old_reason = table.get("csnReason", nothing)
    explanation = table.get("csnExplanation", nothing).astype(object)
    explanation = explanation.where(reason == old_reason, "-").where(reason != "-", "-")
    # the dose is compared with a reference that moves, so its words are always made again
    stale = (reason != "-") & ((explanation == "-") | (reason == "dose"))
    if stale.any():
        rows = table.loc[stale].to_dict("records")
        explanation.loc[stale] = [
            explain(row, name, config) for row, name in zip(rows, reason[stale], strict=True)
        ]
    table["csnAccepted"] = (reason == "-").astype(int)
    table["csnReason"] = reason
    table["csnExplanation"] = explanation
    return table


def explain(row: dict, filter: str, config: CurationConfig) -> str:
    """The rejection of a movie in words, from the metrics in its row."""
    if filter == "dose":
        return dose_filter(
            row["csnDose_counts_per_angst2"], row["csnDoseReference_counts_per_angst2"], config
        ).explanation()
    if filter == "drift":
        return drift_filter(
            row["csnDriftMax_angst"], row["csnDriftPath_angst"], config
        ).explanation()
    if filter == "spectrum":
        return spectrum_filter(
            row["csnSpectrumCorrelationMean"],
            row["csnSpectrumCorrelationStd"],
            config,
            stripes=row.get("csnStripeRatio", math.nan),
            gain_strength=row.get("csnGainPatternStrength", math.nan),
        ).explanation()
    if filter == "class":
        return star_text(
            f"class {row['csnMicrographClass']}; accepted: one of {', '.join(config.classes_kept)}"
        )
    if filter == "ctf":
        return ctf_filter(
            row["rlnDefocusU"], row["rlnDefocusV"], row["rlnCtfMaxResolution"], config
        ).explanation()
    return "the movie could not be read"


def _window_warnings(
    table: pd.DataFrame, dose: pd.Series, passed: pd.Series, config: CurationConfig
) -> list[Decision]:
    """One `warn` for each run of movies at which too much of the latest window is faulty."""
    known = dose.notna()
    faulty = (~passed[known]).astype(float)
    enough = min(config.dose_window_movies, config.dose_first_movies)
    fraction = faulty.rolling(config.dose_window_movies, min_periods=enough).mean()
    above = fraction > config.dose_faulty_fraction
    onsets = above & ~above.shift(1, fill_value=False)
    return [
        Decision(
            subject="session",
            rule="dose",
            verdict="warn",
            value=f"{100 * fraction[i]:.0f} % of the latest {config.dose_window_movies} movies "
            f"deviate from the median dose {table['csnDoseReference_counts_per_angst2'][i]:.4g} "
            "counts/A^2",
            threshold=f"{100 * config.dose_faulty_fraction:g} % of the window",
            evidence=f"first noticed at movie {i + 1} of the ledger"
            + (
                f", {table['rlnMicrographMovieName'][i]}"
                if "rlnMicrographMovieName" in table
                else ""
            )
            + "; look at the beam, the apertures and the gun",
            # the arrival of that movie, so that deriving the table again says the same
            time=_arrival(table, i),
        )
        for i in onsets.index[onsets]
    ]


def _arrival(table: pd.DataFrame, index: int) -> str:
    if "csnArrival_s" not in table or not np.isfinite(table["csnArrival_s"][index]):
        return now()
    moment = datetime.fromtimestamp(float(table["csnArrival_s"][index]), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
