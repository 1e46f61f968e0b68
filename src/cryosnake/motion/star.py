"""The motion of a movie as RELION 3.1 writes it, so that polishing and plots can read it."""

import os

import numpy as np
import pandas as pd

from cryosnake.motion.result import MotionResult
from cryosnake.tables import star_text, write_star

POLYNOMIAL_MODEL, NO_MODEL = 1, 0


def write_motion_star(
    path: str | os.PathLike,
    result: MotionResult,
    movie_name: str,
    *,
    frame_shape: tuple[int, int],
    frame_pixel_size_angst: float,
    voltage_kv: float,
    gain_name: str | None = None,
) -> None:
    """Write `data_general`, `data_global_shift` and, with local motion, `data_local_motion_model`
    and `data_local_shift`, whole or not at all.

    Parameters
    ----------
    movie_name : the movie's path as it stands in `rlnMicrographMovieName`.
    frame_shape : (H, W) of the frames as stored.
    frame_pixel_size_angst : of the frames as stored.
    gain_name : path of the gain reference, if any.

    Notes
    -----
    Shifts are corrections (minus the displacement) in output pixels, frames count from 1. The
    patches' shifts are those of the model at the patches' centres, whole-frame shift not included.
    """
    frames = len(result.shifts_px)
    general = {
        "rlnImageSizeX": frame_shape[1],
        "rlnImageSizeY": frame_shape[0],
        "rlnImageSizeZ": frames,
        "rlnMicrographMovieName": star_text(movie_name),
    }
    if gain_name is not None:
        general["rlnMicrographGainName"] = star_text(gain_name)
    general |= {
        "rlnMicrographBinning": result.pixel_size_angst / frame_pixel_size_angst,
        "rlnMicrographOriginalPixelSize": frame_pixel_size_angst,
        "rlnMicrographDoseRate": result.dose_e_per_angst2_per_frame,
        "rlnMicrographPreExposure": result.pre_exposure_e_per_angst2,
        "rlnVoltage": voltage_kv,
        "rlnMicrographStartFrame": 1,
        "rlnMotionModelVersion": NO_MODEL if result.local is None else POLYNOMIAL_MODEL,
    }
    blocks = {
        "general": general,
        "global_shift": pd.DataFrame(
            {
                "rlnMicrographFrameNumber": np.arange(1, frames + 1),
                "rlnMicrographShiftX": result.shifts_px[:, 1],
                "rlnMicrographShiftY": result.shifts_px[:, 0],
            }
        ),
    }
    if result.local is not None:
        # Cubic terms of long movies are far below the table's six decimals: the frame appears to
        # the third power. Numbers written as text keep their digits.
        coefficients = np.concatenate([result.local.coefficients_x, result.local.coefficients_y])
        blocks["local_motion_model"] = pd.DataFrame(
            {
                "rlnMotionModelCoeffsIdx": np.arange(coefficients.size),
                "rlnMotionModelCoeff": [f"{value:.6e}" for value in coefficients],
            }
        )
        local = result.patch_shifts_px - result.shifts_px[:, None, :]
        patches = local.shape[1]
        blocks["local_shift"] = pd.DataFrame(
            {
                "rlnMicrographFrameNumber": np.tile(np.arange(1, frames + 1), patches),
                "rlnCoordinateX": np.repeat(result.patch_centres_px[:, 1], frames),
                "rlnCoordinateY": np.repeat(result.patch_centres_px[:, 0], frames),
                "rlnMicrographShiftX": local[:, :, 1].T.ravel(),
                "rlnMicrographShiftY": local[:, :, 0].T.ravel(),
            }
        )
    write_star(path, blocks)
