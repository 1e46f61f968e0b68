"""Which peaks of a filtered micrograph are particles: the peaks of its noise, from the same map.

The peaks of the inverted map are those of noise only where no particle is near: a filter that
answers to a dark particle has a bright ring about it, and in a crowded field these rings are most
of the bright peaks. The mean answer to a particle is measured in the map, and taken away at every
peak in proportion to its probability; this and the probabilities follow from each other in a few
rounds (in the manner of CLEAN; Hogbom 1974, Astron Astrophys Suppl 15, 417).
"""

from dataclasses import dataclass

import numpy as np
import scipy.signal
from scipy.spatial import cKDTree

from cryosnake.picking.peaks import (
    Peaks,
    adaptive_threshold,
    find_peaks,
    particle_probability,
)

ROUNDS = 3
#: With fewer particles than this, by expectation, their mean answer is not known.
MIN_PARTICLES = 5.0
#: A peak of which the rings of its neighbours make more than this part is an artefact.
MAX_RING_PART = 0.35
#: A peak below this part of the median height of the likely particles is none of them: particles
#: of one kind have much the same mass, and where they stand high above the noise, so would it.
MIN_HEIGHT_SHARE = 0.4
#: A peak beside one so many times as high is taken for a part of it.
MAX_HEIGHT_RATIO = 2.5
#: How far about a particle the rings go that a filter draws, in diameters.
RING_DIAMETERS = 1.5


@dataclass(frozen=True)
class Detected:
    """Peaks of a map with what is known about them.

    Attributes
    ----------
    peaks : all of the usable area, highest first, in pixels of the map.
    probability (N,) : that the peak is more than noise.
    threshold : height at and above which peaks are picked; infinite for none.
    """

    peaks: Peaks
    probability: np.ndarray
    threshold: float

    @property
    def picked(self) -> np.ndarray:
        """(N,) bool: at or above the threshold."""
        return self.peaks.height >= self.threshold


def detect(
    score: np.ndarray,
    mirrored: np.ndarray,
    *,
    min_distance_px: float,
    diameter_px: float,
    usable: np.ndarray | None = None,
) -> Detected:
    """Peaks of a map, with their probabilities and the threshold of the highest expected F1.

    Parameters
    ----------
    score (h, w) : the answer of a filter to a micrograph, higher for particles.
    mirrored (h, w) : its answer to the micrograph of inverted contrast (minus the score for a
        linear filter).
    min_distance_px : smallest distance between two peaks, in pixels of the map.
    diameter_px : of the particle (long axis), in pixels of the map.
    usable (h, w) bool : peaks elsewhere are left out; None for everywhere.
    """
    everything = find_peaks(score, min_distance_px)
    inside = _inside(everything, usable)
    peaks = everything.select(inside)
    rings = np.zeros(len(everything.height))
    residual = mirrored
    reach_px = RING_DIAMETERS * diameter_px
    for round_number in range(ROUNDS):
        null = find_peaks(residual, min_distance_px)
        null_heights = null.height[_inside(null, usable)]
        probability = particle_probability(peaks.height, null_heights)
        if probability.sum() < MIN_PARTICLES or round_number == ROUNDS - 1:
            break
        weights = np.zeros(len(everything.height))
        weights[inside] = probability
        weights *= np.maximum(everything.height, 0.0)
        halo = _mean_answer(mirrored, everything, weights, reach_px)
        residual = mirrored - _drawn(everything, weights, halo, score.shape)
        answer = _mean_answer(score, everything, weights, reach_px)
        drawn = _drawn(everything, weights, answer, score.shape)
        own = weights * answer[0]
        rings = drawn[_pixels(everything)] - own
    artefact = (rings > MAX_RING_PART * everything.height)[inside]
    artefact |= beside_higher(peaks, reach_px)
    peaks, probability = peaks.select(~artefact), probability[~artefact]
    threshold = adaptive_threshold(peaks.height, null_heights, probability=probability)
    likely = peaks.height[probability > 0.5]
    if len(likely):
        threshold = max(threshold, MIN_HEIGHT_SHARE * float(np.median(likely)))
    return Detected(peaks, probability, threshold)


def beside_higher(peaks: Peaks, distance_px: float) -> np.ndarray:
    """(N,) bool: peaks closer than a distance to one that is several times as high."""
    positions = np.stack([peaks.y, peaks.x], axis=1)
    pairs = cKDTree(positions).query_pairs(distance_px, output_type="ndarray")
    higher, lower = pairs.min(axis=1), pairs.max(axis=1)  # the highest come first
    beside = np.zeros(len(positions), bool)
    beside[lower[peaks.height[lower] * MAX_HEIGHT_RATIO < peaks.height[higher]]] = True
    return beside


def _pixels(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    return np.rint(peaks.y).astype(int), np.rint(peaks.x).astype(int)


def _inside(peaks: Peaks, usable: np.ndarray | None) -> np.ndarray:
    if usable is None:
        return np.ones(len(peaks.height), bool)
    return usable[_pixels(peaks)]


def _mean_answer(
    score: np.ndarray, peaks: Peaks, weights: np.ndarray, reach_px: float
) -> np.ndarray:
    """Radial profile of a map about its peaks for a weight of 1: (n,) at distances of 0, 1, ...
    pixels, falling smoothly to zero at the reach."""
    reach = int(np.ceil(reach_px))
    profile = mean_profile(score, peaks, weights, reach)
    profile = profile - profile[int(0.8 * reach) :].mean()
    profile *= np.clip((reach - np.arange(reach + 1)) / (0.2 * reach), 0.0, 1.0)
    # the mean of maps weighted by w is the answer to a particle of the weighted mean height
    return profile * weights.sum() / max(float((weights**2).sum()), 1e-30)


def mean_profile(image: np.ndarray, peaks: Peaks, weights: np.ndarray, reach: int) -> np.ndarray:
    """Weighted mean of an image about positions, averaged over rings of one pixel: (reach + 1,).

    Positions closer to the border than `reach` are left out where others remain.
    """
    rows, columns = _pixels(peaks)
    height, width = image.shape
    whole = (rows >= reach) & (rows < height - reach)
    whole &= (columns >= reach) & (columns < width - reach) & (weights > 0)
    if not whole.any():
        return np.zeros(reach + 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ring = np.rint(np.hypot(y, x)).astype(int)
    total = np.zeros(ring.shape)
    share = weights[whole] / weights[whole].sum()
    for row, column, weight in zip(rows[whole], columns[whole], share, strict=True):
        total += weight * image[
            row - reach : row + reach + 1, column - reach : column + reach + 1
        ].astype(float)
    sums = np.bincount(ring.ravel(), total.ravel())
    return (sums / np.bincount(ring.ravel()))[: reach + 1]


def _drawn(
    peaks: Peaks, weights: np.ndarray, profile: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """A map with a radial profile about every peak, times its weight."""
    points = np.zeros(shape, np.float32)
    np.add.at(points, _pixels(peaks), weights.astype(np.float32))
    reach = len(profile) - 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.interp(np.hypot(y, x), np.arange(reach + 1), profile, right=0.0)
    return scipy.signal.oaconvolve(points, kernel.astype(np.float32), mode="same")
