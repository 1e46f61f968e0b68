"""What RELION's programs leave in three dimensions, read and checked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.engines.relion_output import NONE, read_assignments
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.tables import read_star

_FULL_TURN = (-360.0, 360.0)


def read_volume(
    path: Path, box_px: int, pixel_size_angst: float, *, may_be_empty: bool = False
) -> np.ndarray:
    """A volume (n, n, n) float32.

    Parameters
    ----------
    may_be_empty : of a class without particles: then it is 0 where it is not finite.

    Raises
    ------
    BadInputError : missing, of another size or pixel size, not finite, or flat.
    """
    volume, found_angst = read_mrc(path)
    if volume.shape != (box_px,) * 3:
        raise BadInputError(path, f"shape {volume.shape}", f"{(box_px,) * 3}")
    if abs(found_angst / pixel_size_angst - 1.0) > 0.001:
        raise BadInputError(path, f"pixel size {found_angst:g} A", f"{pixel_size_angst:g} A")
    volume = np.asarray(volume, np.float32)
    finite = np.isfinite(volume)
    if may_be_empty:
        return np.where(finite, volume, np.float32(0.0))
    if not finite.all():
        raise BadInputError(path, "is not finite", "a volume")
    if not np.ptp(volume) > 0:
        raise BadInputError(path, "is flat", "a volume")
    return volume


def read_volumes(
    root: Path, populations: Sequence[int], box_px: int, pixel_size_angst: float
) -> np.ndarray:
    """(K, n, n, n) volumes `<root>_class001.mrc` and so on of classes with so many particles."""
    return np.stack(
        [
            read_volume(
                Path(f"{root}_class{number:03d}.mrc"),
                box_px,
                pixel_size_angst,
                may_be_empty=population == 0,
            )
            for number, population in enumerate(populations, start=1)
        ]
    )


def read_poses(
    path: Path,
    names: pd.Series,
    classes: int,
    box_angst: float,
    *,
    halves: bool = False,
    some_unseen: bool = False,
) -> pd.DataFrame:
    """Class and pose of each particle from a `..._data.star`, in the order of `names`.

    Parameters
    ----------
    halves : every particle has to be in one of two half sets, none of which is empty.
    some_unseen : class 0 is allowed, of particles that were in no mini-batch.

    Returns
    -------
    With the index of `names`: rlnClassNumber, rlnAngleRot, rlnAngleTilt (0 to 180), rlnAnglePsi,
    rlnOriginXAngst, rlnOriginYAngst, rlnMaxValueProbDistribution, and rlnRandomSubset (1 or 2)
    where there are halves.

    Raises
    ------
    BadInputError : missing, particles lost, repeated or added, or values out of their range.
    """
    more = {"rlnAngleRot": _FULL_TURN, "rlnAngleTilt": _FULL_TURN}
    if halves:
        more["rlnRandomSubset"] = (1, 2)
    found = read_assignments(
        path, names, classes, box_angst, more=more, first_class=0 if some_unseen else 1
    )
    if halves:
        found["rlnRandomSubset"] = found["rlnRandomSubset"].astype(np.int64)
        if found["rlnRandomSubset"].nunique() != 2:
            raise BadInputError(path, "a half set without particles", "two half sets")
    tilt = 180.0 - (180.0 - found["rlnAngleTilt"]) % 360.0
    turn = np.where(tilt < 0, 180.0, 0.0)  # the same view, as tables have it
    for angle in ("rlnAngleRot", "rlnAnglePsi"):
        found[angle] = (found[angle] + turn + 180.0) % 360.0 - 180.0
    found["rlnAngleTilt"] = tilt.abs()
    order = ["rlnClassNumber", "rlnAngleRot", "rlnAngleTilt"]
    return found[[*order, *(name for name in found if name not in order)]]


def read_resolution(path: Path, block: str, name: str, finest_angst: float) -> float:
    """A resolution in angstrom from a simple block of a STAR file; inf where RELION has none.

    Raises
    ------
    BadInputError : missing, or finer than `finest_angst`.
    """
    blocks = read_star(path)
    if not isinstance(blocks.get(block), dict) or name not in blocks[block]:
        raise BadInputError(path, f"no {name} in a block data_{block}", "RELION's output")
    try:
        found = float(blocks[block][name])
    except ValueError as error:
        raise BadInputError(path, f"{name}: {error}", "a number") from error
    if not np.isfinite(found) or found >= NONE:
        return float("inf")
    if found < finest_angst:
        raise BadInputError(path, f"{name} = {found:g} A", f"at least {finest_angst:g} A")
    return found
