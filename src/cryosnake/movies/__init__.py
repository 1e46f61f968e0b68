"""Movies: reading them frame by frame, gain references, defects, and the correction of frames."""

from cryosnake.movies.checks import check_frame
from cryosnake.movies.corrector import FrameCorrector
from cryosnake.movies.defects import find_hot_pixels, read_defects
from cryosnake.movies.gain import (
    GAIN_ORIENTATIONS,
    check_gain_shape,
    orient_gain,
    read_gain,
    resize_gain,
)
from cryosnake.movies.gain_orientation import (
    ALREADY_CORRECTED,
    UNSURE,
    GainFit,
    find_gain_orientation,
)
from cryosnake.movies.movie import Movie, MovieInfo
from cryosnake.movies.opening import MOVIE_SUFFIXES, open_movie

__all__ = [
    "ALREADY_CORRECTED",
    "GAIN_ORIENTATIONS",
    "MOVIE_SUFFIXES",
    "UNSURE",
    "FrameCorrector",
    "GainFit",
    "Movie",
    "MovieInfo",
    "check_frame",
    "check_gain_shape",
    "find_gain_orientation",
    "find_hot_pixels",
    "open_movie",
    "orient_gain",
    "read_defects",
    "read_gain",
    "resize_gain",
]
