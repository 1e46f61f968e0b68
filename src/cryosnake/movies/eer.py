"""EER movies (Falcon 4): electron events, rendered and summed fraction by fraction.

Format: Thermo Fisher's EER documentation 3.0; Guo et al. 2020, IUCrJ 7, 860. The container is
BigTIFF, a directory a camera frame. imagecodecs decodes the events and adds them into the fraction
in place, so memory is bounded by the fractions in flight, however many camera frames there are.

As in RELION, rows are *not* turned (unlike TIFF), fractions have equal numbers of camera frames,
and the camera frames that are left over at the end are not used.
"""

import threading
from pathlib import Path

import eerfile.data_models
import imagecodecs
import numpy as np

from cryosnake.errors import BadInputError
from cryosnake.movies.movie import (
    Movie,
    MovieInfo,
    bad_input,
    check_size,
    file_size,
    plausible_pixel_size_angst,
)
from cryosnake.movies.tiff_index import Page, read_pages

BITS = {65000: (8, 2, 2), 65001: (7, 2, 2)}
VARIABLE_BITS = 65002
DEFAULT_GROUP = 40


def open_eer(
    path: Path,
    *,
    fractions: int | None = None,
    fraction_dose_e_per_angst2: float = 1.0,
    total_dose_e_per_angst2: float | None = None,
    upsampling: int = 1,
    threads: int = 2,
) -> Movie:
    """Open an EER movie.

    Parameters
    ----------
    fractions : number of fractions; None: of `fraction_dose_e_per_angst2` each where the total
        dose is known, else of 40 camera frames each (RELION's default).
    total_dose_e_per_angst2 : exposure of the whole movie from other metadata; None: what the
        movie's header says.
    upsampling : 1 renders on the camera's pixels (4K), 2 on pixels of half the size (8K).

    Raises
    ------
    BadInputError : not EER, truncated anywhere, or fewer camera frames than fractions.
    """
    if upsampling not in (1, 2):
        raise ValueError(f"{upsampling = } is not 1 or 2")
    size = file_size(path)
    with open(path, "rb") as stream:
        pages = read_pages(stream, size, path)
    if pages[0].compression == 1 and len(pages) > 1:
        pages = pages[1:]  # some programs put the sum of all frames first
    height, width = pages[0].height_px, pages[0].width_px
    check_size(path, len(pages), height, width)
    for number, page in enumerate(pages):
        if page.compression not in (*BITS, VARIABLE_BITS):
            raise BadInputError(
                path, f"frame {number} has TIFF compression {page.compression}", "EER frames"
            )
        if (page.height_px, page.width_px) != (height, width):
            raise BadInputError(
                path,
                f"frame {number} has {page.width_px} x {page.height_px} pixels",
                f"{width} x {height}, as the first frame",
            )
    pixel_size, header_dose = _header_facts(path)
    total_dose = total_dose_e_per_angst2 or header_dose
    if fractions is None:
        fractions = _fractions(len(pages), total_dose, fraction_dose_e_per_angst2)
    group = len(pages) // fractions
    if group < 1:
        raise BadInputError(
            path, f"has {len(pages)} camera frames", f"at least {fractions} (eer_fractions)"
        )
    dtype = np.dtype(np.uint8 if group < 256 else np.uint16)
    shape = (height * upsampling, width * upsampling)
    stream = open(path, "rb")  # noqa: SIM115 - closed by Movie.close
    lock = threading.Lock()

    def read_fraction(index: int) -> np.ndarray:
        fraction = np.zeros(shape, dtype)
        for number in range(index * group, (index + 1) * group):
            page = pages[number]
            with lock:
                events = _events(stream, page)
            try:
                imagecodecs.eer_decode(
                    events, shape, *_bits(page), superres=upsampling - 1, out=fraction
                )
            except imagecodecs.ImcdError as error:
                raise BadInputError(
                    path, f"camera frame {number} cannot be decoded ({error})", "EER events"
                ) from error
        return fraction

    info = MovieInfo(
        path=path,
        format="eer",
        frames=fractions,
        height_px=shape[0],
        width_px=shape[1],
        dtype=dtype,
        pixel_size_angst=pixel_size / upsampling if pixel_size else None,
        raw_frames=len(pages),
        raw_frames_per_fraction=group,
        total_dose_e_per_angst2=total_dose,
    )
    return Movie(info, read_fraction, stream.close, threads=threads)


def _fractions(camera_frames: int, total_dose: float | None, fraction_dose: float) -> int:
    if total_dose:
        return min(camera_frames, max(2, round(total_dose / fraction_dose)))
    return max(1, camera_frames // DEFAULT_GROUP)


def _bits(page: Page) -> tuple[int, int, int]:
    return BITS.get(page.compression, page.eer_bits)


def _events(stream, page: Page) -> bytes:
    parts = []
    for offset, count in zip(page.offsets, page.counts, strict=True):
        stream.seek(int(offset))
        parts.append(stream.read(int(count)))
    events = b"".join(parts)
    return events if len(events) % 2 == 0 else events + b"\0"  # the decoder reads 16-bit words


def _header_facts(path: Path) -> tuple[float | None, float | None]:
    """Pixel size (angstrom, of the camera's pixels) and total dose (e/A^2), where they are told."""
    with bad_input(path, "has unreadable EER metadata"):
        header = _header(path)
    if header is None:
        return None, None
    pixel_size = plausible_pixel_size_angst(header.pixel_spacing_width_angstroms)
    if pixel_size is None or not header.total_dose_electrons_per_pixel:
        return pixel_size, None
    return pixel_size, header.total_dose_electrons_per_pixel / pixel_size**2


def _header(path: Path) -> eerfile.data_models.EERHeader | None:
    try:
        return eerfile.data_models.EERHeader.from_file(path)
    except TypeError:  # no metadata tag: eerfile looks its keys up in None
        return None
