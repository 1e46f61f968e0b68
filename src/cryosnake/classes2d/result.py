"""What a 2D classification leaves."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ParticlePoses:
    """Of N particles, in the order of the stack.

    Parameters
    ----------
    class_index : (N,) int32 from 0, -1 for images that cannot be used (constant, NaN).
    psi_deg : (N,) RELION's psi, -180 to 180.
    origin_x_angst, origin_y_angst : (N,) RELION's origin: the particle lies at the box's centre
        minus it.
    probability : (N,) posterior probability of the class.
    contrast : (N,) scale of the particle's signal against its class, 1 on average.
    log_evidence : (N,) log-likelihood ratio of the classes against an empty image.
    """

    class_index: np.ndarray
    psi_deg: np.ndarray
    origin_x_angst: np.ndarray
    origin_y_angst: np.ndarray
    probability: np.ndarray
    contrast: np.ndarray
    log_evidence: np.ndarray

    @classmethod
    def empty(cls, number: int) -> "ParticlePoses":
        """No class, no pose."""
        zero = [np.zeros(number, np.float32) for _ in range(6)]
        poses = cls(np.full(number, -1, np.int32), *zero)
        poses.contrast[:] = 1.0
        return poses

    def __len__(self) -> int:
        return len(self.class_index)

    def put(self, chosen: np.ndarray, other: "ParticlePoses") -> None:
        """Overwrite the particles `chosen` with others."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[chosen] = getattr(other, name)


@dataclass(frozen=True)
class ClassAverages:
    """Of K classes.

    Parameters
    ----------
    averages : (K, n, n) float32 in the box of the particles, filtered by their signal-to-noise.
    halves : (2, K, n, n) float32 unfiltered averages of the two halves of the particles.
    population : (K,) number of particles by their best class.
    share : (K,) sum of the posterior probabilities over all, adding up to 1.
    resolution_angst : (K,) where the halves' correlation falls below 0.143; inf where it never
        exceeds it. Both halves were aligned to the same references: it errs on the fine side.
    frc : (K, R) correlation of the halves at frequency_per_angst (R,).
    accuracy_rotation_deg, accuracy_shift_angst : (K,) smallest change of a pose that the average
        particle could tell, with 1 % of errors (Scheres 2012, as in RELION).
    """

    averages: np.ndarray
    halves: np.ndarray
    population: np.ndarray
    share: np.ndarray
    resolution_angst: np.ndarray
    frc: np.ndarray
    frequency_per_angst: np.ndarray
    accuracy_rotation_deg: np.ndarray
    accuracy_shift_angst: np.ndarray

    def __len__(self) -> int:
        return len(self.population)
