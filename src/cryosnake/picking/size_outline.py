"""Size from outlines: single particles cut out of the coarse image by their grey values.

A component is what lies above a level between background and particles, its holes filled, so that
hollow particles count whole. Solid ones (their area nearly that of their convex hull) that do not
touch the border are particles; what is ragged is noise or several that touch.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from cryosnake.picking.size_image import BLUR_ANGST, Working, robust_deviation

#: Blurs that are tried, standard deviation in angstrom: the least that gives solid outlines.
BLURS_ANGST = (8.0, 12.0, 17.0, 24.0)
_SOLID = 0.85
_GOOD_SHARE = 0.8
#: True over measured diameter, on the tuning samples: the level lies inside of the thin rim.
DIAMETER_PER_OUTLINE = 1.13
#: A blur adds this times its variance to the diameter's square, on the tuning samples.
_SWELLING = 5.5
_LEVEL = 0.35  # of the way from the surroundings to the particle
_MIN_PIXELS = 12
_FEW = 3  # micrographs on which the blur is chosen
_SMALLEST = 0.6  # of the least diameter
COLUMNS = ["name", "x_px", "y_px", "diameter_angst", "long_angst", "short_angst", "angle_rad",
           "solidity", "contrast"]  # fmt: skip


@dataclass(frozen=True)
class Outlines:
    """What was cut out of all micrographs at one blur.

    Attributes
    ----------
    table : one row a component, solid or not; positions are pixels of the coarse image.
    blur_angst : standard deviation of the blur.
    solid_share : share of the components' area that is solid.
    """

    table: pd.DataFrame
    blur_angst: float
    solid_share: float


def otsu_level(values: np.ndarray) -> float:
    """The level that splits grey values into two classes with the largest variance between them
    (Otsu 1979, IEEE Trans Syst Man Cybern 9)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centres)
    total = below[-1]
    between = (sums[-1] * below / total - sums) ** 2 / np.maximum(below * (total - below), 1)
    return float(centres[np.argmax(between)])


def blurred(working: Working, blur_angst: float) -> np.ndarray:
    """The coarse image at a larger blur, in robust standard deviations, high values cut so that
    contamination does not decide."""
    extra = np.sqrt(max(blur_angst**2 - BLUR_ANGST**2, 0.0)) / working.pixel_size_angst
    values = ndimage.gaussian_filter(working.values, extra) if extra > 0 else working.values
    deviation = robust_deviation(values)
    return (values - np.median(values)) / deviation


def components(
    working: Working, blur_angst: float, min_angst: float
) -> tuple[np.ndarray, np.ndarray, list]:
    """The blurred image (h, w), the labels (h, w) of what lies above the level that splits its grey
    values, holes filled, and (label, place) of those not far smaller than `min_angst` that do not
    touch the border."""
    least_px = max(_MIN_PIXELS, np.pi / 4 * (_SMALLEST * min_angst / working.pixel_size_angst) ** 2)
    grey = blurred(working, blur_angst)
    capped = np.clip(grey, -4.0, 8.0)
    labels, _ = ndimage.label(ndimage.binary_fill_holes(capped > otsu_level(capped)))
    sizes = np.bincount(labels.ravel())
    places = [
        (index, place)
        for index, place in enumerate(ndimage.find_objects(labels), 1)
        if sizes[index] >= least_px and not _at_border(place, grey.shape)
    ]
    return grey, labels, places


def solid_share(working: Working, blur_angst: float, min_angst: float) -> tuple[float, float]:
    """Area of the solid components and of all of them, in pixels."""
    _, labels, places = components(working, blur_angst, min_angst)
    solid = total = 0.0
    for index, place in places:
        mask = labels[place] == index
        found = measure(mask, 1.0)
        total += mask.sum()
        if found is not None and found["solidity"] > _SOLID:
            solid += mask.sum()
    return solid, total


def cut(working: Working, blur_angst: float, min_angst: float) -> pd.DataFrame:
    """Components of one coarse image that are not far smaller than `min_angst`; see `COLUMNS`."""
    grey, labels, places = components(working, blur_angst, min_angst)
    rows = []
    for index, place in places:
        window = tuple(
            slice(max(s.start - 8, 0), min(s.stop + 8, n))
            for s, n in zip(place, grey.shape, strict=True)
        )
        found = _refined(grey[window], labels[window] == index, labels[window])
        measured = None if found is None else measure(found[0], working.pixel_size_angst)
        if measured is None:
            continue
        measured["x_px"] += window[1].start
        measured["y_px"] += window[0].start
        rows.append({"name": working.name, "contrast": found[1], **measured})
    return pd.DataFrame(rows, columns=COLUMNS)


def _at_border(place: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    return any(s.start <= 1 or s.stop >= n - 1 for s, n in zip(place, shape, strict=True))


def _refined(
    grey: np.ndarray, own: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """The component at a level between its own height and its own surroundings, and its contrast;
    None where nothing is around it or it does not stand out."""
    near = ndimage.binary_dilation(own, iterations=3)
    ring = ndimage.binary_dilation(own, iterations=6) & ~near & (labels == 0)
    if ring.sum() < _MIN_PIXELS:
        return None
    around = float(np.median(grey[ring]))
    height = float(np.percentile(grey[own], 70))
    if not height > around:
        return None
    above = (grey > around + _LEVEL * (height - around)) & near & ((labels == 0) | own)
    pieces, _ = ndimage.label(above | own if not (above & own).any() else above)
    sizes = np.bincount(pieces[own & (pieces > 0)])
    mask = ndimage.binary_fill_holes(pieces == int(np.argmax(sizes)))
    return mask, height - around


def measure(mask: np.ndarray, pixel_size_angst: float) -> dict[str, float] | None:
    """Centre, area and extents along the principal axes of a component (h, w) bool; None where it
    is too small to have them."""
    y, x = np.nonzero(mask)
    if len(y) < _MIN_PIXELS:
        return None
    points = np.stack([x, y], 1).astype(float)
    corners = np.concatenate([points + (dx, dy) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)])
    try:
        hull_px2 = ConvexHull(corners).volume
    except QhullError:
        return None
    centred = points - points.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    extents = np.ptp(centred @ axes, axis=0) + 1.0
    return {
        "x_px": float(points[:, 0].mean()),
        "y_px": float(points[:, 1].mean()),
        "diameter_angst": float(np.sqrt(4 * len(y) / np.pi)) * pixel_size_angst,
        "long_angst": float(extents.max()) * pixel_size_angst,
        "short_angst": float(extents.min()) * pixel_size_angst,
        "angle_rad": float(np.arctan2(axes[1, 0], axes[0, 0])),
        "solidity": len(y) / hull_px2,
    }


def outlines(workings: list[Working], min_angst: float) -> Outlines:
    """Outlines of all micrographs, at the least blur at which most of the components' area in the
    first few is solid; at the one with the largest solid share where that is nowhere so."""
    best, best_share = BLURS_ANGST[0], -1.0
    for blur_angst in BLURS_ANGST:
        areas = [solid_share(w, blur_angst, min_angst) for w in workings[:_FEW]]
        solid, total = np.sum(areas, axis=0)
        share = float(solid / total) if total else 0.0
        if share > best_share:
            best, best_share = blur_angst, share
        if share >= _GOOD_SHARE:
            break
    tables = [cut(w, best, min_angst) for w in workings]
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    swelling_angst2 = _SWELLING * (best**2 - BLUR_ANGST**2)
    squared = (table.diameter_angst.astype(float) ** 2).clip(lower=2 * swelling_angst2)
    table["diameter_angst"] = np.sqrt(squared - swelling_angst2) * DIAMETER_PER_OUTLINE
    return Outlines(table, best, best_share)


def particles(found: Outlines, max_angst: float, *, typical: float = 1.4) -> pd.DataFrame:
    """The rows that are particles of the one size that fills most area: solid, not far more
    contrasted than the rest, within a factor `typical` of the mode of the diameters."""
    table = found.table
    table = table[(table.solidity > _SOLID) & (table.long_angst < 1.3 * max_angst)]
    if len(table) < 3:
        return table
    table = table[table.contrast < 3.0 * table.contrast.median()]
    logs = np.log(table.diameter_angst.to_numpy())
    weights = table.diameter_angst.to_numpy() ** 2
    grid = np.linspace(logs.min(), logs.max() + 1e-6, 200)
    density = (weights * np.exp(-0.5 * ((grid[:, None] - logs) / 0.12) ** 2)).sum(1)
    mode = grid[np.argmax(density)]
    return table[np.abs(logs - mode) < np.log(typical)]
