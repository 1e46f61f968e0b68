"""What the stages share: reading micrographs and tables of a session, writing decisions."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.decisions import Decision, as_table
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.quick_star import read_tables
from cryosnake.tables import read_star, write_star

COORDINATES = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"]


def image_reader(session: Path) -> Callable[[str], np.ndarray]:
    """A function that gives the image (H, W) float32 of a `rlnMicrographName`.

    It raises BadInputError where the file is missing, damaged or not finite.
    """

    def read(name: str) -> np.ndarray:
        path = Path(session) / name
        image, _ = read_mrc(path)
        image = np.asarray(image, np.float32)
        if image.ndim != 2:
            raise BadInputError(path, f"an image of shape {image.shape}", "a micrograph")
        if not np.isfinite(image).all():
            raise BadInputError(path, "values that are not finite", "a micrograph")
        return image

    return read


def read_batch(session: Path, table: str) -> pd.DataFrame:
    """The accepted micrographs of a preprocessed batch, the latest attempt of each movie."""
    rows = read_tables([Path(session) / table], "micrographs")
    return rows[rows["csnAccepted"] == 1].reset_index(drop=True)


def read_subset(session: Path, path: str) -> pd.DataFrame:
    """The micrographs of a frozen subset, with the optics of their groups."""
    blocks = read_star(Path(session) / path)
    optics = blocks["optics"].drop(columns="rlnOpticsGroupName")
    return blocks["micrographs"].merge(optics, on="rlnOpticsGroup", how="left")


def write_coordinates(path: Path, tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Write the picks of several micrographs as one table; it may have no rows."""
    parts = [table for table in tables if len(table)]
    empty = pd.DataFrame(columns=COORDINATES).astype(dict.fromkeys(COORDINATES[1:], float))
    table = pd.concat(parts, ignore_index=True) if parts else empty
    write_star(path, {"coordinates": table})
    return table


def read_coordinates(path: Path) -> pd.DataFrame:
    """A table of coordinates, as `write_coordinates` leaves it."""
    return read_tables([path], "coordinates")


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions as a table of their own; it may have no rows."""
    table = as_table(decisions)
    if table.empty:
        table = as_table([Decision("-", "-", "info", "-", "-")]).iloc[:0]
    write_star(path, {"decisions": table})
