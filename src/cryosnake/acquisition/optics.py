"""Optics groups: clusters of beam-image shifts."""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

MIN_GAP = 2.5
SAMPLE = 2000


def optics_groups(beam_shifts: np.ndarray) -> np.ndarray:
    """Group exposures by their beam-image shift (each group has its own aberrations).

    The shifts of a session lie in clusters, one for each position that the beam is shifted to
    (aberration-free image shift: one a hole of the template), with a jitter that is much smaller
    than their distance. Single-linkage clustering finds the jump from jitter to distance.

    Parameters
    ----------
    beam_shifts : (N, 2), x and y in any one unit, in order of acquisition; NaN where unknown.

    Returns
    -------
    (N,) int labels from 1, numbered in the order in which the clusters first occur, so that they
    stay when more exposures are added at the end (once the clusters can be told apart: with fewer
    exposures than about two a cluster, all are in group 1). Unknown shifts are in group 1.
    """
    shifts = np.asarray(beam_shifts, float).reshape(-1, 2)
    labels = np.ones(len(shifts), int)
    known = np.flatnonzero(np.isfinite(shifts).all(axis=1))
    if known.size < 3:
        return labels
    points = shifts[known]
    # the clusters' distance is learnt from a sample: linkage needs the square of it in memory
    sample = points[np.linspace(0, len(points) - 1, min(SAMPLE, len(points))).astype(int)]
    tree = linkage(sample, "single")
    cut = _cut(tree[:, 2], len(sample))
    if cut is None:
        return labels
    clusters = fcluster(tree, cut, "distance")
    centres = np.stack([sample[clusters == c].mean(axis=0) for c in np.unique(clusters)])
    nearest = np.argmin(((points[:, None, :] - centres[None]) ** 2).sum(axis=2), axis=1)
    _, first = np.unique(nearest, return_index=True)
    rank = np.empty(len(centres), int)
    rank[nearest[np.sort(first)]] = np.arange(1, len(first) + 1)
    labels[known] = rank[nearest]
    return labels


def _cut(heights: np.ndarray, count: int) -> float | None:
    """The distance between jitter and spacing: the geometric middle of the largest relative jump
    of the (ascending) merge heights that leaves at most `count / 2` clusters; None without one."""
    span = heights[-1]
    if span <= 0:
        return None
    heights = np.maximum(heights, 1e-4 * span)  # identical shifts have no jitter at all
    ratios = heights[1:] / heights[:-1]
    clusters = count - 1 - np.arange(len(ratios))
    ratios = np.where((clusters >= 2) & (clusters <= count / 2), ratios, 0)
    best = int(np.argmax(ratios)) if ratios.size else 0
    if not ratios.size or ratios[best] < MIN_GAP:
        return None
    return float(np.sqrt(heights[best] * heights[best + 1]))
