"""The picture of 2D classes: averages by population, each with what is known and decided of it."""

import numpy as np
import pandas as pd
from PIL import Image

from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.montage_sheet import (
    FRAME_PX,
    WIDTH_PX,
    Caption,
    Font,
    Sheet,
    font_of,
    line_px,
)

#: A resolution from here on says that there is none.
NO_RESOLUTION_ANGST = 999.0
#: Beyond this many classes the rest is counted only.
MOST_DRAWN = 200

_MARGIN_PX, _GAP_PX, _HEAD_PX = 16, 10, 62
#: An average is cut to this many diameters of the circle: beyond it there is nothing.
_SHOWN_DIAMETERS = 1.08


def draw_montage(
    averages: np.ndarray,
    classes: pd.DataFrame,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    title: str,
) -> np.ndarray:
    """Draw the class averages, those that are kept first, the most populated first.

    Under each stand its particles, their share, its resolution in angstrom and its label, or `by
    hand` where a person decided. The frame has the colour of the label; classes that are left out
    are dimmed. Beyond `MOST_DRAWN` classes the rest is only counted.

    Parameters
    ----------
    averages : (K, n, n), row 0 at the bottom, as in MRC.
    classes : (K,) rows in the same order, with `csnClassPopulation`, `csnClassLabel`,
        `csnClassKept`, `rlnEstimatedResolution` and `csnClassReason`.
    diameter_angst : of the circular mask.
    title : of the picture; cut where it is too long.

    Returns
    -------
    (H, 1140, 3) uint8 in at most 48 colours, row 0 at the bottom, as `images.write_png` takes it.

    Raises
    ------
    ValueError : no class, or not as many averages as rows.
    """
    if averages.ndim != 3 or len(averages) != len(classes) or not len(classes):
        raise ValueError(f"{averages.shape = } does not fit {len(classes)} classes")
    rows = classes.to_dict("records")
    order = drawing_order(classes)
    drawn = order[:MOST_DRAWN]
    columns = min(10, max(5, int(np.ceil(np.sqrt(2.5 * len(drawn))))))
    pitch_px = (WIDTH_PX - 2 * _MARGIN_PX + _GAP_PX) // columns
    side_px = pitch_px - _GAP_PX
    picture_px = side_px - 2 * FRAME_PX
    captions = [_caption(row, _particles(classes)) for row in rows]
    font = _fitting(captions, side_px)
    step_px = pitch_px + 2 * line_px(font)

    groups = [(kept, [i for i in drawn if _kept(rows[i]) == kept]) for kept in (True, False)]
    groups = [(kept, members) for kept, members in groups if members]
    lines = [-(-len(members) // columns) for _, members in groups]
    sheet = Sheet(_HEAD_PX + sum(30 + n * step_px for n in lines) + _GAP_PX)
    shown_px = shown_side_px(averages.shape[-1], pixel_size_angst, diameter_angst)
    _head(sheet, title, classes, picture_px / (shown_px * pixel_size_angst), picture_px)
    top = _HEAD_PX
    for (kept, members), height in zip(groups, lines, strict=True):
        last = kept == groups[-1][0]
        words = _heading(classes, kept, len(order) - len(drawn) if last else 0)
        sheet.text((_MARGIN_PX, top), words, font_of(13), faint=not kept)
        for place, i in enumerate(members):
            corner = (
                _MARGIN_PX + place % columns * pitch_px,
                top + 26 + place // columns * step_px,
            )
            grey = grey_levels(
                averages[i],
                pixel_size_angst=pixel_size_angst,
                diameter_angst=diameter_angst,
                side_px=picture_px,
            )
            sheet.average(corner, grey[::-1], f"{i + 1}", rows[i]["csnClassLabel"], kept)
            sheet.caption(corner, captions[i], font, side_px, kept)
        top += 30 + height * step_px
    return sheet.finished()


def drawing_order(classes: pd.DataFrame) -> np.ndarray:
    """(K,) rows as they are shown: kept ones first, then by population, then by number."""
    left_out = classes["csnClassKept"].to_numpy() != 1
    return np.lexsort((-classes["csnClassPopulation"].to_numpy(float), left_out))


def shown_side_px(box_px: int, pixel_size_angst: float, diameter_angst: float) -> int:
    """Side of the part of an average that is shown: the circle and a little around it."""
    wanted = 2 * round(_SHOWN_DIAMETERS * diameter_angst / pixel_size_angst / 2)
    return int(np.clip(wanted, min(box_px, 8), box_px))


def grey_levels(
    average: np.ndarray, *, pixel_size_angst: float, diameter_angst: float, side_px: int
) -> np.ndarray:
    """An average as a small picture with grey levels of its own.

    Black and white are the percentiles 0.5 and 99.7 within the circle. A flat average is mid-grey;
    values that are not finite count as zero.

    Parameters
    ----------
    average : (n, n).

    Returns
    -------
    (side_px, side_px) uint8, rows as in `average`.
    """
    image = np.nan_to_num(np.asarray(average, np.float32), posinf=0.0, neginf=0.0)
    shown = shown_side_px(image.shape[-1], pixel_size_angst, diameter_angst)
    first = image.shape[-1] // 2 - shown // 2
    image = image[first : first + shown, first : first + shown]
    y, x = np.indices(image.shape) - shown // 2
    inside = np.hypot(x, y) <= max(1.0, 0.5 * diameter_angst / pixel_size_angst)
    low, high = np.percentile(image[inside], [0.5, 99.7])
    if not high > low:
        return np.full((side_px, side_px), 128, np.uint8)
    scaled = Image.fromarray(((image - low) * (255.0 / (high - low))).astype(np.float32))
    scaled = scaled.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(scaled), 0, 255).round().astype(np.uint8)


def _head(
    sheet: Sheet, title: str, classes: pd.DataFrame, px_per_angst: float, picture_px: int
) -> None:
    """Title, scale bar (a round length, the same for all averages), and colours of the labels."""
    font = font_of(17, bold=True)
    while font.getlength(title) > WIDTH_PX - 300:
        title = title.removesuffix("…")[:-1] + "…"
    sheet.text((_MARGIN_PX, 10), title, font)
    font = font_of(13)
    lengths = [m * 10.0**e for e in range(-1, 5) for m in (1, 2, 5)]
    length = max((n for n in lengths if n * px_per_angst <= 0.6 * picture_px), default=lengths[0])
    right = WIDTH_PX - _MARGIN_PX - 1
    left = right - round(length * px_per_angst)
    sheet.bar((left, 19, right, 22))
    words = f"{length:g} Å"
    sheet.text((left - 8 - font.getlength(words), 12), words, font)
    counts = classes["csnClassLabel"].value_counts()
    x = _MARGIN_PX
    for label in LABELS:
        sheet.frame((x, 38, x + 11, 49), 6, label)
        words = f"{label} {counts.get(label, 0)}"
        sheet.text((x + 17, 36), words, font)
        x += 35 + round(font.getlength(words))
    sheet.text((x, 36), "dimmed: left out   upper left: number of the class", font, faint=True)


def _heading(classes: pd.DataFrame, kept: bool, not_drawn: int) -> str:
    """How many classes and particles go on, or are left out."""
    members = classes[(classes["csnClassKept"] == 1) == kept]
    number = f"{len(members)} {'class' if len(members) == 1 else 'classes'}"
    share = _particles(members) / max(1, _particles(classes))
    more = f"; the last {not_drawn} are not drawn" if not_drawn else ""
    verb = "kept" if kept else "left out"
    return f"{number} {verb}: {_particles(members):,} particles, {100 * share:.1f} %{more}"


def _particles(classes: pd.DataFrame) -> int:
    return int(classes["csnClassPopulation"].sum())


def _kept(row: dict) -> bool:
    return row["csnClassKept"] == 1


def _caption(row: dict, total: int) -> Caption:
    """Particles and their share; resolution; label."""
    population, angst = int(row["csnClassPopulation"]), float(row["rlnEstimatedResolution"])
    by_hand = row["csnClassReason"] == "override"
    return (
        particles_words(population, total),
        f"{angst:.1f} Å" if 0 < angst < NO_RESOLUTION_ANGST else "–",
        "by hand" if by_hand else str(row["csnClassLabel"]),
    )


def particles_words(population: int, total: int) -> str:
    """The particles of a class and their share of all in classes."""
    share = 100 * population / max(1, total)
    return f"{population:,} · {'<0.1' if 0 < share < 0.05 else f'{share:.1f}'} %"


def _fitting(captions: list[Caption], side_px: int) -> Font:
    """The largest font in which no caption is wider than an average."""
    lines = [line for first, angst, label in captions for line in (first, f"{angst}  {label}")]
    longest = max(lines, key=len)
    sizes = (size for size in range(13, 8, -1) if font_of(size).getlength(longest) <= side_px)
    return font_of(next(sizes, 8))
