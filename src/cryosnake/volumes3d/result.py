"""What ab initio reconstruction, 3D classification and refinement leave."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VolumePoses:
    """Of N particles, in the order of the stack.

    Parameters
    ----------
    class_index : (N,) int32 volume, from 0; K where the particle shows nothing, if that was
        allowed; -1 for images that cannot be used (constant, NaN) or were not looked at.
    rot_deg, tilt_deg, psi_deg : (N,) RELION's angles.
    origin_x_angst, origin_y_angst : (N,) RELION's origin: the particle lies at the box's centre
        minus it.
    probability : (N,) posterior probability of the class.
    contrast : (N,) scale of the particle's signal against its volume, 1 on average.
    log_evidence : (N,) log-likelihood ratio of the volumes against an empty image.
    half : (N,) int8 half set, 0 or 1.
    """

    class_index: np.ndarray
    rot_deg: np.ndarray
    tilt_deg: np.ndarray
    psi_deg: np.ndarray
    origin_x_angst: np.ndarray
    origin_y_angst: np.ndarray
    probability: np.ndarray
    contrast: np.ndarray
    log_evidence: np.ndarray
    half: np.ndarray

    @classmethod
    def empty(cls, half: np.ndarray) -> "VolumePoses":
        """No class, no pose."""
        zero = [np.zeros(len(half), np.float32) for _ in range(8)]
        poses = cls(np.full(len(half), -1, np.int32), *zero, np.asarray(half, np.int8))
        poses.contrast[:] = 1.0
        return poses

    def __len__(self) -> int:
        return len(self.class_index)


@dataclass(frozen=True)
class VolumeResult:
    """One volume.

    Parameters
    ----------
    volume : (n, n, n) float32 in the box and at the pixel size of the particles, (z, y, x), centre
        at n // 2, filtered by its signal-to-noise, zero outside the sphere.
    share : fraction of the particles' posterior weight.
    population : particles whose best class it is.
    fsc, frequency_per_angst : (S,) Fourier shell correlation of its half sets.
    resolution_angst : where that falls below 0.143, or, in small shells, below what noise could
        reach; inf where it never exceeds it. Both halves were aligned to the same volume: it errs
        on the fine side.
    """

    volume: np.ndarray
    share: float
    population: int
    fsc: np.ndarray
    frequency_per_angst: np.ndarray
    resolution_angst: float


@dataclass(frozen=True)
class Refined:
    """A refined volume.

    Parameters
    ----------
    volume : (n, n, n) float32 of all particles, filtered by its signal-to-noise, zero outside the
        sphere.
    halves : (2, n, n, n) float32 unfiltered volumes of the half sets, which were aligned to volumes
        of their own beyond the low-pass; not masked but for the circle of the images.
    poses : of the particles.
    fsc, frequency_per_angst : (S,) correlation of the halves under the sphere, without correction
        for it.
    resolution_angst : where that falls below 0.143, or, in small shells, below what noise could
        reach; inf where it starts below, or where the particles do not show the volume.
    """

    volume: np.ndarray
    halves: np.ndarray
    poses: VolumePoses
    fsc: np.ndarray
    frequency_per_angst: np.ndarray
    resolution_angst: float


@dataclass(frozen=True)
class Classified3D:
    """Particles sorted among volumes.

    Parameters
    ----------
    volumes : in the order of the references.
    poses : of the particles; those that show nothing and the outliers are in class K.
    empty_share : fraction of the posterior weight of the others that is on showing nothing.
    outlier : (N,) bool, particles that show something, but none of the volumes.
    residual_sigma : (N,) what the best pose leaves unexplained at low frequency, in standard
        deviations of all particles, 0 for a typical one.
    """

    volumes: list[VolumeResult]
    poses: VolumePoses
    empty_share: float
    outlier: np.ndarray
    residual_sigma: np.ndarray
