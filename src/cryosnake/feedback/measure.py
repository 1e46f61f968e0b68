"""What can be measured on one class average: outline, mass, extents, contact with the mask."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

#: Averages are blurred by this share of the particle's diameter (standard deviation), at least a
#: pixel, before they are outlined: enough to close gaps between domains.
BLUR_OF_DIAMETER = 1 / 18
#: The outline is where the blurred density exceeds this share of its dense part. At 0.3 the area of
#: outlines is that of noise-free silhouettes to within a tenth.
LEVEL = 0.3
_DENSE_PERCENTILE = 97.0
#: Share of the outline's pixels left out at each end when extents are measured, as for the
#: measured particle size.
_TRIMMED = 0.005
#: The rim of the mask, at these shares of its radius; where the mean density over 30 degrees of it
#: exceeds this share of the dense part, the mask cuts the particle.
_RIM = (0.97, 1.0)
CUT_LEVEL = 0.4
_RIM_POINTS = 120
_FEWEST_BACKGROUND_PX = 20
#: Blur at which noise and internal detail are compared, standard deviation in angstrom: what is
#: finer than about 14 A is not needed to tell a protein from an empty shell.
DETAIL_BLUR_ANGST = 5.0


@dataclass(frozen=True)
class Measures:
    """Of one class average; all zero where it shows no density.

    Parameters
    ----------
    outline : (n, n) bool, the largest connected density, holes filled.
    centre_px : (y, x) of the outline's centre of gravity.
    mass : sum of the density in the outline and one pixel around it, times the area of a pixel
        (angstrom^2). The integral of a projection is the same for every view of an object.
    diameter_angst : of the circle with the outline's area.
    long_angst, short_angst : extents along the outline's principal axes.
    contact : share of the mask's circumference at which it cuts the density of the outline.
    noise : deviation of the density around the outline over its mean inside, both after the blur
        of `DETAIL_BLUR_ANGST`; 0 where there is no room around it.
    """

    outline: np.ndarray
    centre_px: tuple[float, float]
    mass: float
    diameter_angst: float
    long_angst: float
    short_angst: float
    contact: float
    noise: float


def radius_px(side_px: int) -> np.ndarray:
    """(n, n) distance to the box's centre."""
    axis = np.arange(side_px) - side_px // 2
    return np.hypot(axis[:, None], axis[None, :])


def blurred_inside(image: np.ndarray, inside: np.ndarray, sigma_px: float) -> np.ndarray:
    """The image blurred with pixels of the mask alone, so that density at its edge is not diluted
    by the empty surroundings (normalised convolution, Knutsson and Westin 1993); 0 outside."""
    weight = ndimage.gaussian_filter(inside.astype(float), sigma_px)
    total = ndimage.gaussian_filter(np.where(inside, image, 0.0), sigma_px)
    return np.where(inside, total / np.maximum(weight, 1e-6), 0.0)


def measured(
    image: np.ndarray,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    mask_diameter_angst: float,
) -> Measures:
    """Measure a class average (n, n), white on a background of about zero."""
    n = image.shape[-1]
    image = np.nan_to_num(np.asarray(image, float))
    radius = radius_px(n)
    mask_px = min(0.5 * mask_diameter_angst / pixel_size_angst, n / 2)
    inside = radius <= mask_px
    sigma_px = max(1.0, BLUR_OF_DIAMETER * diameter_angst / pixel_size_angst)
    grey = blurred_inside(image, inside, sigma_px)
    dense = float(np.percentile(grey[inside], _DENSE_PERCENTILE))
    outline = _largest(grey, LEVEL * dense) if dense > 0 else np.zeros((n, n), bool)
    if not outline.any():
        return Measures(outline, (n // 2, n // 2), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    long_angst, short_angst = _extents_px(outline) * pixel_size_angst
    area = float(outline.sum()) * pixel_size_angst**2
    detail = ndimage.gaussian_filter(image, DETAIL_BLUR_ANGST / pixel_size_angst)
    around = inside & ~ndimage.binary_dilation(outline, iterations=2)
    noise = 0.0
    if around.sum() >= _FEWEST_BACKGROUND_PX:
        noise = float(detail[around].std() / max(detail[outline].mean(), 1e-12))
    return Measures(
        outline=outline,
        centre_px=tuple(float(c) for c in ndimage.center_of_mass(outline)),
        mass=float(image[ndimage.binary_dilation(outline) & inside].sum()) * pixel_size_angst**2,
        diameter_angst=float(np.sqrt(4 * area / np.pi)),
        long_angst=float(long_angst),
        short_angst=float(short_angst),
        contact=_contact(image, outline, mask_px, CUT_LEVEL * dense),
        noise=noise,
    )


def _largest(grey: np.ndarray, level: float) -> np.ndarray:
    """The component above the level that holds most density, holes filled."""
    components, number = ndimage.label(grey > level)
    if not number:
        return np.zeros(grey.shape, bool)
    sums = ndimage.sum_labels(grey, components, np.arange(1, number + 1))
    return ndimage.binary_fill_holes(components == 1 + int(np.argmax(sums)))


def _extents_px(outline: np.ndarray) -> np.ndarray:
    """(2,) long and short extent along the principal axes, the outermost pixels left out."""
    places = np.argwhere(outline).astype(float)
    places -= places.mean(0)
    axes = np.linalg.eigh(places.T @ places)[1]
    low, high = np.quantile(places @ axes, [_TRIMMED, 1 - _TRIMMED], axis=0)
    return np.sort(high - low + 1.0)[::-1]


def _contact(image: np.ndarray, outline: np.ndarray, mask_px: float, level: float) -> float:
    """Share of the mask's rim where the density is above the level and belongs to the outline."""
    n = outline.shape[-1]
    angle = np.linspace(0, 2 * np.pi, _RIM_POINTS, endpoint=False)
    radius = np.minimum(mask_px * np.array(_RIM), n // 2 - 1)[:, None]
    places = [n // 2 + radius * np.sin(angle), n // 2 + radius * np.cos(angle)]
    density = ndimage.map_coordinates(image, places, order=1).mean(0)
    density = ndimage.uniform_filter1d(density, _RIM_POINTS // 12, mode="wrap")
    mine = ndimage.map_coordinates(outline.astype(float), places, order=1).max(0) > 0.5
    return float(np.mean((density > level) & mine))
