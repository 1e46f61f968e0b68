"""A micrograph reduced to the scale at which a picker works, with what could mislead it flattened.

A detector of blobs needs about 20 pixels across a particle; noise of finer detail is averaged away,
and a 4096 x 4096 micrograph becomes one that is filtered in a fraction of a second.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.fft
import scipy.ndimage as ndi

#: Grey values further than this many robust standard deviations from the background are cut off:
#: hot pixels, the edges of film and contamination.
CLIP_SIGMA = 8.0


@dataclass(frozen=True)
class Coarse:
    """A micrograph averaged over blocks.

    Attributes
    ----------
    image : (h, w) float32.
    factor : pixels of the full-size micrograph along a side of a block.
    pixel_size_angst : side of a block.
    """

    image: np.ndarray
    factor: int
    pixel_size_angst: float


def block_mean(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor x factor pixels, (H // factor, W // factor) float32; rows and
    columns beyond the last whole block are left out; NaN where a block has no finite pixel."""
    height, width = (side // factor for side in image.shape)
    blocks = np.asarray(image[: height * factor, : width * factor], np.float32)
    blocks = blocks.reshape(height, factor, width, factor)
    finite = np.isfinite(blocks)
    if finite.all():
        # along the rows first: contiguous, several times as fast as both axes at once
        return blocks.sum(axis=3).sum(axis=1) / np.float32(factor * factor)
    number = finite.sum(axis=(1, 3))
    total = np.where(finite, blocks, 0).sum(axis=(1, 3))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def reduced(
    image: np.ndarray, pixel_size_angst: float, diameter_angst: float, diameter_px: float
) -> Coarse | None:
    """Average a micrograph so that a diameter has at least a number of pixels.

    Parameters
    ----------
    image : (H, W); pixel_size_angst : of it.
    diameter_angst : of the particle (its short axis); diameter_px : wanted across it.

    Returns
    -------
    None where the micrograph is smaller than two particles along a side: nothing can be picked.

    Raises
    ------
    ValueError : not two-dimensional, or a size that is not positive.
    """
    if image.ndim != 2:
        raise ValueError(f"a micrograph has two dimensions, not {image.shape = }")
    if not pixel_size_angst > 0 or not diameter_angst > 0:
        raise ValueError(f"{pixel_size_angst = } and {diameter_angst = } must be above 0")
    if min(image.shape) * pixel_size_angst < 2 * diameter_angst:
        return None
    factor = max(1, int(diameter_angst / pixel_size_angst / diameter_px))
    return Coarse(block_mean(image, factor), factor, pixel_size_angst * factor)


def flattened(image: np.ndarray, background_px: float) -> np.ndarray | None:
    """An (h, w) image less its background, cut off at `CLIP_SIGMA`, in robust standard deviations.

    Pixels that are not finite become the background and do not draw it. None where the image is
    constant.

    Parameters
    ----------
    background_px : standard deviation of the Gaussian that makes the background, in pixels.
    """
    finite = np.isfinite(image)
    if not finite.any():
        return None
    level = float(np.median(image[finite]))
    filled = np.where(finite, image, 0.0).astype(np.float32)
    # near missing pixels the mean is that of the others
    share = None if finite.all() else smoothed(finite.astype(np.float32), background_px)
    for _ in range(2):  # the second time without what would draw the background towards itself
        background = smoothed(filled, background_px)
        if share is not None:
            background /= np.maximum(share, 1e-6)
        rest = np.where(finite, image - background, 0.0)
        spread = robust_std(rest[finite])
        if not spread > 1e-6 * max(abs(level), 1e-20):
            return None
        rest = np.clip(rest, -CLIP_SIGMA * spread, CLIP_SIGMA * spread)
        filled = np.where(finite, background + rest, 0.0)
    return (rest / spread).astype(np.float32)


def smoothed(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian smoothing of any width at little cost: wide ones on a coarser grid."""
    step = max(1, int(sigma_px / 4))
    height, width = image.shape
    if step == 1 or min(height, width) < 4 * step:
        return ndi.gaussian_filter(image, sigma_px, mode="reflect")
    padded = np.pad(image, ((0, -height % step), (0, -width % step)), mode="edge")
    small = ndi.gaussian_filter(block_mean(padded, step), sigma_px / step, mode="reflect")
    y = (np.arange(height) + 0.5) / step - 0.5
    x = (np.arange(width) + 0.5) / step - 0.5
    rows = _interpolated(small, y, axis=0)
    return _interpolated(rows, x, axis=1)


def _interpolated(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along one axis of an (h, w) array, constant beyond its ends."""
    places = np.clip(places, 0, values.shape[axis] - 1)
    lower = np.minimum(places.astype(int), max(values.shape[axis] - 2, 0))
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    part = (places - lower).astype(values.dtype)
    part = part[:, None] if axis == 0 else part[None, :]
    return np.take(values, lower, axis) * (1 - part) + np.take(values, upper, axis) * part


def robust_std(values: np.ndarray) -> float:
    """Standard deviation of the bulk: 1.4826 times the median absolute deviation."""
    sample = np.ravel(values)
    sample = sample[:: max(1, sample.size // 200_000)]
    return 1.4826 * float(np.median(np.abs(sample - np.median(sample))))


def reflected_transform(image: np.ndarray, margin_px: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Half-plane transform of an image extended by reflection, so that filters do not wrap around.

    Returns
    -------
    The transform (complex64), and the shape of the extended image; `filtered` undoes the margin.
    """
    height, width = image.shape
    shape = tuple(
        scipy.fft.next_fast_len(side + 2 * margin_px, real=True) for side in (height, width)
    )
    before = margin_px
    after = [total - side - before for total, side in zip(shape, (height, width), strict=True)]
    extended = np.pad(image, ((before, after[0]), (before, after[1])), mode="symmetric")
    return scipy.fft.rfft2(extended), shape


def filtered(
    transform: np.ndarray,
    response: np.ndarray,
    extended_shape: tuple[int, int],
    image_shape: tuple[int, int],
    margin_px: int,
) -> np.ndarray:
    """The (h, w) image of a transform times a response of the half-plane, without the margin."""
    result = scipy.fft.irfft2(transform * response, s=extended_shape)
    return result[margin_px : margin_px + image_shape[0], margin_px : margin_px + image_shape[1]]


def picks_table(x_px: np.ndarray, y_px: np.ndarray, merit: np.ndarray, factor: int) -> pd.DataFrame:
    """A table of picks from positions on a coarse grid, best first.

    Parameters
    ----------
    x_px, y_px (N,) : on the grid of blocks; merit (N,) : higher is better.
    factor : pixels of the full-size micrograph along a side of a block; the centre of the first
        block is at (factor - 1) / 2.
    """
    order = np.argsort(-np.asarray(merit, float), kind="stable")
    shift = (factor - 1) / 2
    return pd.DataFrame(
        {
            "rlnCoordinateX": np.asarray(x_px, float)[order] * factor + shift,
            "rlnCoordinateY": np.asarray(y_px, float)[order] * factor + shift,
            "rlnAutopickFigureOfMerit": np.asarray(merit, float)[order],
        }
    )


def no_picks() -> pd.DataFrame:
    """An empty table of picks."""
    nothing = np.zeros(0)
    return picks_table(nothing, nothing, nothing, 1)
