"""Class averages as small pictures with their numbers."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.montage import (
    NO_RESOLUTION_ANGST,
    drawing_order,
    grey_levels,
    particles_words,
    shown_side_px,
)
from cryosnake.report.class2d_files import read_averages
from cryosnake.report.status import count

MOST_SHOWN = 200
_SIDE_PX = 144
_QUALITY = 72
_REASONS = {"override": "by hand", "population": "not among the largest"}


@dataclass(frozen=True)
class Tile:
    """A class average.

    Parameters
    ----------
    number : of the class, from 1.
    label : one of `LABELS`, or `other`.
    picture : data URI.
    words : all that is known of it, for those who point at it or cannot see it.
    """

    number: int
    label: str
    kept: bool
    picture: str
    particles: str
    resolution: str
    reason: str
    words: str


def tiles(
    path: Path, classes: pd.DataFrame, *, diameter_angst: float | None, most: int = MOST_SHOWN
) -> tuple[list[Tile], float]:
    """Kept classes, then those left out, the most populated first; and how many angstrom a picture
    is wide.

    Parameters
    ----------
    path : the stack of all averages, in the order of the rows.
    diameter_angst : of the circular mask; None: that of the box.

    Raises
    ------
    OSError, ValueError : the stack cannot be read, or does not fit the classes.
    """
    order = drawing_order(classes)[:most]
    averages, pixel_size_angst = read_averages(path, order, len(classes))
    diameter_angst = diameter_angst or averages.shape[-1] * pixel_size_angst
    total = int(classes["csnClassPopulation"].sum())
    rows = classes.iloc[order].to_dict("records")
    found = []
    for place, row, average in zip(order, rows, averages, strict=True):
        grey = grey_levels(
            average,
            pixel_size_angst=pixel_size_angst,
            diameter_angst=diameter_angst,
            side_px=_SIDE_PX,
        )
        found.append(_tile(int(place) + 1, row, _inlined(grey[::-1]), total))
    shown_px = shown_side_px(averages.shape[-1], pixel_size_angst, diameter_angst)
    return found, shown_px * pixel_size_angst


def _tile(number: int, row: dict, picture: str, total: int) -> Tile:
    population, angst = row["csnClassPopulation"], row["rlnEstimatedResolution"]
    label = row["csnClassLabel"]
    known = 0 < angst < NO_RESOLUTION_ANGST
    resolution = f"{angst:.1f} Å" if known else "no resolution"
    reason = _REASONS.get(row["csnClassReason"], "")
    words = [f"class {number}", label, count(population, "particle"), resolution]
    if np.isfinite(row["csnClassScore"]):
        words.append(f"good with probability {row['csnClassScore']:.2f}")
    kept = row["csnClassKept"] == 1
    return Tile(
        number=number,
        label=label if label in LABELS else "other",
        kept=kept,
        picture=picture,
        particles=particles_words(population, total),
        resolution=resolution if known else "–",
        reason=reason,
        words=", ".join([*words, "kept" if kept else "left out", *([reason] if reason else [])]),
    )


def _inlined(grey: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(stream, "WEBP", quality=_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
