"""The table of movies in the form that the report's parts rely on, whatever was in the file."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from cryosnake.curation import FLAG_COLUMNS
from cryosnake.tables import star_text

NUMBERS = (
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnCtfMaxResolution",
    "rlnAccumMotionTotal",
    "csnFileChanged_s",
    "csnArrival_s",
    "csnProcessed_s",
    "csnFrames",
    "csnDosePerFrame_e_per_angst2",
    "csnDriftMax_angst",
    "csnDriftPath_angst",
    "csnDefocusMean_angst",
    "csnAstigmatism_ratio",
    "csnIceRingScore",
    "csnTilt_deg",
    "csnSpectrumCorrelationMean",
    "csnSpectrumCorrelationStd",
    "csnDose_counts_per_angst2",
    "csnDoseReference_counts_per_angst2",
    "csnMicrographClassConfidence",
    "csnMotion_s",
    "csnCtf_s",
    "csnCuration_s",
)
TEXTS = (
    "rlnMicrographMovieName",
    "rlnMicrographName",
    "csnBatch",
    "csnAcquisitionTime",
    "csnGridSquare",
    "csnMicrographClass",
    "csnReason",
    "csnExplanation",
)


def prepared(micrographs: pd.DataFrame) -> pd.DataFrame:
    """One row a movie in ledger order, every column of the report present and of one type.

    Numbers that are missing, not numbers or infinite are NaN; missing texts are `-`; missing flags
    are -1, and a missing `csnAccepted` is 0. Added: `number` (from 1), `name` (file name of the
    movie), `stem` (name of its pictures without `_thumb.png`), `hours` (since the first movie, by
    the time of acquisition, else of arrival; NaN throughout where times are not known).
    """
    table = pd.DataFrame(index=range(len(micrographs)))
    source = micrographs.reset_index(drop=True)
    for column in NUMBERS:
        values = source.get(column, np.nan)
        table[column] = pd.to_numeric(pd.Series(values, index=table.index), errors="coerce")
    table[list(NUMBERS)] = table[list(NUMBERS)].astype(float).replace([np.inf, -np.inf], np.nan)
    for column in TEXTS:
        values = source.get(column, "-")
        texts = pd.Series(values, index=table.index, dtype=object)
        table[column] = texts.where(texts.notna(), "-").astype(str)
    for column in (*FLAG_COLUMNS.values(), "csnAccepted"):
        missing = 0 if column == "csnAccepted" else -1
        values = source.get(column, missing)
        flags = pd.to_numeric(pd.Series(values, index=table.index), errors="coerce")
        table[column] = flags.fillna(missing).astype(int)
    table["number"] = np.arange(1, len(table) + 1)
    table["name"] = [PurePosixPath(path).name for path in table["rlnMicrographMovieName"]]
    pictured = table["rlnMicrographName"].where(
        table["rlnMicrographName"] != "-", table["rlnMicrographMovieName"]
    )
    table["stem"] = [PurePosixPath(path).stem for path in pictured]
    table["hours"] = _hours(table)
    mean = (table["rlnDefocusU"] + table["rlnDefocusV"]) / 2
    table["csnDefocusMean_angst"] = table["csnDefocusMean_angst"].fillna(mean)
    return table


def _hours(table: pd.DataFrame) -> pd.Series:
    """Hours since the first movie; NaN where unknown, and for all unless most movies have a time
    and the times differ by more than it takes to copy files."""
    moments = pd.to_datetime(
        table["csnAcquisitionTime"], errors="coerce", utc=True, format="ISO8601"
    )
    since = (moments - moments.min()).dt.total_seconds() / 3600.0
    arrival = (table["csnArrival_s"] - table["csnArrival_s"].min()) / 3600.0
    for hours, shortest in ((since, 0.0), (arrival, 1.0 / 60.0)):
        # a single time, or movies all copied at once, would make a useless axis
        if len(hours) and hours.notna().mean() > 0.5 and hours.max() > shortest:
            return hours
    return pd.Series(np.nan, index=table.index)


def latest(table: pd.DataFrame, movies: int) -> pd.DataFrame:
    """The last `movies` rows."""
    return table.iloc[-movies:] if len(table) else table


def left_out_files(table: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """The decisions of the rule `input` about files that are not among the movies: ingest saw them
    and did not take them in. The latest of each file."""
    if decisions.empty:
        return decisions
    chosen = decisions[
        (decisions["csnRule"] == "input")
        & decisions["csnVerdict"].isin(["fail", "warn"])
        & ~decisions["csnSubject"].isin(table["rlnMicrographMovieName"].map(star_text))
    ]
    return chosen.drop_duplicates("csnSubject", keep="last")
