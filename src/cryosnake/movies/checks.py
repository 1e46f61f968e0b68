"""Checks of frames while they stream by."""

import os

import numpy as np

from cryosnake.errors import BadInputError

SATURATED_FRACTION = 0.01


def check_frame(
    frame: np.ndarray, index: int, path: str | os.PathLike, *, maximum: int | None = None
) -> None:
    """Refuse a frame that carries no usable signal; costs one or two passes over the pixels.

    Parameters
    ----------
    frame : (H, W), in the type of the file.
    index : number of the frame, from 0, for the message.
    path : the movie, for the message.
    maximum : largest value the camera can write; by default that of an integer type.

    Raises
    ------
    BadInputError : NaN or infinite pixels; all pixels zero; all pixels alike; more than 1 % of
        the pixels at the largest value that the type can hold (saturated).
    """
    low, high = frame.min(), frame.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(frame.size - np.isfinite(frame).sum())
        raise BadInputError(
            path, f"frame {index} has {bad} NaN or infinite pixels", "finite pixel values"
        )
    if low == high:
        what = "all-zero" if high == 0 else f"constant ({high})"
        raise BadInputError(
            path, f"frame {index} is {what}", "counts that vary from pixel to pixel"
        )
    if maximum is None and frame.dtype.kind in "iu":
        maximum = np.iinfo(frame.dtype).max
    if maximum is not None and high >= maximum:
        fraction = np.count_nonzero(frame >= maximum) / frame.size
        if fraction > SATURATED_FRACTION:
            raise BadInputError(
                path,
                f"frame {index} is saturated: {100 * fraction:.1f} % of pixels are at {maximum}",
                f"at most {100 * SATURATED_FRACTION:g} %",
            )
