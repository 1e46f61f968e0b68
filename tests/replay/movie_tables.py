"""True-to-life rows and decisions of the movies of a batch."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.decisions import Decision
from cryosnake.preprocess.row import EMPTY_ROW

_RULES = ("drift", "spectrum", "class", "ctf")
_OPTICS = {
    "rlnMicrographOriginalPixelSize": 0.83,
    "rlnMicrographPixelSize": 0.83,
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
}
#: Holes of the template that the beam is shifted to, along each axis.
_HOLES = 5


def processed(entries: pd.DataFrame, readable: np.ndarray, seed: int) -> pd.DataFrame:
    """The rows of a preprocessed batch.

    Parameters
    ----------
    entries : the rows of the batch's list of movies.
    readable : (N,) bool; a movie that is not is a rejected row with its reason.
    """
    random, number = np.random.default_rng(seed), len(entries)
    table = pd.DataFrame([EMPTY_ROW] * number)
    for column in entries:
        table[column] = entries[column].to_numpy()
    defocus = random.uniform(8000, 26000, number)
    good = random.random(number) < 0.92
    holes = random.integers(0, _HOLES, (number, 2))
    shifts = 0.1 * (holes - _HOLES // 2) + random.normal(0, 1e-3, (number, 2))
    order = seed * number + np.arange(number)
    measured = {
        **_OPTICS,
        "rlnAccumMotionTotal": random.gamma(3, 4, number),
        "rlnAccumMotionEarly": random.gamma(2, 2, number),
        "rlnAccumMotionLate": random.gamma(2, 3, number),
        "rlnDefocusU": defocus + 100,
        "rlnDefocusV": defocus - 100,
        "rlnDefocusAngle": random.uniform(0, 180, number),
        "rlnPhaseShift": 0.0,
        "rlnCtfMaxResolution": np.where(good, random.uniform(3, 4.9, number), 7.3),
        "rlnCtfFigureOfMerit": random.uniform(0.1, 0.3, number),
        "csnStageX_um": random.uniform(-900, 900, number),
        "csnStageY_um": random.uniform(-900, 900, number),
        "csnStageTilt_deg": 0.0,
        "csnBeamShiftX": shifts[:, 0],
        "csnBeamShiftY": shifts[:, 1],
        "csnDosePerFrame_e_per_angst2": 1.05,
        "csnFrames": 40,
        "csnDriftMax_angst": random.gamma(2, 0.5, number),
        "csnDriftPath_angst": random.gamma(3, 4, number),
        "csnLocalMotionRms_angst": random.gamma(2, 0.4, number),
        "csnDefocusMean_angst": defocus,
        "csnAstigmatism_ratio": 200 / defocus,
        "csnIceRingScore": random.gamma(2, 0.4, number),
        "csnSpectrumCorrelationMean": random.beta(12, 4, number),
        "csnSpectrumCorrelationStd": np.abs(random.normal(0.03, 0.01, number)),
        "csnDose_counts_per_angst2": random.normal(0.92, 0.008, number),
        "csnMicrographClassConfidence": random.uniform(0.6, 1, number),
        "csnMotion_s": random.normal(4, 0.5, number),
        "csnCtf_s": random.normal(1.5, 0.2, number),
        "csnCuration_s": random.normal(0.4, 0.05, number),
        "csnProcessed_s": time.time(),
    }
    for column, values in measured.items():
        table[column] = np.where(readable, values, table[column])
    table["csnGridSquare"] = [f"GridSquare_{7000 + i // 700}" for i in order]
    table["csnFoilHole"] = [f"FoilHole_{100000 + i // 4}" for i in order]
    table["csnMicrographClass"] = np.where(readable, "good", "-")
    flags = [column for column in table if column.startswith("csnPass")]
    table[flags] = np.repeat(np.where(readable, 1, -1)[:, None], len(flags), axis=1)
    table["csnPassCtf"] = np.where(readable, good, -1).astype(int)
    table["csnPassInput"] = readable.astype(int)
    table["csnAccepted"] = (readable & good).astype(int)
    table["csnReason"] = np.where(readable, np.where(good, "-", "ctf"), "input")
    told = np.where(good, "-", "fit to 7.3 A; accepted: better than 6 A")
    table["csnExplanation"] = np.where(readable, told, "the file ends after 21 of 40 frames")
    for column in ("csnFrames", "csnAttempt", "csnMovieSize_bytes"):
        table[column] = table[column].astype(int)
    return table


def decisions_of(table: pd.DataFrame) -> list[Decision]:
    """As many decisions as the filters give, of the rows of `processed`."""
    return [
        Decision(
            subject=movie,
            rule=rule if reason != "input" else "input",
            verdict="fail" if reason in (rule, "input") else "pass",
            value="0.91, 0.03",
            threshold="above 0.35, below 0.15",
            confidence=0.9,
            evidence=explanation,
        )
        for movie, reason, explanation in zip(
            table["rlnMicrographMovieName"],
            table["csnReason"],
            table["csnExplanation"],
            strict=True,
        )
        for rule in (_RULES if reason != "input" else _RULES[:1])
    ]


def pictures_of(session: Path, table: pd.DataFrame, samples: Path) -> None:
    """Link the pictures of a sample micrograph to every micrograph of a batch."""
    for name in table.loc[table["csnReason"] != "input", "rlnMicrographName"]:
        stem = Path(session) / name
        for suffix in (".mrc", "_thumb.png", "_ctf.png"):
            place = stem.with_name(stem.name.removesuffix(".mrc") + suffix)
            place.unlink(missing_ok=True)
            place.hardlink_to(samples / f"sample{suffix}")
