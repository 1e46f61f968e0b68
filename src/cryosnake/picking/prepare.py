"""What both filters start from: a reduced, flattened micrograph without what is not ice."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from cryosnake.picking.coarse import flattened, reduced
from cryosnake.picking.mask import Mask, on_grid
from cryosnake.picking.size_model import ParticleSize

#: Pixels across a particle (its short axis) on the grid of the pickers.
DIAMETER_PX = 20.0
#: Smallest distance between two picks in diameters: touching views of a particle that is not a
#: ball are closer than its mean diameter.
MIN_DISTANCE = 0.6


@dataclass(frozen=True)
class Prepared:
    """A micrograph ready for a filter.

    Attributes
    ----------
    flat : (h, w) float32, in robust standard deviations from the background; 0 on what is foreign.
    usable : (h, w) bool, where picks are allowed.
    factor : pixels of the full-size micrograph along a side of one of its pixels.
    short_px, long_px : axes of the particle on its grid; equal where it is not elongated.
    """

    flat: np.ndarray
    usable: np.ndarray
    factor: int
    short_px: float
    long_px: float

    @property
    def min_distance_px(self) -> float:
        """Smallest distance between two picks: particles lie side by side, not upon each other."""
        mean_px = math.sqrt(self.short_px * self.long_px)
        return max(1.0, min(MIN_DISTANCE * mean_px, 0.9 * self.short_px))


def prepare(
    image: np.ndarray, pixel_size_angst: float, size: ParticleSize, mask: Mask | None
) -> Prepared | None:
    """Reduce and flatten a micrograph (H, W).

    Returns
    -------
    None where nothing can be picked: a constant micrograph, one smaller than two particles, or one
    of which nothing is usable.
    """
    short_angst = size.short_axis_angst if size.elongated else size.diameter_angst
    long_angst = size.long_axis_angst if size.elongated else size.diameter_angst
    coarse = reduced(image, pixel_size_angst, short_angst, DIAMETER_PX)
    if coarse is None:
        return None
    short_px, long_px = (axis / coarse.pixel_size_angst for axis in (short_angst, long_angst))
    grey = coarse.image
    usable = np.ones(grey.shape, bool)
    if mask is not None:
        usable = on_grid(mask, grey.shape, coarse.factor)
        # the mask keeps half a diameter from what is foreign: beyond that it is the thing itself
        foreign = ndi.distance_transform_edt(~usable) > 0.5 * short_px
        border = max(1, round(0.5 * long_px))
        foreign[:border] = foreign[-border:] = False
        foreign[:, :border] = foreign[:, -border:] = False
        grey = np.where(foreign, np.nan, grey)
    if not usable.any():
        return None
    flat = flattened(grey, 2.0 * long_px)
    if flat is None:
        return None
    return Prepared(flat, usable, coarse.factor, short_px, long_px)
