"""Peaks of a score map, and which of them are particles.

No score is a threshold by itself: it depends on defocus, ice and dose. What noise does to a map is
measured in the same map: noise is as often too bright as too dark, a particle is dark only, so the
peaks of the map turned upside down are a sample of the peaks of noise (the target-decoy idea of
false discovery control; Elias and Gygi 2007, Nature Methods 4, 207). The part of the peaks that
is particle follows at every height, and from it the threshold.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from scipy.spatial import cKDTree
from scipy.stats import poisson

#: Part of the peaks of noise, the highest, from which their tail is extrapolated.
TAIL_SHARE = 0.1
#: Evidence without which no peak is taken for a particle: an excess over the noise in standard
#: deviations, or the chance that noise has so many peaks so high. Both are tried at every height.
MIN_EXCESS_SIGMA, MAX_CHANCE = 4.5, 1e-5
#: Peaks less likely than this are not picked: where particles are few, the highest F1 would be
#: reached by picking much of the noise with them.
MIN_PROBABILITY = 0.4


class Peaks(NamedTuple):
    """Peaks of a map, highest first: `y`, `x` (N,) float64 in pixels of the map, `height` (N,)."""

    y: np.ndarray
    x: np.ndarray
    height: np.ndarray

    def select(self, which: np.ndarray) -> "Peaks":
        """Those of a boolean array or of indices."""
        return Peaks(self.y[which], self.x[which], self.height[which])


def find_peaks(score: np.ndarray, min_distance_px: float) -> Peaks:
    """Local maxima of a map, none closer to a higher one that is kept than a distance.

    Parameters
    ----------
    score : (h, w) map; a pixel that is not finite is never a peak.
    min_distance_px : smallest distance between two peaks, in pixels of the map, at least 1.

    Returns
    -------
    Peaks, highest first, at the vertex of the parabola through the three pixels along each axis;
    the height is that of the pixel. A flat map has none.
    """
    if score.ndim != 2:
        raise ValueError(f"a score map has two dimensions, not {score.shape = }")
    if not min_distance_px >= 1:
        raise ValueError(f"{min_distance_px = } is below 1 pixel")
    finite = np.where(np.isfinite(score), score, -np.inf)
    # a plateau has no peak: a maximum exceeds at least one neighbour, and of equals one is kept
    top = ndi.maximum_filter(finite, size=3, mode="nearest")
    is_peak = (finite == top) & (finite > ndi.minimum_filter(finite, size=3, mode="nearest"))
    rows, columns = np.nonzero(is_peak)
    order = np.argsort(-finite[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    kept = _apart(np.stack([rows, columns], axis=1), min_distance_px)
    rows, columns = rows[kept], columns[kept]
    y = rows + _vertex(finite, rows, columns, axis=0)
    x = columns + _vertex(finite, rows, columns, axis=1)
    return Peaks(y, x, finite[rows, columns].astype(float))


def _apart(positions: np.ndarray, min_distance: float) -> np.ndarray:
    """Indices of the positions (N, 2), best first, that no better one kept is near to."""
    pairs = cKDTree(positions).query_pairs(min_distance * (1 - 1e-9), output_type="ndarray")
    better, worse = pairs.min(axis=1), pairs.max(axis=1)
    undecided = np.ones(len(positions), bool)
    kept = np.zeros(len(positions), bool)
    while undecided.any():
        beaten = np.zeros(len(positions), bool)
        beaten[worse] = True
        now = undecided & ~beaten  # no undecided better one is near
        kept |= now
        undecided &= ~now
        undecided[worse[now[better]]] = False
        alive = undecided[better] & undecided[worse]
        better, worse = better[alive], worse[alive]
    return np.flatnonzero(kept)


def _vertex(score: np.ndarray, rows: np.ndarray, columns: np.ndarray, axis: int) -> np.ndarray:
    """Offset in (-0.5, 0.5) of the vertex of a parabola from the pixel of a maximum."""
    step = np.array([1, 0]) if axis == 0 else np.array([0, 1])
    height, width = score.shape
    inside = (rows - step[0] >= 0) & (rows + step[0] < height)
    inside &= (columns - step[1] >= 0) & (columns + step[1] < width)
    r, c = rows[inside], columns[inside]
    before, here, after = (
        score[r + sign * step[0], c + sign * step[1]].astype(float) for sign in (-1, 0, 1)
    )
    bend = before + after - 2 * here
    usable = np.isfinite(bend) & (bend < 0)
    offset = np.zeros(len(rows))
    bend = np.where(usable, bend, -1.0)
    offset[inside] = np.where(usable, np.clip(0.5 * (before - after) / bend, -0.5, 0.5), 0.0)
    return offset


def particle_probability(heights: np.ndarray, null_heights: np.ndarray) -> np.ndarray:
    """Probability of each peak to be more than noise, from its height.

    In every range of heights the expected number of peaks of noise is the number of peaks of the
    inverted map; the probability is what is left of the peaks, made to rise with the height
    (isotonic regression on quantiles). Without evidence that there is anything but noise it is 0.

    Parameters
    ----------
    heights (N,) : of the peaks of the map; null_heights (M,) : of the inverted map, by the same
        filter and the same minimum distance.

    Returns
    -------
    (N,) in [0, 1].
    """
    heights, null_heights = np.asarray(heights, float), np.asarray(null_heights, float)
    if not _is_more_than_noise(heights, null_heights):
        return np.zeros(len(heights))
    number = len(heights)
    descending = np.sort(heights)[::-1]
    # few peaks a range at the top, where there are few particles in an almost empty field
    ranks = np.unique(np.concatenate([[0, 3, 6, 12], np.arange(24, number, max(12, number // 60))]))
    edges = np.unique(np.append(descending[ranks[ranks < number]], descending[-1]))[::-1]
    if len(edges) < 3:
        return np.zeros(number)
    above = np.searchsorted(-descending, -edges, side="right")
    ours = np.diff(above, prepend=0)
    noise = np.diff(_expected_above(edges, null_heights), prepend=0.0)
    # the first edge is the highest peak: it belongs to the range below it
    above[0], ours[1], noise[1] = 0, ours[1] + ours[0], noise[1] + noise[0]
    sums = np.append(0.0, np.cumsum(descending))[above]
    centres = (np.diff(sums) / np.diff(above))[::-1]
    excess = (1.0 - noise[1:] / np.maximum(ours[1:], 1))[::-1]
    fitted = isotonic_regression(excess, weights=np.maximum(ours[1:], 1)[::-1]).x
    rising = PchipInterpolator(centres, np.clip(fitted, 0.0, 1.0))
    return np.clip(rising(np.clip(heights, centres[0], centres[-1])), 0.0, 1.0)


def _expected_above(levels: np.ndarray, null_heights: np.ndarray) -> np.ndarray:
    """Expected number of peaks of noise at and above each level: those counted, and where they
    become few an exponential tail (peaks of Gaussian noise fall faster)."""
    if not len(null_heights):
        return np.zeros(len(levels))
    ascending = np.sort(null_heights)
    counted = len(ascending) - np.searchsorted(ascending, levels, side="left").astype(float)
    start = ascending[int((1 - TAIL_SHARE) * (len(ascending) - 1))]
    tail = ascending[ascending >= start]
    mean_excess = max(float((tail - start).mean()), 1e-12)
    falling = len(tail) * np.exp(-np.maximum(levels - start, 0.0) / mean_excess)
    return np.where(levels >= start, falling, counted)


def _is_more_than_noise(heights: np.ndarray, null_heights: np.ndarray) -> bool:
    """Whether there are more peaks above some height than noise can have by chance."""
    descending = np.sort(heights)[::-1]
    found = np.arange(1, len(descending) + 1)
    expected = _expected_above(descending, null_heights)
    many = (found - expected) / np.sqrt(found + expected) > MIN_EXCESS_SIGMA
    # a few that no tail of the noise explains, were it twice as thick
    few = (found >= 3) & (poisson.sf(found - 1, 2 * expected + 1e-6) < MAX_CHANCE)
    few &= expected < TAIL_SHARE * max(len(null_heights), 1)
    return bool((many | few).any())


def adaptive_threshold(
    heights: np.ndarray, null_heights: np.ndarray, *, probability: np.ndarray | None = None
) -> float:
    """Height above which peaks are picked: the one of the highest expected F1.

    The expected number of particles among the peaks above t is the sum of their probabilities,
    and that of all particles the sum over all peaks; F1 = 2 hits / (picks + particles). Peaks below
    `MIN_PROBABILITY` are never picked.

    Parameters
    ----------
    heights (N,), null_heights (M,) : see `particle_probability`; `probability` (N,) : its result,
        where it is at hand.

    Returns
    -------
    The threshold; infinite where no peak is likelier a particle than noise.
    """
    heights = np.asarray(heights, float)
    if probability is None:
        probability = particle_probability(heights, null_heights)
    if not len(heights) or probability.max() <= 0.5:
        return float("inf")
    order = np.argsort(-heights, kind="stable")
    hits = np.cumsum(probability[order])
    expected = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    expected[probability[order] < MIN_PROBABILITY] = 0.0
    return float(heights[order[int(np.argmax(expected))]])
