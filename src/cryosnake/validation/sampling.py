"""How views fill Fourier space: the distribution of orientations, a score, and what tilt would do.

Baldwin and Lyumkis 2020 (Prog Biophys Mol Biol 150): a view samples the plane across it, and noise
in a direction of Fourier space goes with the inverse of how often it is sampled. The sampling
compensation factor SCF = 1 / (mean of S * mean of 1 / S) is 1 for even views and 0.81 (8 / pi^2)
for views from all sides of one axis. Their 1 / S has no value where nothing is sampled; here S
counts as at least a twentieth of its mean, so that a score falls with the size of the gap and does
not depend on the number of particles.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from cryosnake.validation.orientations import half_sphere_points, sphere_points

_FLOOR = 0.05
_EMPTY_BELOW = 0.1  # of the mean sampling: such a direction is hardly seen
_DIRECTIONS = 1500
_SLICE_DEG = 2.0  # half the thickness of a slice: one coefficient at shell 15
_MAX_VIEWS = 10_000
_CHUNK = 1000


@dataclass(frozen=True)
class Sampling:
    """How evenly views sample the directions of Fourier space.

    Attributes
    ----------
    directions : (D, 3) unit vectors (x, y, z) of equal areas of the half sphere.
    density : (D,) sampling relative to its mean.
    score : 1 even, 0.81 views from all sides of an axis, towards 0.1 for one single view.
    empty_fraction : of the directions, those sampled below a tenth of the mean.
    """

    directions: np.ndarray
    density: np.ndarray
    score: float
    empty_fraction: float


def sampling(views: np.ndarray, *, seed: int = 1) -> Sampling:
    """Sampling by views (N, 3), unit vectors along the beam; of more than 10,000 a random part.

    With a symmetry, give the views of all equivalents.
    """
    chosen = _some(views, seed)
    directions = half_sphere_points(_DIRECTIONS)
    counts = np.zeros(len(directions))
    near = math.sin(math.radians(_SLICE_DEG))
    for start in range(0, len(chosen), _CHUNK):
        across = directions @ chosen[start : start + _CHUNK].T
        counts += (np.abs(across) < near).sum(1)
    density = counts / counts.mean()
    floored = np.maximum(density, _FLOOR)
    return Sampling(
        directions=directions,
        density=density,
        score=float(1.0 / (floored.mean() * (1.0 / floored).mean())),
        empty_fraction=float((density < _EMPTY_BELOW).mean()),
    )


def _some(views: np.ndarray, seed: int) -> np.ndarray:
    if len(views) <= _MAX_VIEWS:
        return views
    return views[np.random.default_rng(seed).choice(len(views), _MAX_VIEWS, replace=False)]


def orientation_distribution(views: np.ndarray, number: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Views (N, 3) counted on cells of equal area: cell centres (number, 3) on the whole sphere and
    counts (number,)."""
    centres = sphere_points(number)
    return centres, np.bincount(cKDTree(centres).query(views)[1], minlength=number)


def tilted_views(views: np.ndarray, tilt_deg: float, *, seed: int = 1) -> np.ndarray:
    """(N, 3) views as they would be with the stage tilted: each moved by the tilt in a random
    direction, since particles lie at random angles about the beam (Tan 2017)."""
    turn = np.random.default_rng(seed).uniform(0, 2.0 * math.pi, (len(views), 1))
    least = np.eye(3)[np.abs(views).argmin(1)]  # the axis farthest from each view
    first = np.cross(views, least)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    side = np.cos(turn) * first + np.sin(turn) * np.cross(views, first)
    tilt = math.radians(tilt_deg)
    return math.cos(tilt) * views + math.sin(tilt) * side
