"""A fabricated session to develop, test and time the report with: tables and pictures only."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.config.model import Config
from cryosnake.curation import apply_dose_filter
from cryosnake.decisions import Decision, as_table
from cryosnake.images import write_png

_START = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)
_LABELS = ("film", "drift_crack", "major_ice", "contamination", "empty")


def fabricated_tables(
    movies: int, *, seed: int = 1, config: Config | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of micrographs.star and decisions.star of a session in which ice becomes worse towards
    the end, the beam drops for a while, and a few files are broken."""
    config = config or Config()
    c = config.curation
    random = np.random.default_rng(seed)
    order = np.arange(movies)
    late = order / max(1, movies - 1)
    seconds = np.cumsum(random.gamma(4, 1.5, movies))
    defocus = random.choice([9000, 13000, 17000, 21000, 25000], movies) + random.normal(
        0, 900, movies
    )
    ratio = np.abs(random.normal(0.015, 0.02, movies))
    drift = random.gamma(2.5, 4.0, movies)
    ice = random.gamma(2, 0.4, movies) + np.where(late > 0.85, random.gamma(2, 3, movies), 0)
    resolution = 3.3 + random.gamma(2, 0.35, movies) + 0.15 * ice
    dose = random.normal(0.92, 0.008, movies)
    dose[(late > 0.4) & (late < 0.43)] *= 0.8
    correlation = np.clip(random.beta(12, 4, movies), 0, 1)
    label = np.where(random.random(movies) < 0.2, "minor_ice", "good").astype(object)
    spoilt = random.random(movies) < 0.05
    label[spoilt] = random.choice(_LABELS, spoilt.sum())
    label[ice > 7] = "major_ice"
    resolution[label == "empty"] = 18.0
    broken = random.random(movies) < 0.006
    names = [f"FoilHole_{100000 + i}_Data_{i % 7}_{i:05d}_Fractions" for i in order]
    table = pd.DataFrame(
        {
            "rlnMicrographMovieName": [f"/data/session/movies/{name}.tiff" for name in names],
            "rlnMicrographName": [
                f"results/preprocess/b{i // 20:05d}/{name}.mrc"
                for i, name in zip(order, names, strict=True)
            ],
            "rlnDefocusU": defocus * (1 + ratio / 2),
            "rlnDefocusV": defocus * (1 - ratio / 2),
            "rlnDefocusAngle": random.uniform(0, 180, movies),
            "rlnCtfMaxResolution": resolution,
            "rlnAccumMotionTotal": drift,
            "csnBatch": [f"b{i // 20:05d}" for i in order],
            "csnArrival_s": _START.timestamp() + seconds + 30,
            "csnAcquisitionTime": [
                (_START + timedelta(seconds=float(s))).isoformat() for s in seconds
            ],
            "csnGridSquare": [f"GridSquare_{7000 + i // max(20, movies // 30)}" for i in order],
            "csnDosePerFrame_e_per_angst2": 1.05,
            "csnFrames": 40,
            "csnDriftMax_angst": drift / 4 + random.gamma(2, 0.5, movies),
            "csnDriftPath_angst": drift,
            "csnDefocusMean_angst": defocus,
            "csnAstigmatism_ratio": ratio,
            "csnIceRingScore": ice,
            "csnSpectrumCorrelationMean": correlation,
            "csnSpectrumCorrelationStd": np.abs(random.normal(0.05, 0.03, movies)),
            "csnDose_counts_per_angst2": dose,
            "csnMicrographClass": label,
            "csnMicrographClassConfidence": random.uniform(0.6, 1, movies),
            "csnMotion_s": random.normal(4, 0.5, movies),
            "csnCtf_s": random.normal(1.5, 0.2, movies),
            "csnCuration_s": random.normal(0.4, 0.05, movies),
        }
    )
    table["csnPassInput"] = 1
    table["csnPassDrift"] = (drift <= c.drift_path_angst).astype(int)
    table["csnPassSpectrum"] = (correlation > c.spectrum_min_mean).astype(int)
    table["csnPassClass"] = np.isin(label.astype(str), c.classes_kept).astype(int)
    table["csnPassCtf"] = (
        (resolution <= c.ctf_max_resolution_angst) & (ratio <= c.astigmatism_max_ratio)
    ).astype(int)
    measured = [column for column in table if table[column].dtype == float]
    table.loc[broken, [name for name in measured if name != "csnArrival_s"]] = np.nan
    table.loc[broken, ["rlnMicrographName", "csnMicrographClass"]] = "-"
    flags = [column for column in table if column.startswith("csnPass")]
    table.loc[broken, flags] = -1
    table.loc[broken, "csnPassInput"] = 0
    table["csnReason"] = np.where(broken, "input", "-")
    table["csnExplanation"] = np.where(
        broken, "the file ends after 21 of 40 frames; expected 40 whole frames", "-"
    )
    table, session_decisions = apply_dose_filter(table, c)
    return table, _decisions(table, session_decisions)


def _decisions(table: pd.DataFrame, session_decisions: list[Decision]) -> pd.DataFrame:
    """A decision a movie (as many as the filters would give make the same page)."""
    decisions = [
        Decision(
            subject=row.rlnMicrographMovieName,
            rule="ctf" if row.csnReason == "-" else row.csnReason,
            verdict="pass" if row.csnAccepted else "fail",
            value=f"fit to {row.rlnCtfMaxResolution:.2f} A",
            threshold="6 A or better",
            confidence=0.9,
            evidence=row.csnExplanation,
            time=_START.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        for row in table.itertuples()
    ]
    return as_table(session_decisions + decisions)


def write_pictures(table: pd.DataFrame, results_dir: Path, *, side_px: int = 512) -> None:
    """A thumbnail and a CTF picture for each movie that could be read: noise, and noisy rings."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side_px * 1j, -1 : 1 : side_px * 1j]
    radius = np.hypot(x, y)
    for row in table[table["rlnMicrographName"] != "-"].itertuples():
        folder = results_dir / "preprocess" / row.csnBatch
        stem = Path(row.rlnMicrographName).stem
        thumb = np.clip(random.normal(128, 30, (side_px, side_px)), 0, 255)
        rings = 128 + 90 * np.cos(row.rlnDefocusU / 250 * radius**2) * np.exp(-2 * radius)
        rings = np.clip(rings + np.where(x < 0, 1, 0) * random.normal(0, 25, radius.shape), 0, 255)
        write_png(folder / f"{stem}_thumb.png", thumb.astype(np.uint8))
        write_png(folder / f"{stem}_ctf.png", rings.astype(np.uint8))
