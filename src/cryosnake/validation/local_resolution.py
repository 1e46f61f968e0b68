"""Local resolution: the FSC of half maps inside a window that moves over the molecule.

Cardone, Heymann and Steven 2013 (J Struct Biol 184): windows of seven times the resolution, soft,
at a threshold of 0.5, which few shells of few coefficients need.
"""

import numpy as np
from scipy import fft, ndimage

from cryosnake.errors import BadInputError
from cryosnake.validation.fsc import lasting_crossing_shell
from cryosnake.validation.mask import soft_edge
from cryosnake.validation.shells import check_maps, radius_px, shells

_WINDOW_RESOLUTIONS = 7.0
_MIN_WINDOW_PX = 12
_MAX_WINDOW_PX = 64
_CHUNK_VOXELS = 2_000_000
_THRESHOLD = 0.3


def local_resolution(
    half1: np.ndarray,
    half2: np.ndarray,
    mask: np.ndarray,
    pixel_size_angst: float,
    global_resolution_angst: float,
    *,
    max_windows: int = 4000,
) -> np.ndarray:
    """(n, n, n) float32 local resolution in angstrom.

    Windows stand on a cubic grid, as fine as `max_windows` of them within the mask (above 0.5)
    allow: that bounds the time, and chunks bound the memory. Between them values are interpolated;
    outside the mask each voxel has the value of the nearest window. No value is coarser than half
    the window or finer than two pixels.

    Raises
    ------
    BadInputError : different shapes, no voxel within the mask, or no global resolution.
    """
    n = check_maps(half1, half2, mask)
    if not np.isfinite(global_resolution_angst):
        raise BadInputError(None, "half maps that do not agree anywhere", "a global resolution")
    wanted = 2 * round(0.5 * _WINDOW_RESOLUTIONS * global_resolution_angst / pixel_size_angst)
    window = int(min(max(wanted, _MIN_WINDOW_PX), _MAX_WINDOW_PX, n - n % 2))
    step, inside = _grid(mask > 0.5, max_windows)
    if not inside.any():
        raise BadInputError(None, "no voxel of the mask is above 0.5", "a mask of the molecule")
    corners = np.argwhere(inside) * step
    curves = _windowed_fsc(half1, half2, corners, window)
    worst = 0.5 * window * pixel_size_angst
    found = np.full(inside.shape, np.nan, np.float32)
    found[inside] = [
        min(window * pixel_size_angst / max(lasting_crossing_shell(c, _THRESHOLD), 1.0), worst)
        for c in curves
    ]
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = found[tuple(nearest)]
    axis = np.arange(n) / step
    grid = np.meshgrid(axis, axis, axis, indexing="ij")
    return ndimage.map_coordinates(filled, grid, order=1, mode="nearest", output=np.float32)


def _grid(solid: np.ndarray, max_windows: int) -> tuple[int, np.ndarray]:
    """The smallest step at which no more than `max_windows` grid points are in the mask, and which
    are."""
    for step in range(1, len(solid)):
        inside = solid[::step, ::step, ::step]
        if inside.sum() <= max_windows:
            break
    return step, inside


def _windowed_fsc(half1, half2, centres: np.ndarray, window: int) -> np.ndarray:
    """(N, window // 2 + 1) correlation about each centre (N, 3)."""
    half = window // 2
    taper = soft_edge(radius_px(window) - 0.5 * half, 0.5 * half)
    padded = [
        np.lib.stride_tricks.sliding_window_view(
            np.pad(np.asarray(volume, np.float32), half), (window,) * 3
        )
        for volume in (half1, half2)
    ]
    where = shells(window)
    chunk = max(1, _CHUNK_VOXELS // window**3)
    curves = np.zeros((len(centres), where.count))
    for start in range(0, len(centres), chunk):
        places = tuple(centres[start : start + chunk].T)
        spectra = []
        for windows in padded:
            cut = windows[places]
            mean = (cut * taper).sum((1, 2, 3), keepdims=True) / taper.sum()
            spectra.append(fft.rfftn((cut - mean) * taper, axes=(1, 2, 3)))
        for row, (one, two) in enumerate(zip(*spectra, strict=True), start):
            power = where.sums(np.abs(one) ** 2) * where.sums(np.abs(two) ** 2)
            cross = where.sums((one * two.conj()).real)
            np.divide(cross, np.sqrt(power), out=curves[row], where=power > 0)
    return curves
