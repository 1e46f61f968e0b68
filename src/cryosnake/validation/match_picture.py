"""The picture of the cross-validation: class averages above the projections that match them."""

import numpy as np

from cryosnake.assessment.montage import grey_levels, shown_side_px
from cryosnake.assessment.montage_sheet import font_of, line_px
from cryosnake.errors import BadInputError
from cryosnake.validation.picture_sheet import (
    CHOSEN,
    GAP_PX,
    MARGIN_PX,
    WIDTH_PX,
    PictureSheet,
)

#: Beyond this many averages the rest is counted only.
MOST_DRAWN = 40
_NAMES_PX, _COLUMNS, _HEAD_PX, _CAPTION_PX = 190, 8, 34, 17
#: How a volume lies to the chosen one, in words.
_HANDS = {
    "same": "same structure and hand",
    "mirrored": "its mirror image",
    "unsure": "the same, hand unsure",
    "different": "another structure",
}
_PITCH_PX = (WIDTH_PX - 2 * MARGIN_PX - _NAMES_PX + GAP_PX) // _COLUMNS
_SIDE_PX = _PITCH_PX - GAP_PX


def draw_matches(
    averages: np.ndarray,
    projections: dict[str, np.ndarray],
    correlations: dict[str, np.ndarray],
    pixel_size_angst: float,
    *,
    diameter_angst: float,
    hands: dict[str, str],
    chosen: str,
) -> np.ndarray:
    """Draw each class average above its best projection of every volume, with their correlation.

    Averages and volumes stay in the order given. At the left stand name, mean correlation with its
    standard error, and hand of each volume; the chosen one is framed, and so is, by its bolder
    number, the highest correlation of each average.

    Parameters
    ----------
    averages : (K, n, n), row 0 at the bottom, particles white.
    projections : of each volume (K, n, n), turned and shifted onto the averages
        (`class_match.matched_projections`).
    correlations : of each volume (K,).
    diameter_angst : of the circle that pictures are cut to.
    hands : of each volume, as `crossvalidate.Judged.hand` says it.
    chosen : name of the volume that goes on.

    Returns
    -------
    (H, 1140, 3) uint8 in few colours, row 0 at the bottom, as `images.write_png` takes it.

    Raises
    ------
    BadInputError : no average, or volumes that do not fit the averages or each other.
    """
    _check(averages, projections, correlations, hands, chosen)
    names = list(projections)
    drawn = min(len(averages), MOST_DRAWN)
    best = np.stack([correlations[name] for name in names]).argmax(0)
    row_px = _SIDE_PX + _CAPTION_PX + 4
    block_px = _SIDE_PX + GAP_PX + len(names) * row_px + 14
    sheet = PictureSheet(_HEAD_PX + -(-drawn // _COLUMNS) * block_px, colours=1)
    shown_px = shown_side_px(averages.shape[-1], pixel_size_angst, diameter_angst)
    more = f" ({len(averages) - drawn} more are not drawn)" if drawn < len(averages) else ""
    words = f"{len(averages)} class averages above their best projections{more}"
    sheet.text((MARGIN_PX, 7), words, font_of(14, bold=True))
    sheet.scale_bar(8, _SIDE_PX / (shown_px * pixel_size_angst), 0.6 * _SIDE_PX)

    def picture(image: np.ndarray) -> np.ndarray:
        return grey_levels(
            image,
            pixel_size_angst=pixel_size_angst,
            diameter_angst=diameter_angst,
            side_px=_SIDE_PX,
        )

    for first in range(0, drawn, _COLUMNS):
        top = _HEAD_PX + first // _COLUMNS * block_px
        members = range(first, min(first + _COLUMNS, drawn))
        sheet.text((MARGIN_PX, top + 4), "class averages", font_of(13, bold=True))
        for place, index in enumerate(members):
            corner = (MARGIN_PX + _NAMES_PX + place * _PITCH_PX, top)
            sheet.picture(corner, picture(averages[index]))
        top += _SIDE_PX + GAP_PX
        for row, name in enumerate(names):
            _name(sheet, top, name, correlations[name], hands[name], name == chosen)
            for place, index in enumerate(members):
                left = MARGIN_PX + _NAMES_PX + place * _PITCH_PX
                sheet.picture((left, top), picture(projections[name][index]))
                words = f"{correlations[name][index]:.2f}"
                highest = best[index] == row
                font = font_of(12, bold=highest)
                right = left + (_SIDE_PX - font.getlength(words)) / 2
                sheet.text((right, top + _SIDE_PX + 1), words, font, faint=not highest)
                if name == chosen:
                    sheet.frame((left, top, left + _SIDE_PX - 1, top + _SIDE_PX - 1), CHOSEN)
            top += row_px
    return sheet.finished()


def _check(
    averages: np.ndarray,
    projections: dict[str, np.ndarray],
    correlations: dict[str, np.ndarray],
    hands: dict[str, str],
    chosen: str,
) -> None:
    fits = averages.ndim == 3 and len(averages) > 0 and chosen in projections
    fits &= set(projections) == set(correlations) == set(hands)
    fits = fits and all(images.shape == averages.shape for images in projections.values())
    if not fits or any(len(values) != len(averages) for values in correlations.values()):
        raise BadInputError(
            None,
            f"averages {averages.shape}, projections"
            f" { {name: images.shape for name, images in projections.items()} }, chosen {chosen}",
            "averages, and for each volume as many projections, correlations, and a hand",
        )


def _name(
    sheet: PictureSheet, top: int, name: str, correlation: np.ndarray, hand: str, chosen: bool
) -> None:
    """What there is to say of a volume, at the left of its row."""
    font = font_of(13)
    lines = [f"score {np.mean(correlation):.3f}"]
    if len(correlation) > 1:
        lines[0] += f" ± {np.std(correlation, ddof=1) / np.sqrt(len(correlation)):.3f}"
    lines.append("chosen" if chosen else _HANDS.get(hand, hand))
    bold = font_of(13, bold=True)
    while bold.getlength(name) > _NAMES_PX - 10:
        name = name.removesuffix("…")[:-1] + "…"
    sheet.text((MARGIN_PX, top + 4), name, bold)
    for line, words in enumerate(lines, 1):
        sheet.text((MARGIN_PX, top + 4 + line * line_px(font)), words, font, faint=not chosen)
