"""What every movie reader has in common: the facts of the file, and frames that are read once."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryosnake.errors import BadInputError

MAX_SIDE_PX = 65536
MIN_SIDE_PX = 16
MAX_PIXELS = 2**29  # twice a 16K frame


@dataclass(frozen=True)
class MovieInfo:
    """What a movie's header says.

    Parameters
    ----------
    path : the file.
    format : `mrc`, `tiff` or `eer`.
    frames : number of frames that `Movie.frames` gives (EER: fractions).
    height_px, width_px : size of a frame.
    dtype : type of the frames' pixels.
    pixel_size_angst : from the header, of a pixel of the frames given; None where the header says
        nothing plausible.
    raw_frames : frames in the file; differs from `frames` for EER only.
    raw_frames_per_fraction : EER frames summed in one fraction, else 1.
    total_dose_e_per_angst2 : exposure of all raw frames where the header says it (EER), else None.
    """

    path: Path
    format: str
    frames: int
    height_px: int
    width_px: int
    dtype: np.dtype
    pixel_size_angst: float | None = None
    raw_frames: int = 0
    raw_frames_per_fraction: int = 1
    total_dose_e_per_angst2: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a frame in pixels."""
        return self.height_px, self.width_px


class Movie:
    """An open movie: `info`, and `frames()` that reads every frame once, in order.

    Parameters
    ----------
    info : the header's facts.
    read_frame : reads frame i (from 0) as an (H, W) array in MRC row order; safe to call from
        several threads.
    close : closes the file.
    threads : frames decoded at the same time, ahead of the caller. At most `threads + 1` frames
        are held in memory.
    """

    def __init__(
        self,
        info: MovieInfo,
        read_frame: Callable[[int], np.ndarray],
        close: Callable[[], None],
        *,
        threads: int = 2,
    ):
        self.info = info
        self._read_frame = read_frame
        self._close = close
        self._threads = max(1, threads)

    def __enter__(self) -> "Movie":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._close()

    def frames(self) -> Iterator[np.ndarray]:
        """All frames as (H, W) arrays of `info.dtype`, row 0 the bottom, each read once.

        Raises
        ------
        BadInputError : a frame cannot be read or decoded, or has another shape than the first.
        """
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="frames")
        waiting = deque()
        try:
            for index in range(self.info.frames):
                waiting.append(pool.submit(self._checked_frame, index))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _checked_frame(self, index: int) -> np.ndarray:
        with bad_input(self.info.path, f"frame {index} of {self.info.frames} cannot be read"):
            frame = self._read_frame(index)
        if frame.shape != self.info.shape:
            raise BadInputError(
                self.info.path,
                f"frame {index} has {frame.shape} pixels",
                f"{self.info.shape}, as the first frame",
            )
        return frame


@contextmanager
def bad_input(path: Path, problem: str, expected: str = "a complete, readable file"):
    """Turn whatever a decoder raises on rotten bytes into a `BadInputError` about `path`."""
    try:
        yield
    except (BadInputError, MemoryError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:  # decoders raise anything from struct.error to RuntimeError
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInputError(
            path, f"{problem} ({type(error).__name__}: {detail})", expected
        ) from error


def file_size(path: Path) -> int:
    """Size of a file in bytes.

    Raises
    ------
    BadInputError : missing, not a file, unreadable, or empty.
    """
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise BadInputError(
            path, f"cannot be opened ({error.strerror})", "a readable file"
        ) from error
    if size == 0:
        raise BadInputError(path, "is empty (0 bytes)", "a movie")
    return size


def check_size(path: Path, frames: int, height_px: int, width_px: int) -> None:
    """Refuse headers that cannot be of a movie, before anything is allocated.

    Raises
    ------
    BadInputError : sides or number of frames out of range.
    """
    if not (MIN_SIDE_PX <= height_px <= MAX_SIDE_PX and MIN_SIDE_PX <= width_px <= MAX_SIDE_PX):
        raise BadInputError(
            path,
            f"the header says {width_px} x {height_px} pixels",
            f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels",
        )
    if height_px * width_px > MAX_PIXELS:
        raise BadInputError(
            path,
            f"the header says {width_px} x {height_px} pixels",
            f"at most {MAX_PIXELS} pixels",
        )
    if not 1 <= frames <= 100_000:
        raise BadInputError(path, f"the header says {frames} frames", "1 to 100000 frames")


def plausible_pixel_size_angst(value_angst: float) -> float | None:
    """The pixel size of a header, or None where it is absent or cannot be one of a micrograph."""
    return float(value_angst) if 0.05 < value_angst < 50 else None
