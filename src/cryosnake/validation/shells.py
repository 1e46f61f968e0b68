"""Fourier shells of cubic maps.

Maps are (n, n, n) float32 in (z, y, x) order, row 0 at the bottom as in MRC, centre at n // 2.
Transforms are `scipy.fft.rfftn` of them, (n, n, n // 2 + 1); shell s holds the coefficients whose
distance from the origin, in units of 1 / (n pixels), rounds to s.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from cryosnake.errors import BadInputError


@dataclass(frozen=True)
class Shells:
    """Where each coefficient of a half-space transform lies.

    Attributes
    ----------
    n : the map's side.
    index : (n, n, n // 2 + 1) int16, the shell; coefficients beyond Nyquist are in shell `count`.
    weight : (n // 2 + 1,) float32, 2 for columns whose mirror image the half-space leaves out.
    """

    n: int
    index: np.ndarray
    weight: np.ndarray

    @property
    def count(self) -> int:
        """Shells 0 to n // 2."""
        return self.n // 2 + 1

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(count,) float64 sums over the shells of the full transform of real `values`."""
        weighted = (values * self.weight).ravel()
        found = np.bincount(self.index.ravel(), weighted, minlength=self.count + 1)
        return found[: self.count]

    def frequencies_per_angst(self, pixel_size_angst: float) -> np.ndarray:
        """(count,) frequency of each shell in 1/angstrom."""
        return np.arange(self.count) / (self.n * pixel_size_angst)

    def spread(self, curve: np.ndarray) -> np.ndarray:
        """(n, n, n // 2 + 1) float32, the curve (count,) at every coefficient; 0 beyond Nyquist."""
        return np.append(curve, 0.0).astype(np.float32)[self.index]


@lru_cache(maxsize=2)
def shells(n: int) -> Shells:
    """The shells of maps of even side n."""
    full = fft.fftfreq(n, 1.0 / n).astype(np.float32)
    half = np.arange(n // 2 + 1, dtype=np.float32)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    index = np.minimum(np.rint(np.sqrt(squared)), n // 2 + 1).astype(np.int16)
    weight = np.full(n // 2 + 1, 2.0, np.float32)
    weight[[0, -1]] = 1.0
    return Shells(n, index, weight)


def transform(volume: np.ndarray) -> np.ndarray:
    """(n, n, n // 2 + 1) complex64 transform of a map."""
    return fft.rfftn(np.asarray(volume, np.float32))


def inverse(spectrum: np.ndarray, n: int) -> np.ndarray:
    """(n, n, n) float32 map of a half-space transform."""
    return fft.irfftn(spectrum, s=(n, n, n)).astype(np.float32, copy=False)


def filtered(volume: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """A map times a curve (n // 2 + 1,) over its shells; what is beyond Nyquist becomes 0."""
    n = len(volume)
    return inverse(transform(volume) * shells(n).spread(curve), n)


def low_pass(
    volume: np.ndarray,
    pixel_size_angst: float,
    resolution_angst: float,
    *,
    edge_shells: float = 2.0,
) -> np.ndarray:
    """A map without what is finer than `resolution_angst`, with a raised cosine of `edge_shells`
    shells, centred on that resolution."""
    n = len(volume)
    return filtered(volume, low_pass_curve(n, n * pixel_size_angst / resolution_angst, edge_shells))


def low_pass_curve(n: int, cut_shell: float, edge_shells: float) -> np.ndarray:
    """(n // 2 + 1,) 1 below the edge about `cut_shell`, 0 above it, a raised cosine between."""
    beyond = (np.arange(n // 2 + 1) - (cut_shell - edge_shells / 2)) / edge_shells
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0.0, 1.0))


def check_maps(*maps: np.ndarray) -> int:
    """The side of equal cubes.

    Raises
    ------
    BadInputError : not cubes, of different or odd sizes, or with values that are not finite.
    """
    shape = np.shape(maps[0])
    for volume in maps:
        found = np.shape(volume)
        if len(found) != 3 or len(set(found)) != 1 or found != shape or found[0] % 2:
            raise BadInputError(
                None, f"maps of shapes {shape} and {found}", "equal cubes of even side"
            )
        if not np.isfinite(volume).all():
            raise BadInputError(None, "a map with values that are not finite", "finite values")
    return shape[0]


def radius_px(n: int) -> np.ndarray:
    """(n, n, n) float32 distance of each voxel from the centre n // 2."""
    axis = np.arange(n, dtype=np.float32) - n // 2
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    return np.sqrt(squared)
