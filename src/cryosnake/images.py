"""Micrographs as MRC files, and small pictures of them."""

import os
from pathlib import Path

import mrcfile
import numpy as np
from PIL import Image

from cryosnake.errors import BadInputError
from cryosnake.files import written_whole


def write_mrc(path: str | os.PathLike, data: np.ndarray, pixel_size_angst: float) -> None:
    """Write an image or stack as MRC whole or not at all (float32: mode 2; float16: mode 12).

    Parameters
    ----------
    data : (H, W) or (N, H, W); row 0 is the bottom. A 3-D array is marked as a stack.
    """
    with written_whole(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(data))
        if data.ndim == 3:
            mrc.set_image_stack()
        mrc.voxel_size = pixel_size_angst


def write_volume(path: str | os.PathLike, volume: np.ndarray, pixel_size_angst: float) -> None:
    """Write a map (n, n, n) as an MRC volume whole or not at all (float32)."""
    with written_whole(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(volume, np.float32))
        mrc.set_volume()
        mrc.voxel_size = pixel_size_angst


def read_mrc(path: str | os.PathLike) -> tuple[np.ndarray, float]:
    """Read an MRC file: its data as stored and the pixel size in angstrom.

    Raises
    ------
    BadInputError : missing, unreadable or not MRC.
    """
    path = Path(path)
    try:
        with mrcfile.open(path, permissive=False) as mrc:
            return np.array(mrc.data), float(mrc.voxel_size.x)
    except (OSError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "an MRC file") from error


def mrc_shape(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of an MRC image, from its header.

    Raises
    ------
    BadInputError : missing, unreadable or not MRC.
    """
    try:
        with mrcfile.open(path, permissive=False, header_only=True) as mrc:
            return int(mrc.header.ny), int(mrc.header.nx)
    except (OSError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "an MRC file") from error


def write_png(path: str | os.PathLike, grey: np.ndarray) -> None:
    """Write an (H, W) uint8 or (H, W, 3) uint8 array as PNG whole or not at all.

    Row 0 of `grey` is the bottom, as in MRC, and is shown at the bottom. Pictures in colour are
    reduced to 48 colours, which diagrams do not miss: a third of the size.
    """
    picture = Image.fromarray(np.ascontiguousarray(grey[::-1]))
    if picture.mode == "RGB":
        picture = picture.quantize(48, dither=Image.Dither.NONE)
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def stretched(
    image: np.ndarray, *, low_percent: float = 0.5, high_percent: float = 99.5
) -> np.ndarray:
    """Map an image to uint8 between two percentiles; a flat image becomes mid-grey."""
    low, high = np.percentile(image, [low_percent, high_percent])
    if not high > low:
        return np.full(image.shape, 128, np.uint8)
    return np.clip((image - low) / (high - low) * 255.0, 0, 255).astype(np.uint8)
