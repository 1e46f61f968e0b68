"""What the stages of 2D classification read of a round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.images import read_mrc
from cryosnake.tables import read_star, read_table


@dataclass(frozen=True)
class Round:
    """A classification as its job left it.

    Parameters
    ----------
    folder : where it lies, below the session.
    about : block `general` of its table: engine, mask, and the problem, else `-`.
    classes : one row a class; none where the classification failed.
    averages : (K, n, n) float32.
    """

    folder: str
    about: dict
    classes: pd.DataFrame
    averages: np.ndarray

    @property
    def particles(self) -> int:
        return int(self.about["csnRoundParticles"])

    @property
    def failed(self) -> bool:
        return self.about["csnProblem"] != "-"

    @property
    def pixel_size_angst(self) -> float:
        return float(self.about["rlnPixelSize"])

    @property
    def mask_diameter_angst(self) -> float:
        return float(self.about["csnMaskDiameter_angst"])


def read_round(session: Path, folder: str) -> Round:
    """Read averages and their table from a folder below the session.

    Raises
    ------
    BadInputError : a file is missing or damaged.
    """
    blocks = read_star(Path(session) / folder / "averages.star")
    about = blocks["general"]
    averages = np.zeros((0, 1, 1), np.float32)
    if about["csnProblem"] == "-":
        averages = read_mrc(Path(session) / folder / "classes.mrcs")[0].astype(np.float32)
    return Round(folder, about, blocks["classes"], averages)


def read_assessed(session: Path, folder: str) -> pd.DataFrame:
    """The classes of a round with their labels."""
    return read_table(Path(session) / folder / "classes.star", "classes")
