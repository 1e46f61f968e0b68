"""TIFF movies (uncompressed, LZW, ZIP and what else tifffile decodes), read frame by frame.

Rows are turned: the first row of a TIFF is the top of the picture and becomes the last row here,
whatever the orientation tag says. RELION, MotionCor and IMOD do the same.
"""

import logging
from pathlib import Path

import numpy as np
import tifffile

from cryosnake.errors import BadInputError
from cryosnake.movies.movie import (
    Movie,
    MovieInfo,
    bad_input,
    check_size,
    file_size,
    plausible_pixel_size_angst,
)
from cryosnake.movies.tiff_index import read_pages

# what tifffile would log about private tags is either checked here or of no matter
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
_ANGST_PER_RESOLUTION_UNIT = {2: 2.54e8, 3: 1e8}


def open_tiff(path: Path, *, threads: int = 2) -> Movie:
    """Open a TIFF movie or image.

    Raises
    ------
    BadInputError : not TIFF, truncated anywhere, colour, or frames of different shapes.
    """
    size = file_size(path)
    with open(path, "rb") as stream:
        index = read_pages(stream, size, path)
    height, width = index[0].height_px, index[0].width_px
    check_size(path, len(index), height, width)
    for number, page in enumerate(index):
        if page.samples != 1:
            raise BadInputError(
                path, f"frame {number} has {page.samples} samples a pixel", "1 (greyscale)"
            )
        if (page.height_px, page.width_px) != (height, width):
            raise BadInputError(
                path,
                f"frame {number} has {page.width_px} x {page.height_px} pixels",
                f"{width} x {height}, as the first frame",
            )
    with bad_input(path, "cannot be opened as TIFF"):
        tiff = tifffile.TiffFile(path)
    try:
        with bad_input(path, "has unreadable directories"):
            tiff.filehandle.set_lock(True)
            pages = [tiff.pages[number] for number in range(len(index))]
            dtypes = {str(page.dtype) for page in pages}
            pixel_size = _pixel_size_angst(pages[0])
        if len(dtypes) != 1 or None in {page.dtype for page in pages}:
            raise BadInputError(path, f"frames of types {sorted(dtypes)}", "one numeric type")
        if pages[0].dtype.kind not in "iuf":
            raise BadInputError(path, f"pixels of type {pages[0].dtype}", "integers or floats")
    except BaseException:
        tiff.close()
        raise

    def read_frame(number: int) -> np.ndarray:
        return np.ascontiguousarray(pages[number].asarray(maxworkers=1)[::-1])

    info = MovieInfo(
        path=path,
        format="tiff",
        frames=len(pages),
        height_px=height,
        width_px=width,
        dtype=pages[0].dtype.newbyteorder("="),
        pixel_size_angst=pixel_size,
        raw_frames=len(pages),
    )
    return Movie(info, read_frame, tiff.close, threads=threads)


def _pixel_size_angst(page: tifffile.TiffPage) -> float | None:
    """From the resolution tags, as SerialEM and IMOD write them (pixels per centimetre)."""
    unit = _ANGST_PER_RESOLUTION_UNIT.get(int(page.tags.valueof("ResolutionUnit", 2)))
    resolution = page.tags.valueof("XResolution")
    if unit is None or not resolution or not resolution[0]:
        return None
    return plausible_pixel_size_angst(unit * resolution[1] / resolution[0])
