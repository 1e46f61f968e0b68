"""Is the box, or the mask in it, too small for the molecule?"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cryosnake.validation.mask import density_threshold
from cryosnake.validation.shells import check_maps, low_pass, radius_px

#: A box has room for so many extents of the molecule: what surrounds it says what noise is.
ROOM = 1.5
#: Share of the sphere at the mask's edge that the molecule covers: a patch 9 degrees in radius.
CUT = 0.006
#: Where the molecule is cut, how far it goes on cannot be seen: at least so much more is needed.
_MORE = 1.25
#: Thickness of the edge, in radii of the mask and in pixels. The mask itself fades beyond it.
_EDGE, _EDGE_PX = 0.03, 1.5
_HIGHEST = 99.0  # percentile of the edge that is held against the molecule's density
_FARTHEST = 99.9  # percentile of the molecule's voxels that is its radius
_DETAIL_ANGST = 15.0
_NOISE_SIGMAS = 3.0


@dataclass(frozen=True)
class BoxCheck:
    """Whether a molecule has room.

    Attributes
    ----------
    verdict : `large enough` or `too small`.
    edge_density_ratio : highest density at the edge of the mask over that of the molecule.
    covered : share of that edge which the molecule covers.
    extent_angst : twice the molecule's radius about the centre of the box; where it is cut, what is
        left of it.
    needed_box_angst : side of the box that it should be; None where it is large enough.
    needed_mask_angst : diameter of the mask, likewise.
    evidence : a sentence.
    """

    verdict: str
    edge_density_ratio: float
    covered: float
    extent_angst: float
    needed_box_angst: float | None
    needed_mask_angst: float | None
    evidence: str


def check_box(
    volume: np.ndarray, pixel_size_angst: float, diameter_angst: float, resolution_angst: float
) -> BoxCheck:
    """Look for the molecule at the edge of its mask, or of its box.

    Parameters
    ----------
    volume : (n, n, n) map, not sharpened.
    diameter_angst : of the spherical mask that the particles had.
    resolution_angst : of the map; it is looked at no finer than this, or 15 A.
    """
    n = check_maps(volume)
    detail_angst = max(_DETAIL_ANGST, resolution_angst, 3.0 * pixel_size_angst)
    smooth = low_pass(volume, pixel_size_angst, detail_angst)
    radius = radius_px(n)
    limit_px = min(0.5 * diameter_angst / pixel_size_angst, n // 2 - 1)
    # what fills the ball is less than half of the cube; the threshold looks at a ball alone
    solvent = float(np.median(smooth))
    threshold = density_threshold(np.pad(smooth, n // 4, constant_values=solvent))
    # outside of the mask there is no noise: that of the map is below the solvent within it
    below = solvent - smooth[(radius <= limit_px) & (smooth < solvent)]
    if len(below):
        threshold = max(threshold, solvent + _NOISE_SIGMAS * 1.4826 * float(np.median(below)))
    labels, count = ndimage.label((smooth > threshold) & (radius <= limit_px))
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    molecule = (labels == sizes.argmax()) & bool(count)
    edge = radius > limit_px - max(_EDGE * limit_px, _EDGE_PX)
    edge &= radius <= limit_px
    density = float(np.median(smooth[molecule])) - solvent if molecule.any() else 0.0
    highest = float(np.percentile(smooth[edge], _HIGHEST)) - solvent
    covered = float(molecule[edge].mean())
    extent_px = 2.0 * float(np.percentile(radius[molecule], _FARTHEST)) if molecule.any() else 0.0
    extent_angst = extent_px * pixel_size_angst
    side_angst = n * pixel_size_angst
    mask_angst = 2.0 * limit_px * pixel_size_angst
    needed_box = needed_mask = None
    text = f"the molecule is {extent_angst:.0f} A across and covers {100 * covered:.1f} % of the "
    text += f"edge of the mask of {mask_angst:.0f} A (cut above {100 * CUT:.1f} %); "
    text += f"the box is {side_angst:.0f} A"
    if covered >= CUT:
        needed_mask = _MORE * mask_angst
        needed_box = max(ROOM / _MORE * needed_mask, side_angst)
    return BoxCheck(
        verdict="large enough" if needed_box is None else "too small",
        edge_density_ratio=highest / density if density > 0 else 0.0,
        covered=covered,
        extent_angst=extent_angst,
        needed_box_angst=needed_box,
        needed_mask_angst=needed_mask,
        evidence=text,
    )
