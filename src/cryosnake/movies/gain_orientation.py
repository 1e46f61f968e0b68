"""Finding how a gain reference is turned against the movie, from the movie itself.

The mean of the raw frames carries the inverse of the gain as a fixed pattern. Both are reduced to
their local relative deviations (high-pass), so that ice gradients, carbon and vignetting do not
decide. For each orientation the slope of the movie's pattern on the inverse gain's pattern is
fitted: 1 where this gain flattens the movie completely, 0 where it has nothing to do with it.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.special import ndtr

from cryosnake.movies.gain import candidate_orientations, turned_view

ALREADY_CORRECTED = "already_corrected"
UNSURE = "unsure"
HIGH_PASS_PX = 33
TILES = 8
MIN_Z = 5.0
SAME_PATTERN = 0.98
SLOPE_RANGE = (0.6, 1.5)
FLAT_SLOPE = 0.3


class GainFit(NamedTuple):
    """How the gain reference lies on the movie.

    Parameters
    ----------
    name : one of `GAIN_ORIENTATIONS`; or `ALREADY_CORRECTED` where the movie's noise shows that
        this gain has been applied before it was written; or `UNSURE` where none fits.
    scores : for each orientation that is possible for the detector's shape, the part of the
        gain's pattern that is found in the movie (1: all; 0: none; -1: all, but reversed, so the
        gain is to be divided by instead of multiplied with).
    confidence : 0 to 1, that the named orientation and none of the others is right.
    """

    name: str
    scores: dict[str, float]
    confidence: float


def find_gain_orientation(mean_frame: np.ndarray, gain: np.ndarray) -> GainFit:
    """Choose the orientation of a multiplicative gain that flattens the movie best.

    Parameters
    ----------
    mean_frame : (H, W) mean of one or more raw frames, as read (not gain corrected).
    gain : (h, w) multiplicative gain as read; a quarter turn is tried where the shapes ask for it.
        Zeros are defects and do not count.

    Returns
    -------
    GainFit : with `UNSURE` and confidence 0 where no orientation has the frame's shape.
    """
    names = candidate_orientations(gain.shape, mean_frame.shape)
    if not names:
        return GainFit(UNSURE, {}, 0.0)
    good = gain > 0
    inverse = np.divide(1.0, gain, out=np.ones(gain.shape, np.float32), where=good)
    pattern = _local_deviation(inverse, good)
    frame = _local_deviation(mean_frame.astype(np.float32), np.ones(mean_frame.shape, bool))
    patterns = [turned_view(pattern, name) for name in names]  # views: frames can be 8K
    best, slopes, confidence = _winner(frame, patterns)
    scores = {name: float(slope) for name, slope in zip(names, slopes, strict=True)}
    if confidence > 0 and SLOPE_RANGE[0] <= slopes[best] <= SLOPE_RANGE[1]:
        return GainFit(names[best], scores, confidence)
    if np.abs(slopes).max() > FLAT_SLOPE:
        return GainFit(UNSURE, scores, 0.0)
    # A movie that was multiplied with its gain has a flat mean, but its shot noise keeps the
    # gain's pattern: counts with mean m / g, multiplied with g, have the variance m g.
    noise = np.minimum(frame**2, 16 * float(np.mean(frame**2)))
    noise -= noise.mean()
    _, _, confidence = _winner(-noise, patterns)
    if confidence > 0:
        return GainFit(ALREADY_CORRECTED, scores, confidence)
    return GainFit(UNSURE, scores, 0.0)


def _winner(frame: np.ndarray, patterns: list[np.ndarray]) -> tuple[int, np.ndarray, float]:
    """The pattern that the frame holds most of, and the confidence in it.

    The slope on each pattern is fitted over the whole frame; what a tile's sum departs from the
    fit says how sure the slope is, whatever the noise and the features of the specimen are.

    Returns
    -------
    (index, slopes, confidence) : confidence that no other pattern is the right one; 0 where the
        best slope is not `MIN_Z` standard errors above zero. Patterns that are the same after
        turning (a symmetric gain) are not rivals.
    """
    power = float(np.sum(np.square(patterns[0]), dtype=np.float64))
    if power == 0:
        return 0, np.zeros(len(patterns)), 0.0
    sums = [_tile_sums(frame * pattern) for pattern in patterns]
    slopes = np.array([tiles.sum() / power for tiles in sums])
    best = int(np.argmax(slopes))
    slope = slopes[best]
    own = _tile_sums(np.square(patterns[best]))
    if not _z_score(sums[best], slope * own) >= MIN_Z:
        return best, slopes, 0.0
    margins = []
    for k, tiles in enumerate(sums):
        shared = _tile_sums(patterns[best] * patterns[k]) if k != best else own
        if shared.sum() < SAME_PATTERN * power:
            margins.append(_z_score(sums[best] - tiles, slope * (own - shared)))
    return best, slopes, float(ndtr(min(margins))) if margins else 1.0


def _z_score(values: np.ndarray, fitted: np.ndarray) -> float:
    """Sum of the tiles' values in standard errors, from their departure from the fit."""
    error = math.sqrt(float(np.sum((values - fitted) ** 2)))
    return float(values.sum()) / error if error > 0 else math.inf


def _local_deviation(image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(H, W) float32: image over its local mean, minus 1; 0 where bad or an outlier.

    Outliers (hot pixels, edges of the detector) are beyond 6 robust standard deviations.
    """
    filled = np.where(good, image, np.float32(np.median(image[good]) if good.any() else 1))
    local = uniform_filter(filled, HIGH_PASS_PX, mode="nearest")
    deviation = np.divide(filled, local, out=np.ones_like(filled), where=local > 0) - 1
    sample = deviation.ravel()[:: max(1, deviation.size // 500_000)]
    low, high = np.percentile(sample, [15.87, 84.13])
    limit = 3 * (high - low) + 1e-6
    return np.where(good & (np.abs(deviation) <= limit), deviation, np.float32(0))


def _tile_sums(product: np.ndarray) -> np.ndarray:
    """Sums of (H, W) over TILES x TILES tiles, flattened, in double precision."""
    rows = np.linspace(0, product.shape[0], TILES + 1).astype(int)[:-1]
    columns = np.linspace(0, product.shape[1], TILES + 1).astype(int)[:-1]
    by_rows = np.add.reduceat(product, rows, axis=0, dtype=np.float64)
    return np.add.reduceat(by_rows, columns, axis=1).ravel()
