"""Where on a micrograph particles can be: not at its border, not on contamination, film or cracks.

All is judged against the micrograph itself, on a grid of about eight pixels across a particle,
where shot noise is averaged away and a particle is still a particle:

- *dead* areas have no noise along some direction: rows repeated by padding, constant patches;
- *wide dark* areas are still dark when every dark thing as small as a particle is filled in
  (grey closing): contamination and film;
- *deep* ones are as small as particles but absorb several times as much;
- *bright* ones are brighter than the rings about particles, and larger: cracks and holes.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.ndimage as ndi

from cryosnake.picking.coarse import reduced, robust_std
from cryosnake.picking.peaks import find_peaks, particle_probability
from cryosnake.picking.size_model import ParticleSize

DIAMETER_PX = 8.0
#: Departures from the level of the micrograph, in its robust standard deviations, that are more
#: than noise; and in depths of a typical particle, that are more than particles.
MIN_SIGMA = 6.0
MIN_DEPTHS_WIDE, MIN_DEPTHS_SMALL, MIN_DEPTHS_BRIGHT = 0.6, 2.5, 1.0
#: Likely particles from which their typical depth is known.
MIN_PARTICLES = 5
#: Share of the area from which a bright part is the ice and the dark part beside it is film.
MIN_ICE_SHARE = 0.25
#: Gradient along the quieter direction, relative to the median, below which an area is dead.
DEAD_GRADIENT = 0.1


class Mask(NamedTuple):
    """`usable` (h, w) bool, True where particles can be; `scale_px`: pixels of the full-size
    micrograph along a side of one of its pixels, whose first starts at the corner of the
    micrograph."""

    usable: np.ndarray
    scale_px: int


def usable_mask(image: np.ndarray, pixel_size_angst: float, size: ParticleSize) -> Mask:
    """Where on a micrograph particles can be.

    Parameters
    ----------
    image : (H, W) micrograph, particles dark; values that are not finite are not usable.
    pixel_size_angst : of the image.
    size : of the particles; half a (long) diameter is the border, and half a (short) one is left
        free about everything foreign.

    Returns
    -------
    Mask. Nothing is usable in a constant image, nor in one smaller than two particles.
    """
    short_angst = size.short_axis_angst if size.elongated else size.diameter_angst
    long_angst = size.long_axis_angst if size.elongated else size.diameter_angst
    coarse = reduced(image, pixel_size_angst, short_angst, DIAMETER_PX)
    if coarse is None:
        return Mask(np.zeros((1, 1), bool), max(image.shape))
    finite = np.isfinite(coarse.image)
    if not finite.any() or not np.ptp(coarse.image[finite]) > 0:
        return Mask(np.zeros(finite.shape, bool), coarse.factor)
    grey = np.where(finite, coarse.image, np.median(coarse.image[finite]))
    short_px, long_px = (a / coarse.pixel_size_angst for a in (short_angst, long_angst))
    bad = ~finite | dead(grey, short_px)
    bad |= foreign(grey, bad, short_px, long_px)
    bad = ndi.distance_transform_edt(~bad) <= 0.5 * short_px
    border = max(1, round(0.5 * long_px))
    inside = np.pad(np.ones([side - 2 * border for side in bad.shape], bool), border)
    return Mask(inside & ~bad, coarse.factor)


def dead(grey: np.ndarray, diameter_px: float) -> np.ndarray:
    """Areas (h, w) without noise along rows, along columns or both: padding and patches."""
    quietest = np.full(grey.shape, np.inf)
    for axis in (0, 1):
        step = np.abs(np.diff(grey, axis=axis))
        # between two pixels: as much theirs as the other's
        ends = [(1, 0), (0, 0)] if axis == 0 else [(0, 0), (1, 0)]
        before = np.pad(step, ends, mode="edge")
        ends = [(0, 1), (0, 0)] if axis == 0 else [(0, 0), (0, 1)]
        after = np.pad(step, ends, mode="edge")
        gradient = ndi.uniform_filter(
            0.5 * (before + after), max(3, round(0.5 * diameter_px)), mode="nearest"
        )
        quietest = np.minimum(quietest, gradient / max(float(np.median(gradient)), 1e-20))
    return _at_least(quietest < DEAD_GRADIENT, 0.5 * diameter_px**2)


def foreign(grey: np.ndarray, ignored: np.ndarray, short_px: float, long_px: float) -> np.ndarray:
    """Contamination, film and cracks (h, w), from the grey values outside what is ignored."""
    smooth = ndi.gaussian_filter(grey, short_px / 6, mode="nearest")
    closed = ndi.gaussian_filter(
        ndi.grey_closing(smooth, footprint=_disc(0.75 * long_px), mode="nearest"),
        short_px / 4,
        mode="nearest",
    )
    ice = ~ignored & _brighter_part(closed, ~ignored)
    if not ice.any():
        return np.zeros(grey.shape, bool)
    level = _plane(closed, ice)
    below = level - closed
    closed_noise = MIN_SIGMA * robust_std(below[ice])
    # the level of what is not closed lies lower, by the noise that closing has filled in
    depth_map = level - smooth
    depth_map -= np.median(depth_map[ice])
    noise = MIN_SIGMA * robust_std(depth_map[ice])
    depth = particle_depth(depth_map, ice, short_px)
    wide = below > max(closed_noise, MIN_DEPTHS_WIDE * (depth or 0.0))
    bright = -depth_map > max(noise, MIN_DEPTHS_BRIGHT * (depth or 0.0))
    particle_px = np.pi / 4 * short_px * long_px
    found = _at_least(wide, particle_px) | _at_least(bright, 2 * particle_px)
    if depth is None:  # a lone dark thing of the size of a particle may be one
        return found
    # seen along its long axis a particle is as much deeper as it is longer
    deepest = MIN_DEPTHS_SMALL * depth * long_px / short_px
    return found | _at_least(depth_map > max(noise, deepest), 4)


def particle_depth(depth: np.ndarray, ice: np.ndarray, diameter_px: float) -> float | None:
    """How much darker than the ice a typical particle is, from a map of depths (h, w): the median
    of the dark points that are likelier particles than noise; None where there are too few."""
    distance_px = max(1.0, 0.75 * diameter_px)
    dark, bright = find_peaks(depth, distance_px), find_peaks(-depth, distance_px)
    heights, null_heights = (
        peaks.height[ice[np.rint(peaks.y).astype(int), np.rint(peaks.x).astype(int)]]
        for peaks in (dark, bright)
    )
    likely = particle_probability(heights, null_heights) > 0.5
    return float(np.median(heights[likely])) if likely.sum() >= MIN_PARTICLES else None


def _brighter_part(closed: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The ice: everything, or the brighter of two parts where film covers the rest.

    Two parts differ by far more than what is left within them (Otsu's threshold), and the brighter
    one has a good share of the area; else it would be a crack in the ice.
    """
    values = closed[where]
    if not len(values):
        return where
    counts, edges = np.histogram(values, 256)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * middle)
    inner = (below > 0) & (below < total)
    between = np.zeros(256)
    means = (sums[inner] / below[inner], (sums[-1] - sums[inner]) / (total - below[inner]))
    between[inner] = below[inner] * (total - below[inner]) * (means[1] - means[0]) ** 2
    cut = edges[int(np.argmax(between)) + 1]
    bright, dark = values[values >= cut], values[values < cut]
    if not len(dark) or not len(bright):
        return where
    gap = np.median(bright) - np.median(dark)
    within = max(robust_std(bright), robust_std(dark))
    if gap > 8 * within and MIN_ICE_SHARE < len(bright) / len(values) < 1 - 0.02:
        return where & (closed >= cut)
    return where


def _plane(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The plane through (h, w) values, least squares over what is within 3 robust deviations."""
    height, width = values.shape
    y, x = np.mgrid[0:height, 0:width]
    design = np.stack([np.ones(values.size), y.ravel() / height, x.ravel() / width], axis=1)
    data = values.ravel().astype(float)
    used = where.ravel().copy()
    plane = np.full(values.size, np.median(data[used]))
    for _ in range(5):
        rest = data - plane
        inlier = used & (np.abs(rest) <= 3 * max(robust_std(rest[used]), 1e-20))
        if inlier.sum() < 3:
            break
        plane = design @ np.linalg.lstsq(design[inlier], data[inlier], rcond=None)[0]
    return plane.reshape(values.shape)


def _at_least(area: np.ndarray, pixels: float) -> np.ndarray:
    """The connected parts of an area that have a number of pixels."""
    labels, _ = ndi.label(area, structure=np.ones((3, 3)))
    large = np.bincount(labels.ravel()) >= pixels
    large[0] = False
    return large[labels]


def _disc(radius_px: float) -> np.ndarray:
    reach = max(1, int(radius_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.hypot(y, x) <= max(radius_px, 1.0)


def keep(picks: pd.DataFrame, mask: np.ndarray, scale_px: float) -> pd.DataFrame:
    """The picks in the usable area, in their order; those outside the grid are not.

    Parameters
    ----------
    picks : with rlnCoordinateX and rlnCoordinateY in pixels of the full-size micrograph.
    mask, scale_px : see `Mask`.
    """
    rows = np.floor((picks["rlnCoordinateY"].to_numpy(float) + 0.5) / scale_px).astype(int)
    columns = np.floor((picks["rlnCoordinateX"].to_numpy(float) + 0.5) / scale_px).astype(int)
    height, width = mask.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    good = np.zeros(len(picks), bool)
    good[inside] = mask[rows[inside], columns[inside]]
    return picks[good].reset_index(drop=True)


def on_grid(mask: Mask, shape: tuple[int, int], factor: int) -> np.ndarray:
    """The mask on another grid (h, w), of blocks of factor x factor pixels of the micrograph."""
    usable, scale_px = mask
    rows, columns = (((np.arange(side) + 0.5) * factor / scale_px).astype(int) for side in shape)
    result = np.zeros(shape, bool)
    inside_y, inside_x = rows < usable.shape[0], columns < usable.shape[1]
    result[np.ix_(inside_y, inside_x)] = usable[np.ix_(rows[inside_y], columns[inside_x])]
    return result
