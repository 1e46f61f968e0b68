"""Bad pixels: defect files and outliers of the mean frame."""

import os
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.special import pdtr, pdtrc

from cryosnake.errors import BadInputError
from cryosnake.movies.movie import bad_input
from cryosnake.movies.opening import MOVIE_SUFFIXES, open_movie

LOCAL_PX = 9


def read_defects(path: str | os.PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Read a defect file.

    Parameters
    ----------
    path : text with lines `x y width height` in pixels, counted from the first column and the
        bottom row (MotionCor's format, as RELION reads it; `#` begins a comment); or an MRC or
        TIFF mask in which other than 0 is bad.
    shape : (height, width) of a frame in pixels.

    Returns
    -------
    (H, W) bool, True where bad.

    Raises
    ------
    BadInputError : unreadable, a line that is not four whole numbers, a rectangle that does not
        touch the detector, or a mask of another size.
    """
    path = Path(path)
    if path.suffix.lower() in MOVIE_SUFFIXES:
        with open_movie(path) as image:
            mask = next(image.frames()) != 0
        if mask.shape != shape:
            raise BadInputError(
                path,
                f"the defect mask has {mask.shape[1]} x {mask.shape[0]} pixels",
                f"{shape[1]} x {shape[0]}, as the movie's frames",
            )
        return mask
    with bad_input(path, "cannot be read", "a text file of defects"):
        text = path.read_text(encoding="utf-8")
    mask = np.zeros(shape, bool)
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        try:
            x, y, width, height = (int(field) for field in fields)
        except ValueError as error:
            raise BadInputError(
                path, f"line {number} is {line.strip()!r}", "`x y width height` in pixels"
            ) from error
        inside = 0 <= x < shape[1] and 0 <= y < shape[0]
        if not inside or width < 1 or height < 1:
            raise BadInputError(
                path,
                f"line {number} is {line.strip()!r}",
                f"a rectangle on the detector of {shape[1]} x {shape[0]} pixels",
            )
        mask[y : y + height, x : x + width] = True
    return mask


def find_hot_pixels(mean_frame: np.ndarray, *, false_alarms: float = 0.01) -> np.ndarray:
    """Pixels that are too hot or too dead for counting noise.

    Each pixel is held against the mean of its surroundings under a Poisson law, whose scale
    (frames averaged, counts an electron makes) is taken from the frame's own noise, so that the
    long right tail of few counts is not mistaken for hot pixels.

    Parameters
    ----------
    mean_frame : (H, W) mean of the gain-corrected frames; 0 or more.
    false_alarms : number of good pixels expected to be called bad in the whole frame.

    Returns
    -------
    (H, W) bool, True where bad.
    """
    frame = np.asarray(mean_frame, np.float32)
    sample = frame.ravel()[:: max(1, frame.size // 1_000_000)]
    low, middle, high = np.percentile(sample, [0.1, 50, 99.9])
    clipped = np.clip(frame, min(low, middle), max(high, middle))
    local = np.maximum(uniform_filter(clipped, LOCAL_PX, mode="nearest"), 1e-12)
    noise = (clipped - local).ravel()[:: max(1, frame.size // 1_000_000)]
    variance = float(np.mean(noise.astype(np.float64) ** 2)) * LOCAL_PX**2 / (LOCAL_PX**2 - 1)
    mean = float(np.mean(sample.clip(min(low, middle), max(high, middle)), dtype=np.float64))
    if variance <= 0 or mean <= 0:
        return np.zeros(frame.shape, bool)
    counts_per_unit = mean / variance  # Poisson: variance = mean / counts_per_unit
    chance = false_alarms / frame.size
    # Far from its surroundings first (cheap), then the exact law for those few
    far = np.abs(frame - local) > 4 * np.sqrt(local / counts_per_unit)
    bad = np.zeros(frame.shape, bool)
    counts, expected = frame[far] * counts_per_unit, local[far] * counts_per_unit
    bad[far] = np.where(
        counts > expected,
        pdtrc(np.ceil(counts) - 1, expected) < chance,
        pdtr(np.floor(np.maximum(counts, 0)), expected) < chance,
    )
    return bad
