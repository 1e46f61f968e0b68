"""How often the picks of one picker meet those of another, against how often they would by chance.

A picker that failed altogether (points at random, at a wrong scale or offset, a flood that covers
everything) meets the others no more often than its own picks do when all of them are shifted aside.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

#: Shifts, in radii: beyond the picks of the same particle, within the same crowd of particles.
_SHIFTS_RADII = np.linspace(2.5, 8.0, 16)
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
#: At least this share of the picks meets others beyond chance, by so many standard errors.
_LEAST_EXCESS = 0.05
_SIGMAS = 3.0


@dataclass(frozen=True)
class Meeting:
    """How the picks of one picker meet those of another.

    Attributes
    ----------
    other : name of the other picker.
    observed : share of its picks with one of the other's within the radius.
    chance : the same for its picks shifted aside, mean over several shifts.
    excess : (observed - chance) / (1 - chance): 0 for chance, 1 for full agreement.
    error : standard error of the excess.
    """

    other: str
    observed: float
    chance: float
    excess: float
    error: float

    @property
    def least_excess(self) -> float:
        """What the excess is at least."""
        return self.excess - _SIGMAS * self.error

    @property
    def beyond_chance(self) -> bool:
        """Whether the two agree on something."""
        return self.least_excess > _LEAST_EXCESS


def best_meeting(
    own: list[np.ndarray], others: dict[str, list[np.ndarray]], radius_px: float
) -> Meeting | None:
    """How a picker meets the one with which it agrees best; None where there is no other.

    One at a time, because a flood of picks among the others would drown the agreement with all.
    """
    every = [meeting(own, other, radius_px, name) for name, other in others.items()]
    found = [one for one in every if one is not None]
    return max(found, key=lambda one: one.least_excess) if found else None


def meeting(
    own: list[np.ndarray], other: list[np.ndarray], radius_px: float, name: str
) -> Meeting | None:
    """Compare a picker with another over micrographs; None where they never both have picks.

    Parameters
    ----------
    own, other : (N, 2) positions of their picks, one array a micrograph.
    name : of the other.
    radius_px : within which two picks meet.
    """
    angles = _GOLDEN_ANGLE * np.arange(len(_SHIFTS_RADII))
    shifts = radius_px * _SHIFTS_RADII[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    met, met_shifted, picks = 0, np.zeros(len(shifts)), 0
    for points, rest in zip(own, other, strict=True):
        if not len(points) or not len(rest):
            continue
        low = np.minimum(points.min(axis=0), rest.min(axis=0))
        side = np.maximum(points.max(axis=0), rest.max(axis=0)) - low + radius_px
        tree = cKDTree(rest)
        picks += len(points)
        met += _near(tree, points, radius_px)
        for number, shift in enumerate(shifts):
            met_shifted[number] += _near(tree, low + (points + shift - low) % side, radius_px)
    if not picks:
        return None
    observed, chance = met / picks, met_shifted.mean() / picks
    room = max(1 - chance, 1 / picks)
    variance = (observed * (1 - observed) + chance * (1 - chance) / len(shifts)) / picks
    # one pick is the least that can be told
    error = max(np.sqrt(variance), 1 / picks) / room
    return Meeting(name, observed, chance, (observed - chance) / room, error)


def _near(tree: cKDTree, points: np.ndarray, radius_px: float) -> int:
    distance, _ = tree.query(points, distance_upper_bound=radius_px)
    return int(np.isfinite(distance).sum())
