"""Resolution by direction: the FSC within cones.

Tan et al. 2017 (Nat Methods 14): coefficients within 20 degrees of a direction, the same cone
about its opposite included. The ratio of the smallest to the largest area below these curves is
close to cryoSPARC's cFAR.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cryosnake.validation.fsc import (
    lasting_crossing_shell,
    phase_randomised,
    randomisation_shell,
    without_mask_effect,
)
from cryosnake.validation.orientations import half_sphere_points
from cryosnake.validation.shells import Shells, check_maps, shells, transform

_CELLS = 2500  # of the half sphere, 3 degrees: cones are made of them
_SMOOTH = np.array([0.25, 0.5, 0.25])  # over shells: a cone holds few coefficients of each


@dataclass(frozen=True)
class DirectionalFsc:
    """Correlation of half maps within cones.

    Attributes
    ----------
    directions : (D, 3) unit vectors (x, y, z), z > 0, of equal areas of the half sphere.
    curves : (D, n // 2 + 1) correlation within each cone, corrected for the mask where one is used,
        of sums over three shells (1:2:1).
    resolution_angst : (D,) where each falls below 0.143; infinite where there is none.
    cone_deg : half the opening of the cones.
    """

    pixel_size_angst: float
    directions: np.ndarray
    curves: np.ndarray
    resolution_angst: np.ndarray
    cone_deg: float

    @property
    def mean_angst(self) -> float:
        """Mean over the sphere, as the inverse of the mean frequency."""
        return _inverse(self._frequency().mean())

    @property
    def best_angst(self) -> float:
        return float(self.resolution_angst.min())

    @property
    def worst_angst(self) -> float:
        return float(self.resolution_angst.max())

    @property
    def deviation_angst(self) -> float:
        """Standard deviation over the sphere, the coarsest value being the side of the box."""
        side_angst = 2 * (self.curves.shape[1] - 1) * self.pixel_size_angst
        return float(np.minimum(self.resolution_angst, side_angst).std())

    @property
    def areas(self) -> np.ndarray:
        """(D,) area below each curve up to the shell that the best cones reach."""
        side_angst = 2 * (self.curves.shape[1] - 1) * self.pixel_size_angst
        last = max(round(side_angst * np.percentile(self._frequency(), 98)), 1)
        return np.clip(self.curves[:, 1 : last + 1], 0.0, None).sum(1)

    @property
    def area_ratio(self) -> float:
        """The small over the large areas (2nd and 98th percentile of the cones): near 1 for an
        isotropic map, 0 where directions hold nothing. (cFAR takes the extremes, and ends each
        curve where it first falls below 0.143, which hollow molecules and noise do in many
        directions.)"""
        small, large = np.percentile(self.areas, [2, 98])
        return float(small / large) if large > 0 else 0.0

    def _frequency(self) -> np.ndarray:
        return 1.0 / self.resolution_angst


def _inverse(value: float) -> float:
    return 1.0 / float(value) if value > 0 else math.inf


def directional_fsc(
    half1: np.ndarray,
    half2: np.ndarray,
    pixel_size_angst: float,
    mask: np.ndarray | None = None,
    *,
    number: int = 200,
    cone_deg: float = 20.0,
    seed: int = 1,
) -> DirectionalFsc:
    """Correlation of half maps within cones about `number` directions, corrected for the mask by
    phase-randomised maps as the global curve is.

    Coefficients are first summed in 2,500 cells of the half sphere, so that cones cost nothing; a
    cone's border is that of its cells, 3 degrees coarse.

    Raises
    ------
    BadInputError : maps or mask are not equal cubes.
    """
    n = check_maps(half1, half2, *([] if mask is None else [mask]))
    where = shells(n)
    cells = half_sphere_points(_CELLS)
    directions = half_sphere_points(number)
    within = np.abs(directions @ cells.T) >= math.cos(math.radians(cone_deg))
    owner = _cell_of(n, cells)
    spectra = [transform(half1), transform(half2)]
    if mask is None:
        curves = _cone_curves(where, owner, within, *spectra)
    else:
        start = randomisation_shell(where, *spectra)
        rng = np.random.default_rng(seed)
        random = [transform(phase_randomised(s, where, start, rng) * mask) for s in spectra]
        masked = [transform(half * mask) for half in (half1, half2)]
        curves = without_mask_effect(
            _cone_curves(where, owner, within, *masked),
            _cone_curves(where, owner, within, *random),
            start,
        )
    side_angst = n * pixel_size_angst
    crossings = np.array([lasting_crossing_shell(curve) for curve in curves])
    with np.errstate(divide="ignore"):
        resolution = side_angst / crossings
    return DirectionalFsc(pixel_size_angst, directions, curves, resolution, cone_deg)


def _cell_of(n: int, cells: np.ndarray) -> np.ndarray:
    """(n, n, n // 2 + 1) int16 the cell that each coefficient, or its opposite, lies in."""
    tree = cKDTree(np.concatenate([cells, -cells]))
    full = np.fft.fftfreq(n, 1.0 / n)
    ky, kx = np.meshgrid(full, np.arange(n // 2 + 1), indexing="ij")
    owner = np.empty((n, n, n // 2 + 1), np.int16)
    for plane, kz in enumerate(full):
        k = np.stack([kx, ky, np.full_like(kx, kz)], -1)
        k /= np.maximum(np.linalg.norm(k, axis=-1, keepdims=True), 1e-9)
        owner[plane] = tree.query(k)[1] % len(cells)
    return owner


def _cone_curves(
    where: Shells, owner: np.ndarray, within: np.ndarray, one: np.ndarray, two: np.ndarray
) -> np.ndarray:
    """(D, n // 2 + 1) correlation of two transforms within the cones that hold cells (D, C)."""
    number = within.shape[1]
    slot = (where.index.astype(np.int64) * number + owner).ravel()
    slots = (where.count + 1) * number

    def summed(values: np.ndarray) -> np.ndarray:
        cells = np.bincount(slot, (values * where.weight).ravel(), minlength=slots)
        cones = within.astype(float) @ cells.reshape(-1, number)[: where.count].T
        return ndimage.convolve1d(cones, _SMOOTH, axis=1, mode="nearest")

    cross = summed((one * two.conj()).real)
    power = summed(np.abs(one) ** 2) * summed(np.abs(two) ** 2)
    return np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)
