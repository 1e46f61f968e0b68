"""Exposure weights of frames, and their factors of low rank.

Sources: Grant and Grigorieff 2015 (eLife 4:e06980), equations 3 and 5 (critical exposure) and 9
(weights, normalised by the root of the sum of their squares, which keeps white noise white).
"""

import math

import numpy as np

ELECTRON_REST_KEV = 510.99895
LOWEST_FREQUENCY_PER_ANGST = 1e-4


def critical_exposure_e_per_angst2(frequency_per_angst, voltage_kv: float):
    """Exposure after which the signal at a frequency has dropped to exp(-1/2).

    At 300 kV 0.245 k^-1.665 + 2.81 (Grant and Grigorieff 2015, equation 3), at other voltages
    scaled by (v/c)^2, as the energy lost per electron is inversely proportional to it: 0.80 at
    200 kV, the factor that they measured.

    Parameters
    ----------
    frequency_per_angst : array in 1/angstrom; values below 1e-4 are taken as 1e-4.
    """
    frequency = np.maximum(np.asarray(frequency_per_angst, float), LOWEST_FREQUENCY_PER_ANGST)
    scale = _beta_squared(voltage_kv) / _beta_squared(300.0)
    return scale * (0.245 * frequency**-1.665 + 2.81)


def _beta_squared(voltage_kv: float) -> float:
    return 1.0 - (1.0 + voltage_kv / ELECTRON_REST_KEV) ** -2


def frame_exposures_e_per_angst2(
    frames: int, dose_e_per_angst2_per_frame: float, pre_exposure_e_per_angst2: float = 0.0
) -> np.ndarray:
    """Accumulated exposure at the end of each frame, (F,)."""
    return pre_exposure_e_per_angst2 + dose_e_per_angst2_per_frame * np.arange(1, frames + 1)


def exposure_amplitudes(
    frequency_per_angst: np.ndarray, exposures_e_per_angst2: np.ndarray, voltage_kv: float
) -> np.ndarray:
    """Remaining signal amplitude exp(-N / (2 Nc(k))), as (F, K) (equation 5)."""
    critical = critical_exposure_e_per_angst2(frequency_per_angst, voltage_kv)
    return np.exp(-0.5 * np.asarray(exposures_e_per_angst2, float)[:, None] / critical[None, :])


def normalised_weights(amplitudes: np.ndarray) -> np.ndarray:
    """Weights w_f(k) / sqrt(sum over f of w_f(k)^2) of (F, K) amplitudes (equation 9)."""
    # Scaling each column by its largest value first keeps high exposures from underflowing.
    scaled = amplitudes / amplitudes.max(axis=0, keepdims=True)
    return scaled / np.sqrt((scaled**2).sum(axis=0, keepdims=True))


def low_rank(weights: np.ndarray, tolerance: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Factor (F, K) weights, whose columns have norm 1, as frame factors (F, R) times frequency
    factors (R, K).

    Weights that decay exponentially with exposure are nearly dependent: R is 5 to 7 for any number
    of frames. Summing frames R times in real space and transforming R sums therefore replaces the
    transform of every frame. R is the smallest for which no column's error exceeds `tolerance`.

    Raises
    ------
    ValueError : weights are not finite.
    """
    if not np.isfinite(weights).all():
        raise ValueError("weights are not finite")
    # Singular vectors from the small (F, F) matrix of products: precise to far below `tolerance`.
    _, vectors = np.linalg.eigh(weights @ weights.T)
    vectors = vectors[:, ::-1]
    projections = vectors.T @ weights
    missing = 1.0 - np.cumsum(projections**2, axis=0)
    rank = int(np.argmax((missing.max(axis=1) <= tolerance**2).tolist() + [True])) + 1
    rank = min(rank, len(weights))
    return vectors[:, :rank], projections[:rank]


def radial_frequencies_per_angst(pixel_size_angst: float, count: int = 2048) -> np.ndarray:
    """Frequencies from 0 to the corner of the transform, at which weights are tabulated, (K,)."""
    return np.linspace(0.0, math.sqrt(0.5) / pixel_size_angst, count)
