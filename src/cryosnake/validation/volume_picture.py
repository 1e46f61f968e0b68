"""Pictures of volumes: central slices and projections, mask, local resolution."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from cryosnake.assessment.montage_sheet import font_of, line_px
from cryosnake.errors import BadInputError
from cryosnake.validation.picture_sheet import (
    CHOSEN,
    GAP_PX,
    MARGIN_PX,
    OUTLINE,
    WIDTH_PX,
    PictureSheet,
)

_TILES = 6
_SIDE_PX = (WIDTH_PX - 2 * MARGIN_PX - (_TILES - 1) * GAP_PX) // _TILES
_PITCH_PX = _SIDE_PX + GAP_PX
_HEAD_PX, _TITLE_PX = 46, 26
#: A volume is cut to this many diameters: beyond the sphere there is nothing.
_SHOWN_DIAMETERS = 1.08
#: Black and white of a picture, in percentiles within the sphere.
_LOW_PERCENT, _HIGH_PERCENT = 1.0, 99.8
#: Local resolution in so many steps, finer ones brighter.
_STEPS = 16
_SLICES = ("xy", "xz", "yz")
_BEAMS = ("along z", "along y", "along x")


def draw_volumes(
    volumes: list[np.ndarray],
    titles: list[str],
    pixel_size_angst: float,
    diameter_angst: float,
    chosen: Sequence[bool],
) -> np.ndarray:
    """Draw volumes one below the other: three central slices and three projections of each.

    Each volume has grey levels of its own, shared by its slices, and by its projections.

    Parameters
    ----------
    volumes : (n, n, n) each, (z, y, x), white particles, centre at n // 2.
    titles : one line each.
    diameter_angst : of the sphere that they are shown within.
    chosen : (K,) whether each goes on; these are framed.

    Returns
    -------
    (H, 1140, 3) uint8 in few colours, row 0 at the bottom, as `images.write_png` takes it.

    Raises
    ------
    BadInputError : no volume, not as many of the others, or a volume that is not a cube.
    """
    if not volumes or not len(titles) == len(chosen) == len(volumes):
        raise BadInputError(
            None,
            f"{len(volumes)} volumes, {len(titles)} titles, {len(chosen)} choices",
            "a title and a choice for each volume",
        )
    half_angst = 0.5 * _SHOWN_DIAMETERS * diameter_angst
    step_px = _TITLE_PX + _SIDE_PX + 2 * GAP_PX
    sheet = PictureSheet(_HEAD_PX + len(volumes) * step_px, colours=1)
    shown = [cut(_cube(volume), half_angst / pixel_size_angst) for volume in volumes]
    _head(sheet, max(map(len, shown)) * pixel_size_angst)
    for index, (volume, title) in enumerate(zip(shown, titles, strict=True)):
        top = _HEAD_PX + index * step_px
        sheet.text((MARGIN_PX, top), title, font_of(14, bold=bool(chosen[index])))
        top += _TITLE_PX
        _row(sheet, top, volume, np.ones_like(volume))
        if chosen[index]:
            box = (MARGIN_PX - 5, top - 5, WIDTH_PX - MARGIN_PX + 3, top + _SIDE_PX + 4)
            sheet.frame(box, CHOSEN)
    return sheet.finished()


def draw_map(
    volume: np.ndarray,
    mask: np.ndarray,
    local_resolution: np.ndarray | None,
    pixel_size_angst: float,
) -> np.ndarray:
    """Draw a final map: central slices with the outline of the mask (where it is 0.5), projections
    of what is within the mask, and slices and histogram of the local resolution.

    Parameters
    ----------
    volume, mask, local_resolution : (n, n, n), (z, y, x), centre at n // 2; the mask from 0 to 1,
        the local resolution in angstrom, None where it is not known.

    Returns
    -------
    (H, 1140, 3) uint8 in few colours, row 0 at the bottom, as `images.write_png` takes it.

    Raises
    ------
    BadInputError : not cubes of one size.
    """
    others = [mask] if local_resolution is None else [mask, local_resolution]
    for other in others:
        if _cube(other).shape != _cube(volume).shape:
            raise BadInputError(
                None, f"maps of shapes {volume.shape} and {other.shape}", "cubes of one size"
            )
    reach_px = _reach_px(mask > 0.5)
    volume, mask = cut(volume, reach_px), cut(mask, reach_px)
    rows = 1 if local_resolution is None else 2
    height_px = _HEAD_PX + rows * (_SIDE_PX + 3 * GAP_PX) + (rows - 1) * _TITLE_PX
    sheet = PictureSheet(height_px, colours=1 + (rows - 1) * _STEPS)
    _head(sheet, len(volume) * pixel_size_angst)
    _row(sheet, _HEAD_PX, volume, mask)
    for place, part in enumerate(_slices(mask)):
        solid = _resized(part) > 0.5
        edge = solid & ~ndimage.binary_erosion(solid, border_value=1)
        sheet.colours((MARGIN_PX + place * _PITCH_PX, _HEAD_PX), edge, OUTLINE)
    if local_resolution is not None:
        top = _HEAD_PX + _SIDE_PX + 3 * GAP_PX + _TITLE_PX
        _local(sheet, top, cut(local_resolution, reach_px), mask)
    return sheet.finished()


def cut(volume: np.ndarray, reach_px: float) -> np.ndarray:
    """The central part of a volume that reaches so far from its centre; it keeps its centre at half
    its side."""
    n = len(volume)
    half = int(np.clip(np.ceil(reach_px), min(4, n // 2), n // 2))
    part = slice(n // 2 - half, n // 2 + half)
    return np.nan_to_num(np.asarray(volume[part, part, part], np.float32), posinf=0.0, neginf=0.0)


def _cube(volume: np.ndarray) -> np.ndarray:
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or len(volume) < 2:
        raise BadInputError(None, f"a volume of shape {volume.shape}", "(n, n, n)")
    return volume


def _reach_px(solid: np.ndarray) -> float:
    """Half the side of the cube about the centre that holds a mask and a little around it."""
    n = len(solid)
    if not solid.any():
        return n / 2
    where = [np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return 4 + max(max(abs(one[0] - n // 2), abs(one[-1] - n // 2)) for one in where)


def _slices(volume: np.ndarray) -> list[np.ndarray]:
    """Central slices across z, y and x; the first of the two axes in their names runs to the
    right."""
    centre = len(volume) // 2
    return [volume[centre], volume[:, centre], volume[:, :, centre]]


def _head(sheet: PictureSheet, side_angst: float) -> None:
    font = font_of(13)
    sheet.text((MARGIN_PX, 6), "central slices", font)
    sheet.text((MARGIN_PX + 3 * _PITCH_PX, 6), "projections", font)
    for place, words in enumerate((*_SLICES, *_BEAMS)):
        sheet.text((MARGIN_PX + place * _PITCH_PX, 24), words, font_of(12), faint=True)
    sheet.scale_bar(6, _SIDE_PX / side_angst, 0.6 * _SIDE_PX)


def _row(sheet: PictureSheet, top: int, volume: np.ndarray, mask: np.ndarray) -> None:
    """Slices of a volume, and projections of what is within a mask."""
    inside = volume * mask
    groups = (_slices(volume), [inside.sum(axis) for axis in range(3)])
    for first, group in zip((0, 3), groups, strict=True):
        for place, grey in enumerate(_greys(group), first):
            sheet.picture((MARGIN_PX + place * _PITCH_PX, top), grey)


def _greys(images: list[np.ndarray]) -> list[np.ndarray]:
    """Images (n, n) as pictures of the tiles' side with common grey levels; flat ones are grey."""
    n = len(images[0])
    y, x = np.indices((n, n)) - n // 2
    circle = np.hypot(x, y) <= n / 2
    values = np.concatenate([image[circle] for image in images])
    low, high = np.percentile(values, [_LOW_PERCENT, _HIGH_PERCENT])
    if not high > low:
        return [np.full((_SIDE_PX, _SIDE_PX), 128, np.uint8) for _ in images]
    return [
        np.clip(_resized((image - low) * (255.0 / (high - low))), 0, 255).round().astype(np.uint8)
        for image in images
    ]


def _resized(image: np.ndarray) -> np.ndarray:
    """(n, n) brought to the side of a tile; averaged where that is smaller."""
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC))


def _local(sheet: PictureSheet, top: int, local: np.ndarray, mask: np.ndarray) -> None:
    """Slices coloured by local resolution, and its histogram in the same colours."""
    values = local[mask > 0.5]
    values = values[np.isfinite(values) & (values > 0)]
    font = font_of(13)
    if not len(values):
        sheet.text((MARGIN_PX, top - _TITLE_PX), "no local resolution within the mask", font)
        return
    low, high = np.percentile(values, [1, 99])
    high = max(high, low + 0.1)
    colours = np.round(255 * matplotlib.colormaps["viridis_r"](np.linspace(0.0, 1.0, _STEPS)))
    colours = colours[:, :3].astype(np.uint8)
    words = f"local resolution: median {np.median(values):.1f} Å"
    sheet.text((MARGIN_PX, top - _TITLE_PX), words, font)
    for place, (part, inside) in enumerate(zip(_slices(local), _slices(mask), strict=True)):
        solid = _resized(inside) > 0.5
        step = np.clip((_resized(part) - low) / (high - low) * _STEPS, 0, _STEPS - 1).astype(int)
        sheet.colours((MARGIN_PX + place * _PITCH_PX, top), solid, colours[step])
    _histogram(sheet, top, values, np.linspace(low, high, _STEPS + 1), colours)


def _histogram(
    sheet: PictureSheet, top: int, values: np.ndarray, edges: np.ndarray, colours: np.ndarray
) -> None:
    """Parts of the volume within the mask by resolution; what is beyond the ends is in the last
    bars."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    shares = counts / counts.sum()
    left, font, small = MARGIN_PX + 3 * _PITCH_PX, font_of(12), font_of(11)
    bottom = top + _SIDE_PX - 2 * line_px(font) - 4
    width = (WIDTH_PX - MARGIN_PX - left) / _STEPS
    for step, share in enumerate(shares):
        x = left + step * width
        height = round((bottom - top - 18) * share / shares.max())
        sheet.box((x + 1, bottom - height, x + width - 2, bottom - 1), tuple(colours[step]))
        if share >= 0.01:
            sheet.centred((x + width / 2, bottom - height - 16), f"{100 * share:.0f} %", small)
        if step % 3 == 0:
            sheet.centred((x, bottom + 4), f"{edges[step]:.1f}", font)
    sheet.line((left, bottom, WIDTH_PX - MARGIN_PX, bottom))
    words = "local resolution (Å), part of the volume within the mask"
    sheet.text((left, bottom + 4 + line_px(font)), words, font, faint=True)
