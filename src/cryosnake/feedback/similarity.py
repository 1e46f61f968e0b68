"""How alike two class averages are, whatever their rotation, shift and hand."""

import numpy as np
from scipy import ndimage

#: Samples along the scale of the particle, the geometric mean of its length and its diameter: what
#: differs in nothing above a ninth of it counts as one view.
SAMPLES = 18
#: What varies over more than this share of the scale (deviation of a Gaussian) is taken out: the
#: projections of all compact things have it in common.
COARSE = 0.13
_MARGIN = 1.25  # side of the compared field over the particle's length
_STEP_DEG = 6.0
_SHIFTS = (-2, -1, 0, 1, 2)  # samples, about the centres of the outlines
_BORDER = 2.5  # samples outside of the compared disc


def standardised(
    image: np.ndarray,
    centre_px: tuple[float, float],
    *,
    pixel_size_angst: float,
    long_angst: float,
    diameter_angst: float,
) -> np.ndarray:
    """(m, m) band of the image in which views are compared, about the centre of its outline.

    Parameters
    ----------
    long_angst, diameter_angst : length and mean diameter of the particle, the same for all images
        that are compared.
    """
    step_angst = float(np.sqrt(long_angst * diameter_angst)) / SAMPLES
    step_px = step_angst / pixel_size_angst
    side = int(np.ceil(_MARGIN * long_angst / step_angst + 2 * _BORDER))
    at = (np.arange(side) - (side - 1) / 2) * step_px
    smooth = ndimage.gaussian_filter(np.nan_to_num(np.asarray(image, float)), 0.5 * step_px)
    rows, columns = np.meshgrid(at + centre_px[0], at + centre_px[1], indexing="ij")
    field = ndimage.map_coordinates(smooth, [rows, columns], order=1)
    return field - ndimage.gaussian_filter(field, COARSE * SAMPLES)


def similarities(fields: list[np.ndarray]) -> np.ndarray:
    """(K, K) highest correlation coefficient over all rotations, both hands and small shifts.

    Parameters
    ----------
    fields : K of `standardised`.

    Notes
    -----
    s(a, b) = max over g of <a', g b'> / (|a'| |b'|), a' being a without its mean inside the
    compared disc, g rotations every 6 degrees, with and without a mirror, and shifts by up to two
    samples (the largest normalised cross-correlation, as in multi-reference alignment: van Heel and
    Frank 1981, Ultramicroscopy 6). The matrix is made symmetric by the larger of both directions.
    """
    side = len(fields[0])
    axis = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    disc = np.hypot(y, x) <= side / 2 - _BORDER
    y, x = y[disc], x[disc]
    angle = np.deg2rad(np.arange(0, 360, _STEP_DEG))[:, None]
    rows = np.cos(angle) * y + np.sin(angle) * x + (side - 1) / 2
    columns = -np.sin(angle) * y + np.cos(angle) * x + (side - 1) / 2
    shifted = _unit(
        [
            ndimage.shift(field, (dy, dx), order=1)[disc]
            for field in fields
            for dy in _SHIFTS
            for dx in _SHIFTS
        ]
    )
    best = np.empty((len(fields), len(fields)))
    for k, field in enumerate(fields):
        turned = [
            ndimage.map_coordinates(one, [rows.ravel(), columns.ravel()], order=1)
            for one in (field, field[:, ::-1])
        ]
        turned = _unit(np.concatenate(turned).reshape(-1, len(y)))
        found = (turned @ shifted.T).max(0)
        best[k] = found.reshape(len(fields), -1).max(1)
    return np.maximum(best, best.T)


def _unit(rows) -> np.ndarray:
    """(M, P) float32 rows without their mean, of norm one."""
    rows = np.asarray(rows, np.float32)
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
