"""What the stages of 2D classification read of a round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.images import read_mrc
from cryosnake.tables import read_star, read_table


@dataclass(frozen=True)
class Round:
    """A classification as its job left it.

    Parameters
    ----------
    about : block `general` of its table: engine, mask, and the problem, else `-`.
    classes : one row a class; none where the classification failed.
    averages : (K, n, n) float32.
    """

    particles: int
    about: dict
    classes: pd.DataFrame
    averages: np.ndarray

    @property
    def failed(self) -> bool:
        return self.about["csnProblem"] != "-"

    @property
    def pixel_size_angst(self) -> float:
        return float(self.about["rlnPixelSize"])

    @property
    def mask_diameter_angst(self) -> float:
        return float(self.about["csnMaskDiameter_angst"])


def read_round(session: Path, particles: int) -> Round:
    """Read averages and their table.

    Raises
    ------
    BadInputError : a file is missing or damaged.
    """
    blocks = read_star(Path(session) / layout.class2d_file(particles, "averages.star"))
    about = blocks["general"]
    averages = np.zeros((0, 1, 1), np.float32)
    if about["csnProblem"] == "-":
        path = Path(session) / layout.class2d_file(particles, "classes.mrcs")
        averages = read_mrc(path)[0].astype(np.float32)
    return Round(particles, about, blocks["classes"], averages)


def read_assessed(session: Path, particles: int) -> pd.DataFrame:
    """The classes of a round with their labels."""
    return read_table(Path(session) / layout.class2d_file(particles, "classes.star"), "classes")
