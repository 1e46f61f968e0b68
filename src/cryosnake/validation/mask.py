"""Soft masks: a sphere, or the molecule's outline found from the map alone."""

import math

import numpy as np
from scipy import ndimage

from cryosnake.errors import BadInputError
from cryosnake.validation.shells import check_maps, low_pass, radius_px

_NOISE_SIGMAS = 3.0
_PROTEIN_FRACTION = 0.25  # of the typical density of the molecule
_PROTEIN_PERCENTILE = 75.0
_MIN_COMPONENT = 0.1  # of the largest: smaller pieces are noise


def spherical_mask(n: int, radius_angst: float, pixel_size_angst: float, edge_px: float = 5.0):
    """(n, n, n) float32: 1 to `radius_angst` from the centre, then a raised cosine of `edge_px`."""
    return soft_edge(radius_px(n) - radius_angst / pixel_size_angst, edge_px)


def soft_edge(outside_px: np.ndarray, edge_px: float) -> np.ndarray:
    """float32: 1 where a distance outside is 0 or less, a raised cosine to 0 at `edge_px`."""
    beyond = np.clip(outside_px / edge_px, 0.0, 1.0)
    return (0.5 + 0.5 * np.cos(math.pi * beyond)).astype(np.float32)


def density_threshold(smooth: np.ndarray) -> float:
    """Density above which a low-passed map is the molecule.

    The solvent's level is the median of the ball that the box holds, its noise the spread of what
    is below (the molecule is only above). The molecule's typical density is the upper quartile of
    what exceeds three times that noise; the threshold is a quarter of it, but never in the noise.
    """
    inside = smooth[radius_px(len(smooth)) <= len(smooth) // 2]
    solvent = float(np.median(inside))
    below = solvent - inside[inside < solvent]
    sigma = 1.4826 * float(np.median(below)) if len(below) else 0.0
    floor = solvent + _NOISE_SIGMAS * sigma
    above = inside[inside > floor]
    if not len(above):
        return floor
    level = float(np.percentile(above, _PROTEIN_PERCENTILE))
    return max(floor, solvent + _PROTEIN_FRACTION * (level - solvent))


def automatic_mask(
    volume: np.ndarray,
    pixel_size_angst: float,
    *,
    low_pass_angst: float = 15.0,
    extend_px: float = 3.0,
    edge_px: float = 6.0,
) -> np.ndarray:
    """(n, n, n) float32 soft mask of the molecule in a map (the mean of the half maps).

    Low-pass, threshold from the map's own densities, the largest connected piece and those above a
    tenth of it, holes filled, grown by `extend_px`, then a raised cosine of `edge_px`.

    Raises
    ------
    BadInputError : the map is flat.
    """
    n = check_maps(volume)
    smooth = low_pass(volume, pixel_size_angst, max(low_pass_angst, 3.0 * pixel_size_angst))
    if not smooth.std() > 0:
        raise BadInputError(None, "a map that is the same everywhere", "a map with density")
    solid = smooth > density_threshold(smooth)
    solid &= radius_px(n) <= n // 2 - 1
    labels, count = ndimage.label(solid)
    if count:
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        solid = (sizes >= max(1.0, _MIN_COMPONENT * sizes.max()))[labels]
    solid = ndimage.binary_fill_holes(solid)
    if not solid.any():
        raise BadInputError(None, "no density stands out of the noise", "a map with a molecule")
    return soft_edge(ndimage.distance_transform_edt(~solid) - extend_px, edge_px)
