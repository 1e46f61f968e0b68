"""What RELION's classifications leave, read and checked.

RELION writes `inf`, `nan`, `-nan` and 999 where it has no value, reorders particles by micrograph,
and ends with exit code 0 in some cases where its output is of no use.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.tables import read_table

#: Stands for a resolution or an accuracy that does not exist.
NONE = 999.0

_VERSION = re.compile(r"RELION version:\s*v?((\d+)\.(\d+)\S*)")


def parse_version(text: str) -> tuple[str, tuple[int, int]] | None:
    """The version in the output of `--version`, as text and as (major, minor); None without one.

    Examples
    --------
    >>> parse_version("RELION version: 5.0.1-commit-d476e6\\nPrecision: BASE=double")
    ('5.0.1-commit-d476e6', (5, 0))
    """
    found = _VERSION.search(text)
    return None if found is None else (found[1], (int(found[2]), int(found[3])))


def read_classes(path: Path, classes: int) -> pd.DataFrame:
    """The classes of a `run_itNNN_model.star`.

    Returns
    -------
    One row a class: rlnReferenceImage, rlnClassDistribution, rlnEstimatedResolution,
    rlnAccuracyRotations, rlnAccuracyTranslationsAngst; 999 where RELION has no value.

    Raises
    ------
    BadInputError : missing, other than `classes` rows, or shares that do not add up to 1.
    """
    table = read_table(path, "model_classes")
    if len(table) != classes:
        raise BadInputError(path, f"{len(table)} classes", f"{classes}")
    share = np.nan_to_num(_numbers(table, "rlnClassDistribution", path), nan=0.0)
    if (share < 0).any() or abs(share.sum() - 1.0) > 0.05:
        raise BadInputError(path, f"shares of the classes that add up to {share.sum():g}", "1")
    limited = ("rlnEstimatedResolution", "rlnAccuracyRotations", "rlnAccuracyTranslationsAngst")
    return pd.DataFrame(
        {
            "rlnReferenceImage": table["rlnReferenceImage"].astype(str),
            "rlnClassDistribution": share,
            **{name: _or_none(_numbers(table, name, path)) for name in limited},
        }
    )


def read_averages(path: Path, populations: np.ndarray) -> np.ndarray:
    """Class averages (K, n, n) float32; those of empty classes are 0 where they are not finite.

    Parameters
    ----------
    path : a `run_itNNN_classes.mrcs`.
    populations : (K,) number of particles of each class.

    Raises
    ------
    BadInputError : missing, another number of images, or averages of populated classes that are not
        finite or flat.
    """
    averages, _ = read_mrc(path)
    averages = np.asarray(averages, np.float32).reshape(-1, *averages.shape[-2:])
    if len(averages) != len(populations):
        raise BadInputError(path, f"{len(averages)} averages", f"{len(populations)}")
    finite = np.isfinite(averages).all(axis=(1, 2))
    averages[~finite] = 0.0
    flat = np.ptp(averages, axis=(1, 2)) == 0
    if (flat & (populations > 0)).any():
        worst = int(np.flatnonzero(flat & (populations > 0))[0])
        found = "is flat" if finite[worst] else "is not finite"
        raise BadInputError(
            path, f"the average of class {worst + 1}, with {populations[worst]} particles, {found}"
        )
    return averages


def read_assignments(
    path: Path,
    names: pd.Series,
    classes: int,
    box_angst: float,
    *,
    more: Mapping[str, tuple[float, float]] | None = None,
    first_class: int = 1,
) -> pd.DataFrame:
    """What a `run_itNNN_data.star` says of each particle, in the order of `names`.

    Parameters
    ----------
    names : rlnImageName of the particles that RELION was given.
    classes : number of classes.
    box_angst : side of the images, which no origin can exceed.
    more : further columns and their ranges.
    first_class : 0 where particles may be left out.

    Returns
    -------
    With the index of `names`: rlnClassNumber (`first_class` to K), rlnAnglePsi (-180 to 180),
    rlnOriginXAngst, rlnOriginYAngst, rlnMaxValueProbDistribution, and those of `more`.

    Raises
    ------
    BadInputError : missing, particles lost, repeated or added, or values out of their range.
    """
    table = read_table(path, "particles")
    if "rlnImageName" not in table:
        raise BadInputError(path, f"no rlnImageName among {list(table)}", "RELION's particles")
    repeated = table["rlnImageName"].duplicated()
    if repeated.any():
        first = table.loc[repeated, "rlnImageName"].iloc[0]
        raise BadInputError(path, f"{first} is there more than once", "every particle once")
    lost = set(names) - set(table["rlnImageName"])
    if lost or len(table) != len(names):
        example = f", as {min(lost)}" if lost else ""
        raise BadInputError(
            path, f"{len(table)} particles, {len(lost)} missing{example}", f"the {len(names)} given"
        )
    table = table.set_index("rlnImageName").loc[names]
    ranges = {
        "rlnClassNumber": (first_class, classes),
        "rlnAnglePsi": (-360.0, 360.0),
        "rlnOriginXAngst": (-box_angst, box_angst),
        "rlnOriginYAngst": (-box_angst, box_angst),
        "rlnMaxValueProbDistribution": (0.0, 1.001),
        **(more or {}),
    }
    found = {}
    for name, (low, high) in ranges.items():
        values = _numbers(table, name, path)
        bad = ~((values >= low) & (values <= high))  # NaN too
        if bad.any():
            wrong = f"{name} of {bad.sum()} particles, as {values[bad][0]:g}"
            raise BadInputError(path, wrong, f"{low:g} to {high:g}")
        found[name] = values
    found["rlnClassNumber"] = found["rlnClassNumber"].astype(np.int64)
    found["rlnAnglePsi"] = (found["rlnAnglePsi"] + 180.0) % 360.0 - 180.0
    found["rlnMaxValueProbDistribution"] = found["rlnMaxValueProbDistribution"].clip(0.0, 1.0)
    return pd.DataFrame(found, index=names.index)


def _numbers(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    """A column as float64. Python reads `inf`, `nan` and `-nan` as C++ writes them."""
    if column not in table:
        raise BadInputError(path, f"no {column} among {list(table)}", column)
    try:
        return np.array([float(value) for value in table[column]])
    except ValueError as error:
        raise BadInputError(path, f"{column}: {error}", "numbers") from error


def _or_none(values: np.ndarray) -> np.ndarray:
    """999 for what is not finite, not positive or beyond it."""
    return np.where(np.isfinite(values) & (values > 0) & (values < NONE), values, NONE)
