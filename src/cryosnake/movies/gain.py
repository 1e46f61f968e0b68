"""Gain references: reading them as multiplicative, turning and resizing them onto the movie."""

import os
from pathlib import Path

import numpy as np
import tifffile

from cryosnake.errors import BadInputError
from cryosnake.movies.movie import bad_input, file_size
from cryosnake.movies.mrc import open_mrc
from cryosnake.movies.tiff_index import read_pages

_TURNS = {
    "none": lambda a: a,
    "flip_y": lambda a: a[::-1],
    "flip_x": lambda a: a[:, ::-1],
    "rotate_180": lambda a: a[::-1, ::-1],
    "rotate_90": lambda a: np.rot90(a, 1),
    "rotate_270": lambda a: np.rot90(a, 3),
    "transpose": lambda a: a.T,
    "anti_transpose": lambda a: a[::-1, ::-1].T,
}
GAIN_ORIENTATIONS: tuple[str, ...] = tuple(_TURNS)


def read_gain(
    path: str | os.PathLike, *, operation: str = "auto", movie_format: str = "tiff"
) -> np.ndarray:
    """Read a gain reference as the factors that frames are multiplied with.

    Parameters
    ----------
    path : MRC, TIFF, or a Falcon `.gain` file (a TIFF). TIFF rows are turned to MRC order; those
        of `.gain` files are not, as EER rows are not.
    operation : `multiply`, `divide` (the file is divided by: it is inverted here and scaled to a
        mean of 1), or `auto`: divide for an EER movie with a gain in MRC or TIFF, else multiply.
        This is RELION's convention, in which Falcon's `.gain` files are multiplied.
    movie_format : `MovieInfo.format` of the movie, for `auto`.

    Returns
    -------
    (H, W) float32, row 0 the bottom; 0 marks a defect. Negative and non-finite factors become 0.

    Raises
    ------
    BadInputError : missing, unreadable, not one image, or without a positive factor.
    """
    path = Path(path)
    if operation not in ("auto", "multiply", "divide"):
        raise ValueError(f"{operation = } is not auto, multiply or divide")
    suffix = path.suffix.lower()
    if suffix == ".gain":
        gain = _read_tiff_image(path)
    elif suffix in (".tif", ".tiff"):
        gain = _read_tiff_image(path)[::-1]
    elif suffix in (".mrc", ".mrcs"):
        gain = _read_mrc_image(path)
    else:
        raise BadInputError(
            path,
            f"ending {suffix!r} is not of a gain reference that can be read",
            "MRC, TIFF or .gain (convert DM4 with IMOD's dm2mrc, and set acquisition.gain)",
        )
    gain = np.array(gain, np.float32)
    gain[~np.isfinite(gain) | (gain < 0)] = 0
    if not (gain > 0).any():
        raise BadInputError(path, "has no positive factor", "a gain reference")
    if operation == "auto":
        operation = "divide" if movie_format == "eer" and suffix != ".gain" else "multiply"
    if operation == "divide":
        mean = float(gain[gain > 0].mean(dtype=np.float64))
        gain = np.divide(mean, gain, out=np.zeros_like(gain), where=gain > 0)
    return gain


def orient_gain(gain: np.ndarray, name: str) -> np.ndarray:
    """Turn a gain reference (or any image) by one of `GAIN_ORIENTATIONS`.

    In row order (row 0 the bottom): `flip_y` reverses the rows, `flip_x` the columns,
    `rotate_90` is `numpy.rot90(gain, 1)`, `transpose` swaps rows and columns, `anti_transpose`
    swaps them over the other diagonal.
    """
    return np.ascontiguousarray(turned_view(gain, name))


def turned_view(image: np.ndarray, name: str) -> np.ndarray:
    """As `orient_gain`, without a copy."""
    if name not in _TURNS:
        raise ValueError(f"gain orientation {name!r} is not one of {GAIN_ORIENTATIONS}")
    return _TURNS[name](image)


def candidate_orientations(gain_shape: tuple[int, int], shape: tuple[int, int]) -> tuple[str, ...]:
    """The orientations that bring a gain of `gain_shape` to `shape`: eight, four or none."""
    straight = GAIN_ORIENTATIONS[:4] if gain_shape == shape else ()
    turned = GAIN_ORIENTATIONS[4:] if gain_shape == shape[::-1] else ()
    return straight + turned


def resize_gain(gain: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring a gain reference of half or twice the movie's sampling to that of the movie.

    Twice as large (super-resolution gain, counted movie): means of 2 x 2 good factors. Half as
    large (4K gain, 8K movie): each factor is repeated. Whichever way the detector is turned; a
    gain of another size is returned as it is, for `check_gain_shape` to refuse.
    """
    sides, wanted = sorted(gain.shape), sorted(shape)
    if sides == [2 * side for side in wanted]:
        height, width = gain.shape[0] // 2, gain.shape[1] // 2
        blocks = gain.reshape(height, 2, width, 2)
        good = np.count_nonzero(blocks, axis=(1, 3))
        total = blocks.sum(axis=(1, 3), dtype=np.float32)
        return np.divide(total, good, out=np.zeros((height, width), np.float32), where=good > 0)
    if [2 * side for side in sides] == wanted:
        return gain.repeat(2, axis=0).repeat(2, axis=1)
    return gain


def check_gain_shape(
    gain: np.ndarray, shape: tuple[int, int], path: str | os.PathLike, *, turned: bool = False
) -> None:
    """Refuse a gain reference that does not fit the movie.

    Parameters
    ----------
    shape : (height, width) of a frame in pixels.
    turned : whether the gain may also fit after a quarter turn (orientation not yet known).

    Raises
    ------
    BadInputError : with both sizes.
    """
    fits = gain.shape == shape or (turned and gain.shape == shape[::-1])
    if not fits:
        raise BadInputError(
            path,
            f"the gain reference has {gain.shape[1]} x {gain.shape[0]} pixels",
            f"{shape[1]} x {shape[0]}, as the movie's frames",
        )


def _read_mrc_image(path: Path) -> np.ndarray:
    with open_mrc(path) as movie:
        if movie.info.frames != 1:
            raise BadInputError(path, f"has {movie.info.frames} images", "one gain reference")
        return next(movie.frames())


def _read_tiff_image(path: Path) -> np.ndarray:
    """The first image of a TIFF, in the file's row order, checked to be complete."""
    size = file_size(path)
    with open(path, "rb") as stream:
        read_pages(stream, size, path)
    with bad_input(path, "cannot be read as TIFF"), tifffile.TiffFile(path) as tiff:
        image = tiff.pages[0].asarray()
    if image.ndim != 2:
        raise BadInputError(path, f"has an image of shape {image.shape}", "a greyscale image")
    return image
