"""Thresholds on probabilities, from what they promise."""

import numpy as np


def f1_threshold(probabilities: np.ndarray, particles: float) -> float:
    """The threshold of best expected F1 = 2 E[hits] / (picks + particles).

    Parameters
    ----------
    probabilities : (N,) that each location is a particle.
    particles : expected number of particles, also of those that nobody found.

    Returns
    -------
    The lowest probability that is kept; 0.5 where there are none.
    """
    if not len(probabilities):
        return 0.5
    ordered = np.sort(probabilities)[::-1]
    f1 = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + max(particles, 0.0))
    return float(ordered[np.argmax(f1)])


def certain_threshold(
    probabilities: np.ndarray,
    particles: float,
    *,
    recall: float = 0.6,
    precision: float = 0.9,
) -> float:
    """The threshold that leaves the most certain picks, for a training set.

    Probabilities promise what the agreement of the pickers can tell; things that all of them take
    for a particle count as one. So no more is kept than is asked for, however good the promise.

    Parameters
    ----------
    probabilities : (N,) that each location is a particle.
    particles : expected number of particles, also of those that nobody found.
    recall : this share of the particles is expected to be kept, no more.
    precision : so precise the kept ones are expected to be; fewer are kept where that is needed.

    Returns
    -------
    The lowest probability that is kept; infinity where not even the best location will do.
    """
    ordered = np.sort(probabilities)[::-1]
    hits = np.cumsum(ordered)
    enough = np.searchsorted(hits, recall * particles) + 1
    precise = np.flatnonzero(hits / np.arange(1, len(ordered) + 1) >= precision)
    if not len(precise):
        return float("inf")
    return float(ordered[min(enough, precise[-1] + 1) - 1])
