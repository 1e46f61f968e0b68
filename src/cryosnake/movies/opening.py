"""Opening a movie of any format."""

import os
from pathlib import Path

from cryosnake.errors import BadInputError
from cryosnake.movies.eer import open_eer
from cryosnake.movies.movie import Movie
from cryosnake.movies.mrc import open_mrc
from cryosnake.movies.tiff import open_tiff

MOVIE_SUFFIXES = {
    ".mrc": "mrc",
    ".mrcs": "mrc",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".eer": "eer",
}


def open_movie(
    path: str | os.PathLike,
    *,
    eer_fractions: int | None = None,
    eer_fraction_dose_e_per_angst2: float = 1.0,
    eer_total_dose_e_per_angst2: float | None = None,
    eer_upsampling: int = 1,
    expected_frames: int | None = None,
    threads: int = 2,
) -> Movie:
    """Open a movie and check that the file is complete; pixels are read by `Movie.frames` only.

    Parameters
    ----------
    path : `.mrc`, `.mrcs`, `.tif`, `.tiff` or `.eer`, in any case.
    eer_fractions, eer_fraction_dose_e_per_angst2, eer_total_dose_e_per_angst2, eer_upsampling :
        how EER is rendered, see `open_eer`.
    expected_frames : number of frames in the file that the microscope's metadata promise, where
        it is known (EER: camera frames).
    threads : frames decoded ahead at the same time.

    Raises
    ------
    BadInputError : for every kind of bad file: missing, unreadable, empty, truncated, of another
        format than its name says, of an unknown format, frames that differ in shape, fewer or
        more frames than expected.

    Examples
    --------
    >>> with open_movie("movie.tif") as movie:
    ...     total = sum(frame.astype("f4") for frame in movie.frames())
    """
    path = Path(path)
    kind = MOVIE_SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise BadInputError(
            path, f"ending {path.suffix!r} is not of a movie", f"one of {sorted(MOVIE_SUFFIXES)}"
        )
    if kind == "mrc":
        movie = open_mrc(path, threads=threads)
    elif kind == "tiff":
        movie = open_tiff(path, threads=threads)
    else:
        movie = open_eer(
            path,
            fractions=eer_fractions,
            fraction_dose_e_per_angst2=eer_fraction_dose_e_per_angst2,
            total_dose_e_per_angst2=eer_total_dose_e_per_angst2,
            upsampling=eer_upsampling,
            threads=threads,
        )
    if expected_frames is not None and movie.info.raw_frames != expected_frames:
        movie.close()
        raise BadInputError(
            path,
            f"has {movie.info.raw_frames} frames",
            f"{expected_frames}, as the microscope's metadata say",
        )
    return movie
