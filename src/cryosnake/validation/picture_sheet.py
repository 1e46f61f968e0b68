"""The dark sheet that pictures of volumes are drawn on: greys first, then few and exact colours."""

import numpy as np
from PIL import Image, ImageDraw

from cryosnake.assessment.montage_sheet import Font, font_of

WIDTH_PX, MARGIN_PX, GAP_PX = 1140, 16, 8
#: Frame and words of what was chosen; outline of a mask: apart for colour-blind eyes.
CHOSEN, OUTLINE = (47, 163, 124), (224, 164, 25)

_BACKGROUND, _TEXT, _FAINT = 18, 232, 160
_MOST_COLOURS = 48  # as many as `images.write_png` keeps as they are

Colour = tuple[int, int, int]


class PictureSheet:
    """A picture of `WIDTH_PX` columns. Places are (x, y) in pixels, y downwards; arrays that are
    laid on it have row 0 at the bottom, as in MRC.

    Parameters
    ----------
    height_px : of the picture.
    colours : how many may be laid on it; the rest of 48 are greys.
    """

    def __init__(self, height_px: int, colours: int):
        self._steps = _MOST_COLOURS - colours - 1
        self._grey = Image.new("L", (WIDTH_PX, height_px), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._grey)
        self._colours = np.zeros((height_px, WIDTH_PX, 3), np.uint8)
        self._coloured = np.zeros((height_px, WIDTH_PX), bool)

    def text(
        self, place: tuple[float, float], words: str, font: Font, *, faint: bool = False
    ) -> None:
        """Words whose upper left corner is there."""
        self._pen.text(place, words, _FAINT if faint else _TEXT, font)

    def centred(self, place: tuple[float, float], words: str, font: Font) -> None:
        """Faint words, centred about x, below y."""
        self._pen.text(place, words, _FAINT, font, anchor="ma")

    def line(self, ends: tuple[float, float, float, float]) -> None:
        """A thin line in the colour of faint text."""
        self._pen.line(ends, fill=_FAINT)

    def picture(self, corner: tuple[int, int], grey: np.ndarray) -> None:
        """(h, w) uint8 with its upper left corner there."""
        self._grey.paste(Image.fromarray(np.ascontiguousarray(grey[::-1])), corner)

    def colours(self, corner: tuple[int, int], where: np.ndarray, colours: np.ndarray) -> None:
        """Colours where a mask (h, w) is true.

        Parameters
        ----------
        colours : (h, w, 3) uint8, or one colour (3,).
        """
        part = np.s_[corner[1] : corner[1] + where.shape[0], corner[0] : corner[0] + where.shape[1]]
        shown = np.broadcast_to(np.asarray(colours, np.uint8), (*where.shape, 3))[::-1]
        self._colours[part][where[::-1]] = shown[where[::-1]]
        self._coloured[part] |= where[::-1]

    def box(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """A filled box (left, top, right, bottom), all included."""
        left, top, right, bottom = (round(edge) for edge in box)
        if right >= left and bottom >= top:
            self.colours((left, top), np.ones((bottom - top + 1, right - left + 1), bool), colour)

    def frame(self, box: tuple[int, int, int, int], colour: Colour, width_px: int = 2) -> None:
        """A frame inside a box (left, top, right, bottom), all included."""
        left, top, right, bottom = box
        edge = np.ones((bottom - top + 1, right - left + 1), bool)
        edge[width_px:-width_px, width_px:-width_px] = False
        self.colours((left, top), edge, colour)

    def scale_bar(self, top: int, px_per_angst: float, longest_px: float) -> None:
        """A bar of a round length at the right, with that length before it."""
        lengths = [m * 10.0**e for e in range(-1, 5) for m in (1, 2, 5)]
        length = max((n for n in lengths if n * px_per_angst <= longest_px), default=lengths[0])
        right, font = WIDTH_PX - MARGIN_PX - 1, font_of(13)
        left = right - round(length * px_per_angst)
        self._pen.rectangle((left, top + 7, right, top + 10), fill=_TEXT)
        words = f"{length:g} Å"
        self.text((left - 8 - font.getlength(words), top), words, font)

    def finished(self) -> np.ndarray:
        """(H, WIDTH_PX, 3) uint8, row 0 at the bottom, as `images.write_png` takes it."""
        steps = np.round(np.asarray(self._grey) / 255.0 * self._steps)
        grey = np.round(steps * (255.0 / self._steps)).astype(np.uint8)
        picture = np.where(self._coloured[..., None], self._colours, grey[..., None])
        return np.ascontiguousarray(picture[::-1])
