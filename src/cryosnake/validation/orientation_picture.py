"""The picture of an orientation distribution: views on the sphere, and what they leave out."""

import math

import matplotlib
import numpy as np
from scipy.spatial import cKDTree

from cryosnake.assessment.montage_sheet import font_of
from cryosnake.validation.directional import DirectionalFsc
from cryosnake.validation.orientations import views as directions_of
from cryosnake.validation.picture_sheet import MARGIN_PX, WIDTH_PX, PictureSheet
from cryosnake.validation.sampling import orientation_distribution, sampling

_CELLS = 3000  # 3.7 degrees
_SMOOTH_DEG = 5.0
_STEPS = 20
#: Values beyond these percentiles have the first and last colours.
_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.5
_GAP_PX, _HEAD_PX = 27, 34
_MAP_WIDTH_PX = (WIDTH_PX - 2 * MARGIN_PX - 2 * _GAP_PX) // 3
_MAP_HEIGHT_PX = _MAP_WIDTH_PX // 2
_KEY_PX = 260


def draw_orientations(views: np.ndarray, directional: DirectionalFsc) -> np.ndarray:
    """Draw three equal-area maps of the sphere (Mollweide; rot to the right, tilt 0 at the top):
    density of the views, how well they sample the directions of Fourier space, and the resolution
    there.

    Parameters
    ----------
    views : (N, 3) directions of the beam.

    Returns
    -------
    (H, 1140, 3) uint8 in few colours, row 0 at the bottom, as `images.write_png` takes it.
    """
    centres, density = view_density(views)
    found = sampling(views)
    side_angst = 2 * (directional.curves.shape[1] - 1) * directional.pixel_size_angst
    angst = np.minimum(directional.resolution_angst, side_angst)
    colours = 255 * matplotlib.colormaps["viridis"](np.linspace(0.0, 1.0, _STEPS))[:, :3]
    colours = np.round(colours).astype(np.uint8)
    sheet = PictureSheet(_HEAD_PX + _MAP_HEIGHT_PX + 48, colours=_STEPS)
    for place, (title, directions, values, palette) in enumerate(
        (
            (f"views of {len(views):,} particles (even: 1)", centres, density, colours),
            (
                "sampling of Fourier space (even: 1)",
                np.concatenate([found.directions, -found.directions]),
                np.tile(found.density, 2),
                colours,
            ),
            (
                "resolution by direction (Å)",
                np.concatenate([directional.directions, -directional.directions]),
                np.tile(angst, 2),
                colours[::-1],  # the finest is the brightest
            ),
        )
    ):
        left = MARGIN_PX + place * (_MAP_WIDTH_PX + _GAP_PX)
        low, high = np.percentile(values, [_LOW_PERCENT, _HIGH_PERCENT])
        low, high = (min(low, 0.0), max(high, 1.2)) if place < 2 else (low, max(high, low + 0.1))
        sheet.text((left, 8), title, font_of(13))
        _map(sheet, left, directions, (values - low) / (high - low), palette)
        _key(sheet, left, palette, low, high)
    return sheet.finished()


def view_density(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density of views (N, 3) relative to even ones, smoothed over 5 degrees: cell centres (C, 3)
    of equal area, and (C,)."""
    centres, counts = orientation_distribution(views, _CELLS)
    sharpness = 1.0 / math.radians(_SMOOTH_DEG) ** 2
    near = centres.astype(np.float32)
    kernel = np.exp(np.float32(sharpness) * (near @ near.T - 1.0))
    kernel /= kernel.sum(1, keepdims=True)
    return centres, (kernel @ counts) * (_CELLS / counts.sum())


def _map(
    sheet: PictureSheet, left: int, directions: np.ndarray, parts: np.ndarray, palette: np.ndarray
) -> None:
    """Values (0 to 1) at directions, smoothed between them: no cell shows as such."""
    on_map, at = _mollweide()
    away, near = cKDTree(directions).query(at, k=4)
    weight = np.exp(-0.5 * (away / np.maximum(away[:, 2:3], 1e-6)) ** 2)
    smooth = (weight * parts[near]).sum(1) / weight.sum(1)
    shown = np.zeros((*on_map.shape, 3), np.uint8)
    shown[on_map] = palette[np.clip(smooth * _STEPS, 0, _STEPS - 1).astype(int)]
    sheet.colours((left, _HEAD_PX), on_map, shown)


def _mollweide() -> tuple[np.ndarray, np.ndarray]:
    """Which pixels (h, w) lie on the map, row 0 at the bottom, and their directions (P, 3)."""
    y = (2 * np.arange(_MAP_HEIGHT_PX) + 1) / _MAP_HEIGHT_PX - 1.0
    x = (2 * np.arange(_MAP_WIDTH_PX) + 1) / _MAP_WIDTH_PX - 1.0
    x, y = np.meshgrid(x, y)
    on_map = x**2 + y**2 < 1.0
    x, y = x[on_map], y[on_map]
    angle = np.arcsin(y)
    latitude = np.arcsin(np.clip((2 * angle + np.sin(2 * angle)) / math.pi, -1, 1))
    rot = 180.0 * np.clip(x / np.cos(angle), -1, 1)
    return on_map, directions_of(rot, 90.0 - np.rad2deg(latitude))


def _key(sheet: PictureSheet, left: int, palette: np.ndarray, low: float, high: float) -> None:
    """The colours with their values, below a map."""
    y = _HEAD_PX + _MAP_HEIGHT_PX + 10
    first, width = left + (_MAP_WIDTH_PX - _KEY_PX) / 2, _KEY_PX / _STEPS
    for step, colour in enumerate(palette):
        sheet.box((first + step * width, y, first + (step + 1) * width, y + 11), tuple(colour))
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        words = f"{low + part * (high - low):.1f}"
        sheet.centred((first + part * _KEY_PX, y + 14), words, font_of(12))
