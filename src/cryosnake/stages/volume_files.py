"""What ab initio reconstruction and 3D classification leave, and how it is read again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.classes2d.particle_table import UNKNOWN
from cryosnake.images import read_mrc, write_png, write_volume
from cryosnake.tables import read_star, star_text, write_star
from cryosnake.validation.choice import VolumeFacts
from cryosnake.validation.volume_picture import draw_volumes

VOLUME_COLUMNS = (
    "rlnReferenceImage",
    "rlnClassDistribution",
    "csnVolumePopulation",
    "rlnEstimatedResolution",
    "csnVolumeEvidence",
    "csnVolumeChosen",
)


@dataclass(frozen=True)
class Volumes:
    """K volumes as a job left them.

    Parameters
    ----------
    folder : where they lie, below the session.
    about : block `general` of their table: engine, box, mask, and the problem, else `-`.
    table : one row a volume; none where there is no result.
    volumes : (n, n, n) float32 each.
    """

    folder: str
    about: dict
    table: pd.DataFrame
    volumes: list[np.ndarray]

    @property
    def problem(self) -> str | None:
        told = str(self.about["csnProblem"])
        return None if told == "-" else told

    @property
    def pixel_size_angst(self) -> float:
        return float(self.about["rlnPixelSize"])

    @property
    def diameter_angst(self) -> float:
        return float(self.about["csnMaskDiameter_angst"])

    def facts(self) -> list[VolumeFacts]:
        """The volumes with what their particles say of them."""
        return [
            VolumeFacts(
                name=f"volume {number}",
                volume=volume,
                population=int(row["csnVolumePopulation"]),
                resolution_angst=_known(row["rlnEstimatedResolution"]),
                evidence=float(row["csnVolumeEvidence"]),
            )
            for number, (volume, row) in enumerate(
                zip(self.volumes, self.table.to_dict("records"), strict=True), start=1
            )
        ]


def _known(resolution_angst: float) -> float:
    return math.inf if resolution_angst >= UNKNOWN else float(resolution_angst)


def volume_table(
    folder: str,
    shares: Sequence[float],
    populations: Sequence[int],
    resolutions_angst: Sequence[float],
    evidence: Sequence[float],
) -> pd.DataFrame:
    """One row a volume, none of them chosen yet."""
    resolution = np.asarray(resolutions_angst, float)
    columns = (
        [f"{folder}/{volume_name(number)}" for number in range(1, len(shares) + 1)],
        np.asarray(shares, float),
        np.asarray(populations, int),
        np.where(np.isfinite(resolution), resolution, UNKNOWN),
        np.asarray(evidence, float),
        np.zeros(len(shares), int),
    )
    return pd.DataFrame(dict(zip(VOLUME_COLUMNS, columns, strict=True)))


def volume_name(number: int) -> str:
    """File of a volume, from 1."""
    return f"volume_{number}.mrc"


def write_volumes(session: Path, found: Volumes) -> None:
    """Write volumes and their picture, and last the table: it says that all is there."""
    folder = Path(session) / found.folder
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("volume*"):
        stale.unlink()
    for number, volume in enumerate(found.volumes, start=1):
        write_volume(folder / volume_name(number), volume, found.pixel_size_angst)
    rows = found.table.to_dict("records")
    # one that no particle shows is empty
    drawn = [k for k, volume in enumerate(found.volumes) if np.ptp(volume) > 0]
    if drawn:
        picture = draw_volumes(
            [found.volumes[k] for k in drawn],
            [_title(k + 1, rows[k]) for k in drawn],
            found.pixel_size_angst,
            found.diameter_angst,
            [rows[k]["csnVolumeChosen"] == 1 for k in drawn],
        )
        write_png(folder / "volumes.png", picture)
    write_star(folder / "volumes.star", {"general": found.about, "volumes": found.table})


def _title(number: int, row: dict) -> str:
    resolution = _known(row["rlnEstimatedResolution"])
    text = f"volume {number}: {row['csnVolumePopulation']:,} particles"
    return f"{text}, {resolution:.1f} A" if math.isfinite(resolution) else text


def no_volumes(folder: str, about: dict, problem: str) -> Volumes:
    """No result, and why."""
    told = {**about, "csnProblem": star_text(problem)}
    return Volumes(folder, told, pd.DataFrame(columns=VOLUME_COLUMNS), [])


def read_volumes(session: Path, folder: str) -> Volumes:
    """Read volumes and their table.

    Raises
    ------
    BadInputError : a file is missing or damaged.
    """
    blocks = read_star(Path(session) / folder / "volumes.star")
    table = blocks["volumes"]
    volumes = [read_mrc(Path(session) / name)[0] for name in table["rlnReferenceImage"]]
    return Volumes(folder, blocks["general"], table, volumes)
