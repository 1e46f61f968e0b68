"""Picks drawn over small pictures of micrographs."""

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
from PIL import Image

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.report.gallery import data_uri
from cryosnake.report.picking_files import below
from cryosnake.tables import read_star

MICROGRAPHS_SHOWN = 8
_SIDE_PX = 512
_MOST_CIRCLES = 2000


@dataclass(frozen=True)
class PickedCard:
    """A micrograph with its picks.

    Parameters
    ----------
    picture : data URI, empty where there is none.
    width, height : of the picture, in its pixels, in which the circles are.
    circles : (x, y) of each, y downwards.
    radius : of all circles.
    note : why there are no circles, or not all; empty where there is nothing to say.
    """

    number: int
    name: str
    facts: str
    picture: str
    width: int
    height: int
    circles: list[tuple[str, str]]
    radius: str
    note: str


def chosen_picked(counts: pd.DataFrame, number: int = MICROGRAPHS_SHOWN) -> pd.DataFrame:
    """Picked micrographs, evenly spread over the defocus range, the smallest defocus first.

    Each stands for a part of the range with equally many micrographs, of which it is the one with
    the median number of particles: what is usual there.
    """
    known = counts[counts["csnDefocusMean_angst"].notna()]
    if known.empty:
        known = counts
    order = known.sort_values(["csnDefocusMean_angst", "number"], kind="stable")
    parts = np.array_split(np.arange(len(order)), min(number, len(order)) or 1)
    chosen = []
    for part in parts:
        if len(part):
            picks = order["picks"].to_numpy()[part]
            chosen.append(part[np.argsort(picks, kind="stable")[len(part) // 2]])
    return order.iloc[chosen]


def picked_cards(
    rows: pd.DataFrame, results_dir: Path, diameter_angst: float | None
) -> list[PickedCard]:
    """The cards of the chosen rows."""
    tables: dict[str, pd.DataFrame | str] = {}
    cards = []
    for row in rows.to_dict("records"):
        batch = row["csnBatch"]
        if batch not in tables:
            tables[batch] = _coordinates(below(results_dir, layout.coordinates_star(batch)))
        cards.append(_card(row, results_dir, tables[batch], diameter_angst))
    return cards


def _coordinates(path: Path) -> pd.DataFrame | str:
    """The picks of a batch by the micrograph's file name without ending; else what is wrong."""
    wanted = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    try:
        blocks = read_star(path).values()
    except BadInputError as error:
        return f"the coordinates {error.problem}"
    for block in blocks:
        if isinstance(block, dict):
            block = pd.DataFrame([block])
        if not set(wanted) <= set(block.columns):
            continue
        table = block.copy()
        table["stem"] = [
            str(name).rsplit("/", 1)[-1].removesuffix(".mrc") for name in table[wanted[0]]
        ]
        merit = table.get("rlnAutopickFigureOfMerit", 0.0)
        table["merit"] = pd.to_numeric(pd.Series(merit, index=table.index), errors="coerce")
        for column in wanted[1:]:
            table[column] = pd.to_numeric(table[column], errors="coerce")
        return table.dropna(subset=wanted[1:])
    return "the file of coordinates holds none"


def _card(
    row: dict, results_dir: Path, found: pd.DataFrame | str, diameter_angst: float | None
) -> PickedCard:
    folder = below(results_dir, layout.PREPROCESS) / row["csnBatch"]
    thumbnail = folder / f"{row['stem']}_thumb.png"
    width, height = _picture_shape(thumbnail)
    circles: list[tuple[str, str]] = []
    radius = 0.0
    note = ""
    if row["picks"] > 0:
        micrograph = _micrograph_shape(folder / f"{row['stem']}.mrc")
        if isinstance(found, str):
            note = f"No circles: {found}."
        elif micrograph is None:
            note = "No circles: the micrograph's own size cannot be read."
        else:
            picks = found[found["stem"] == row["stem"]]
            shown = picks.nlargest(_MOST_CIRCLES, "merit", keep="first")
            if len(shown) < len(picks):
                note = f"The best {len(shown):,} of {len(picks):,} picks are drawn."
            (micrograph_width, micrograph_height), pixel_size_angst = micrograph
            circles = circles_of(
                shown["rlnCoordinateX"].to_numpy(float),
                shown["rlnCoordinateY"].to_numpy(float),
                scale_x=width / micrograph_width,
                scale_y=height / micrograph_height,
                height=height,
            )
            diameter_px = (diameter_angst or 0.0) / pixel_size_angst
            radius = max(2.0, 0.5 * diameter_px * width / micrograph_width)
    return PickedCard(
        number=row["number"],
        name=row["name"],
        facts=_facts(row),
        picture=data_uri(thumbnail, _SIDE_PX),
        width=width,
        height=height,
        circles=circles,
        radius=f"{radius:.1f}",
        note=note,
    )


def circles_of(
    x: np.ndarray, y: np.ndarray, *, scale_x: float, scale_y: float, height: int
) -> list[tuple[str, str]]:
    """Where picks are in a picture.

    Parameters
    ----------
    x, y : (N,) columns and rows in pixels of the micrograph; an integer is the centre of a pixel,
        and row 0 is at the bottom.
    scale_x, scale_y : pixels of the picture per pixel of the micrograph. The picture is resampled
        in Fourier space, which keeps the centre of pixel (0, 0).
    height : of the picture, whose first line is at the top.

    Returns
    -------
    (N,) list of (x, y) as text, from the left and upper edge of the picture.
    """
    across = x * scale_x + 0.5
    down = height - (y * scale_y + 0.5)
    return [(f"{a:.1f}", f"{d:.1f}") for a, d in zip(across, down, strict=True)]


def _picture_shape(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except OSError:
        return _SIDE_PX, _SIDE_PX  # there is no picture: the circles alone are shown


def _micrograph_shape(path: Path) -> tuple[tuple[int, int], float] | None:
    """Width and height in pixels, and the pixel size in angstrom, from the header alone."""
    try:
        with mrcfile.open(path, permissive=False, header_only=True) as mrc:
            width, height = int(mrc.header.nx), int(mrc.header.ny)
            pixel_size_angst = float(mrc.voxel_size.x)
    except (OSError, ValueError):
        return None
    whole = width > 0 and height > 0 and pixel_size_angst > 0
    return ((width, height), pixel_size_angst) if whole else None


def _facts(row: dict) -> str:
    picks = round(row["picks"])
    facts = [f"{picks:,} {'particle' if picks == 1 else 'particles'}"]
    if np.isfinite(row["csnDefocusMean_angst"]):
        facts.append(f"defocus {row['csnDefocusMean_angst'] * 1e-4:.2f} µm")
    if np.isfinite(row["rlnCtfMaxResolution"]):
        facts.append(f"CTF {row['rlnCtfMaxResolution']:.1f} Å")
    return ", ".join(facts)
