"""The sheet that a montage is drawn on: grey first, then frames in few and exact colours."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: Frames of the labels: apart for colour-blind eyes, and those of the report.
LABEL_COLOURS = {"good": "#2fa37c", "clip": "#e0a419", "edge": "#8b6fd1", "noise": "#8a8f98"}
WIDTH_PX, FRAME_PX = 1140, 3

_BACKGROUND, _TEXT, _FAINT = 18, 232, 160
#: How much of a class that is left out stands out from the background.
_DIMMED = 0.55
#: With the frames of the labels, plain and dimmed, 48 colours: as many as a small PNG keeps.
_GREYS = 40

Font = ImageFont.FreeTypeFont
#: (x, y), and (left, top, right, bottom), both included.
Place = tuple[float, float]
Box = tuple[int, int, int, int]
#: Particles and their share; resolution; label.
Caption = tuple[str, str, str]


@lru_cache(maxsize=16)
def font_of(size: int, *, bold: bool = False) -> Font:
    """The font of all texts; matplotlib brings it along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def line_px(font: Font) -> int:
    """From one line of text to the next."""
    return round(1.3 * font.size)


def frame_colour(label: str, kept: bool) -> tuple[int, ...]:
    """RGB of a class's frame; that of noise where the label is not known."""
    text = LABEL_COLOURS.get(label, LABEL_COLOURS["noise"])
    colour = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
    return tuple(v if kept else round(_BACKGROUND + _DIMMED * (v - _BACKGROUND)) for v in colour)


class Sheet:
    """A picture in grey. Frames in colour are laid on it at the end, so that there are few colours
    and each is exact. Places are (x, y) in pixels, y downwards.

    Parameters
    ----------
    height_px : of the picture; it is `WIDTH_PX` wide.
    """

    def __init__(self, height_px: int):
        self._grey = Image.new("L", (WIDTH_PX, height_px), _BACKGROUND)
        self._pen = ImageDraw.Draw(self._grey)
        self._frames: list[tuple[Box, int, tuple[int, ...]]] = []

    def text(self, place: Place, words: str, font: Font, *, faint: bool = False) -> None:
        """Words whose upper left corner is there."""
        self._pen.text(place, words, _FAINT if faint else _TEXT, font)

    def bar(self, box: Box) -> None:
        """A filled box in the colour of the text."""
        self._pen.rectangle(box, fill=_TEXT)

    def frame(self, box: Box, width_px: int, label: str, kept: bool = True) -> None:
        """A frame inside a box, in the colour of the label."""
        self._frames.append((box, width_px, frame_colour(label, kept)))

    def average(self, corner: Place, grey: np.ndarray, number: str, label: str, kept: bool) -> None:
        """A square average in its frame, the class's number in its upper left corner."""
        if not kept:
            grey = (_BACKGROUND + _DIMMED * (grey - float(_BACKGROUND))).astype(np.uint8)
        x, y = corner[0] + FRAME_PX, corner[1] + FRAME_PX
        self._grey.paste(Image.fromarray(grey), (x, y))
        font = font_of(11)
        self._pen.rectangle((x, y, x + font.getlength(number) + 6, y + 15), fill=_BACKGROUND)
        self.text((x + 3, y + 1), number, font, faint=not kept)
        end = 2 * FRAME_PX + len(grey) - 1
        self.frame((*corner, corner[0] + end, corner[1] + end), FRAME_PX, label, kept)

    def caption(
        self, corner: Place, caption: Caption, font: Font, side_px: int, kept: bool
    ) -> None:
        """The two lines below an average."""
        particles, resolution, label = caption
        left, top = corner[0], corner[1] + side_px + 3
        second = top + line_px(font)
        self.text((left, top), particles, font, faint=not kept)
        self.text((left, second), resolution, font, faint=not kept)
        right = left + side_px - font.getlength(label)
        self.text((right, second), label, font, faint=True)

    def finished(self) -> np.ndarray:
        """(H, W, 3) uint8, row 0 at the bottom."""
        steps = np.round(np.asarray(self._grey) / 255.0 * (_GREYS - 1))
        grey = np.round(steps * (255.0 / (_GREYS - 1))).astype(np.uint8)
        coloured = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
        pen = ImageDraw.Draw(coloured)
        for box, width_px, colour in self._frames:
            pen.rectangle(box, outline=colour, width=width_px)
        return np.ascontiguousarray(np.asarray(coloured)[::-1])
