"""How the specimen moves while the beam is on.

Displacements are in angstrom as (y, x), of the specimen in the image, relative to the first frame.
The correction (`shift`, RELION's sign) is minus the displacement.

Whole-frame drift: the model is v(e) = v0 exp(-e / tau) along a direction common to a session, plus
a random walk and a jolt before the second frame. Its parameters come from the whole-frame tracks of
24 movies of EMPIAR-10204 (24 frames of 1.277 e/A^2, 0.885 A/px; CC0), as RELION's motion
correction measured them:

- mean step along the mean direction, frames 2 to 23: least squares of v0 exp(-e / tau) gives
  v0 = 0.70 A per e/A^2 and tau = 29 e/A^2;
- scatter of the movies' mean velocity about the session's: 0.08 and 0.12 A per frame along y and
  x, i.e. 0.08 A per e/A^2, here added as a constant velocity in a random direction;
- residual steps: standard deviation 0.17 A per axis with a correlation of -0.28 between
  neighbours, i.e. 0.10 A of error in each measured position (left out here) and a random walk of
  0.13 A per frame, 0.11 A per root of e/A^2;
- first step: standard deviation 0.40 A, i.e. a jolt of 0.36 A on top.

Local motion is not in those tracks. It is a polynomial of second order in space that saturates as
1 - exp(-e / 4 e/A^2), the doming of the ice at the beginning of the exposure (Brilot 2012, J Struct
Biol 177; Zheng 2017, Nat Methods 14), with its mean over the field taken out.
"""

from dataclasses import dataclass

import numpy as np

V0_ANGST_PER_E_PER_ANGST2 = 0.70
TAU_E_PER_ANGST2 = 29.0
MOVIE_VELOCITY_STD_ANGST_PER_E_PER_ANGST2 = 0.08
WALK_ANGST_PER_ROOT_E_PER_ANGST2 = 0.11
JOLT_ANGST = 0.36
LOCAL_TAU_E_PER_ANGST2 = 4.0


def frame_exposures(frames: int, dose_e_per_angst2_per_frame: float) -> np.ndarray:
    """Exposure in e/A^2 up to the middle of each frame."""
    return (np.arange(frames) + 0.5) * dose_e_per_angst2_per_frame


def whole_frame_drift(
    rng: np.random.Generator,
    frames: int,
    *,
    dose_e_per_angst2_per_frame: float,
    direction_rad: float,
    scale: float = 1.0,
) -> np.ndarray:
    """Displacements (F, 2) in angstrom of a normal movie; frame 0 is at the origin."""
    dose = dose_e_per_angst2_per_frame
    e = frame_exposures(frames, dose)
    along = V0_ANGST_PER_E_PER_ANGST2 * TAU_E_PER_ANGST2 * -np.expm1(-e / TAU_E_PER_ANGST2)
    direction = np.array([np.sin(direction_rad), np.cos(direction_rad)])
    velocity = rng.normal(0.0, MOVIE_VELOCITY_STD_ANGST_PER_E_PER_ANGST2, 2)
    steps = rng.normal(0.0, WALK_ANGST_PER_ROOT_E_PER_ANGST2 * np.sqrt(dose), (frames, 2))
    jolt = rng.normal(0.0, JOLT_ANGST, 2)
    track = along[:, None] * direction + e[:, None] * velocity + np.cumsum(steps, 0)
    track[1:] += jolt
    return scale * (track - track[0])


def bad_drift(
    rng: np.random.Generator, frames: int, *, dose_e_per_angst2_per_frame: float
) -> np.ndarray:
    """Displacements (F, 2) in angstrom of a movie to be rejected: the stage still runs (a path of
    60-120 A), or it jumps once by 12-25 A."""
    track = whole_frame_drift(
        rng,
        frames,
        dose_e_per_angst2_per_frame=dose_e_per_angst2_per_frame,
        direction_rad=rng.uniform(0, 2 * np.pi),
    )
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    if rng.random() < 0.6 or frames < 4:
        path_angst = rng.uniform(60, 120)
        time = np.linspace(0, 1, frames)
        extra = path_angst * time * (1.0 - 0.2 * time) / 0.8
    else:
        jump = int(rng.integers(1, frames - 1))
        extra = rng.uniform(12, 25) * (np.arange(frames) >= jump)
    return track + extra[:, None] * direction


@dataclass(frozen=True)
class LocalMotion:
    """Local displacement in angstrom: saturation(frame) times a polynomial in (v, u), the position
    relative to the centre in units of the field (-0.5 to 0.5 along y and x).

    Parameters
    ----------
    coefficients_angst : (2, 5), rows for y and x, columns for v, u, v^2 - 1/12, v u, u^2 - 1/12.
    saturation : (F,), 0 in frame 0.
    shape : (height, width) of the field in pixels.
    """

    coefficients_angst: np.ndarray
    saturation: np.ndarray
    shape: tuple[int, int]

    def displacement_angst(self, frame: int, y_px, x_px) -> np.ndarray:
        """Displacement (..., 2) as (y, x) at the pixels y_px, x_px in frame `frame`."""
        v = (np.asarray(y_px, np.float64) + 0.5) / self.shape[0] - 0.5
        u = (np.asarray(x_px, np.float64) + 0.5) / self.shape[1] - 0.5
        terms = np.stack(np.broadcast_arrays(v, u, v * v - 1 / 12, v * u, u * u - 1 / 12), axis=-1)
        return self.saturation[frame] * (terms @ self.coefficients_angst.T)


def local_motion(
    rng: np.random.Generator,
    frames: int,
    shape: tuple[int, int],
    *,
    dose_e_per_angst2_per_frame: float,
    corner_rms_angst: float,
) -> LocalMotion:
    """A random local motion whose root mean square displacement at the corners of the field in the
    last frame is `corner_rms_angst`."""
    e = frame_exposures(frames, dose_e_per_angst2_per_frame)
    saturation = -np.expm1(-(e - e[0]) / LOCAL_TAU_E_PER_ANGST2)
    coefficients = rng.normal(0.0, 1.0, (2, 5))
    unit = LocalMotion(coefficients, np.ones(1), shape)
    height, width = shape
    corners = unit.displacement_angst(
        0, np.array([0, 0, height - 1, height - 1]), np.array([0, width - 1, 0, width - 1])
    )
    rms = np.sqrt((corners**2).sum(-1).mean())
    return LocalMotion(coefficients * corner_rms_angst / rms, saturation, shape)
