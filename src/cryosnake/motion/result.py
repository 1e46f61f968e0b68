"""What motion correction returns."""

from dataclasses import dataclass

import numpy as np

EARLY_EXPOSURE_E_PER_ANGST2 = 4.0


@dataclass(frozen=True)
class LocalMotion:
    """Smooth local motion, as RELION's third-order model: it adds to the whole-frame shifts.

    shift(z, x, y) = sum over i < 6, j < 3 of c[3 i + j] g_i(x, y) z^(j + 1), with g = (1, x, x^2,
    y, y^2, x y), z the frame (first is 0), x = column / width - 1/2, y = row / height - 1/2.

    Parameters
    ----------
    coefficients_y, coefficients_x : (18,) in output pixels.
    shape : (H, W) of the output in pixels.
    """

    coefficients_y: np.ndarray
    coefficients_x: np.ndarray
    shape: tuple[int, int]

    def shift_px(self, frame, y, x) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) shift in output pixels at frame(s) and position(s) in output pixels; arguments
        broadcast."""
        basis = local_basis(
            np.asarray(frame, float),
            np.asarray(y, float) / self.shape[0] - 0.5,
            np.asarray(x, float) / self.shape[1] - 0.5,
        )
        return basis @ self.coefficients_y, basis @ self.coefficients_x


def local_basis(frame, y, x) -> np.ndarray:
    """The 18 terms of the local model, (..., 18), at frames and normalised positions."""
    frame, y, x = np.broadcast_arrays(frame, y, x)
    space = np.stack([np.ones_like(x), x, x * x, y, y * y, x * y], axis=-1)
    time = np.stack([frame, frame**2, frame**3], axis=-1)
    return (space[..., :, None] * time[..., None, :]).reshape(*frame.shape, 18)


@dataclass(frozen=True)
class MotionResult:
    """A corrected movie.

    Parameters
    ----------
    dose_weighted : (H, W) float32, exposure-weighted sum (the plain sum where that is off).
    plain : (H, W) float32, sum without exposure weights.
    pixel_size_angst : of both (grey values stay those of a stored pixel when binned).
    shifts_px : (F, 2) whole-frame shifts (y, x) in output pixels against frame 0; the correction,
        which is minus the displacement of the specimen.
    local : local motion, or None for whole-frame alignment.
    patch_centres_px : (P, 2) (y, x) centres of the patches in output pixels.
    patch_shifts_px : (F, P, 2) total shift (whole-frame and local) at the centres.
    patch_errors_px : (P,) standard error of one frame's shift in a patch, from the curvature of the
        correlation: large where a patch shows nothing to align.
    frame_mean : (F,) mean of each corrected frame, in the movie's counts per stored pixel.
    dose_e_per_angst2_per_frame, pre_exposure_e_per_angst2 : as given.
    problem : why the alignment cannot be trusted, else None. The sums are then made without shifts.
    seconds : wall time.
    """

    dose_weighted: np.ndarray
    plain: np.ndarray
    pixel_size_angst: float
    shifts_px: np.ndarray
    local: LocalMotion | None
    patch_centres_px: np.ndarray
    patch_shifts_px: np.ndarray
    patch_errors_px: np.ndarray
    frame_mean: np.ndarray
    dose_e_per_angst2_per_frame: float
    pre_exposure_e_per_angst2: float
    problem: str | None
    seconds: float

    @property
    def steps_angst(self) -> np.ndarray:
        """(F - 1,) distances between the whole-frame shifts of consecutive frames."""
        return np.hypot(*np.diff(self.shifts_px, axis=0).T) * self.pixel_size_angst

    @property
    def drift_max_angst(self) -> float:
        """Largest frame-to-frame shift."""
        return float(self.steps_angst.max(initial=0.0))

    @property
    def drift_path_angst(self) -> float:
        """Length of the path."""
        return float(self.steps_angst.sum())

    @property
    def accumulated_early_angst(self) -> float:
        """Path length up to an exposure of 4 e/A2, as RELION's rlnAccumMotionEarly."""
        return float(self.steps_angst[self._is_early].sum())

    @property
    def accumulated_late_angst(self) -> float:
        """Path length after an exposure of 4 e/A2, as RELION's rlnAccumMotionLate."""
        return float(self.steps_angst[~self._is_early].sum())

    @property
    def accumulated_total_angst(self) -> float:
        """Path length, as RELION's rlnAccumMotionTotal."""
        return self.drift_path_angst

    @property
    def local_rms_angst(self) -> float:
        """Root mean square of the local motion over patches and frames; 0 without a local model."""
        local = self.patch_shifts_px - self.shifts_px[:, None, :]
        return float(np.sqrt((local**2).sum(axis=2).mean())) * self.pixel_size_angst

    @property
    def _is_early(self) -> np.ndarray:
        frames = np.arange(2, len(self.shifts_px) + 1)  # the step into frame 2, counted from 1
        exposure = self.pre_exposure_e_per_angst2 + frames * self.dose_e_per_angst2_per_frame
        return exposure <= EARLY_EXPOSURE_E_PER_ANGST2
