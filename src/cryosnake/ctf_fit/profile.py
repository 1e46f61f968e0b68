"""The radial profile of an astigmatic spectrum, and how far the rings follow the model."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.ctf_fit.search import Candidate, Optics, ring_phase_rad

CORRELATION_THRESHOLD = 0.5
"""The fit ends where data and model correlate less than this (Rohou and Grigorieff 2015)."""

_MIN_HALF_WINDOW_BINS = 9
_WINDOW_RINGS = 1.5
_START_ANGST = 10.0


@dataclass(frozen=True)
class Profile:
    """The spectrum along the direction of mean defocus.

    Attributes
    ----------
    frequency_per_angst : (K,).
    data : (K,) log power, averaged along lines of equal phase, background removed and scaled to
        the model's height.
    model : (K,) CTF^2 of the mean defocus.
    correlation : (K,) correlation of data and model in a sliding window.
    """

    frequency_per_angst: np.ndarray
    data: np.ndarray
    model: np.ndarray
    correlation: np.ndarray


def local_defocus_angst(theta_rad: torch.Tensor, fit: Candidate) -> torch.Tensor:
    """Defocus along an azimuth (Rohou and Grigorieff 2015, equation 5)."""
    return fit.defocus_angst + fit.half_astigmatism_angst * torch.cos(
        2.0 * (theta_rad - math.radians(fit.angle_deg))
    )


def equiphase_frequency(
    k_per_angst: torch.Tensor,
    local_angst: torch.Tensor,
    mean_angst: float | torch.Tensor,
    optics: Optics,
) -> torch.Tensor:
    """The frequency at which the mean defocus has the phase that a pixel has at its own.

    As Zhang (2016, J Struct Biol 193): solves z s - w^2 Cs s^2 / 2 = q for s = k^2, with q
    the pixel's aberration divided by pi and the wavelength. Where the mean defocus never reaches
    that phase (far beyond the turning point of Cs) the pixel's own frequency is kept.
    """
    curvature = 0.5 * optics.wavelength_angst**2 * optics.cs_mm * 1e7
    squared = k_per_angst**2
    aim = squared * (local_angst - curvature * squared)
    if curvature == 0.0:
        found = aim / mean_angst
    else:
        inner = mean_angst**2 - 4.0 * curvature * aim
        found = 2.0 * aim / (mean_angst + inner.clamp_min(0.0).sqrt())
        found = torch.where(inner > 0, found, squared)
    return found.clamp_min(0.0).sqrt()


def binned_means(values, positions, weights, step: float, first: int, bins: int):
    """Weighted means of values in bins of `step` that start at `first * step`, and the weights."""
    index = (positions / step).long() - first
    inside = (index >= 0) & (index < bins)
    index = index[inside]
    weight = torch.bincount(index, weights=weights[inside], minlength=bins)
    total = torch.bincount(index, weights=(values * weights)[inside], minlength=bins)
    return total / weight.clamp_min(1e-12), weight


def profile(
    log_power: torch.Tensor,
    k_per_angst: torch.Tensor,
    theta_rad: torch.Tensor,
    fit: Candidate,
    optics: Optics,
    step_per_angst: float,
) -> Profile:
    """Average the log spectrum along lines of equal phase and hold it against the model.

    Parameters
    ----------
    log_power, k_per_angst, theta_rad : (N,) pixels of the averaged spectrum.
    """
    position = equiphase_frequency(
        k_per_angst, local_defocus_angst(theta_rad, fit), fit.defocus_angst, optics
    )
    first = int(float(k_per_angst.min()) / step_per_angst)
    bins = int(float(k_per_angst.max()) / step_per_angst) - first + 1
    weights = torch.ones_like(log_power)
    mean, count = binned_means(log_power, position, weights, step_per_angst, first, bins)
    k = (first + 0.5 + torch.arange(bins, dtype=torch.float64, device=mean.device)) * step_per_angst
    filled = (count > 0).cpu().numpy()
    k, mean = k.cpu().numpy()[filled], mean.cpu().numpy()[filled]
    phase = ring_phase_rad(
        torch.from_numpy(k),
        torch.tensor(fit.defocus_angst),
        optics,
        math.radians(fit.phase_shift_deg),
    ).numpy()
    model = 0.5 * (1.0 - np.cos(phase))
    correlation, flat = sliding_correlation(mean, model, phase)
    return Profile(k, flat, model, correlation)


def sliding_correlation(
    data: np.ndarray, model: np.ndarray, phase_rad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of data and model around each bin, and the data without their background.

    The window holds a ring and a half to each side, and at least nine bins. A parabola is taken
    out of data and model in each window, so that no background has to be known. What the parabola
    took out at the window's centre is the background of that bin; the rest is scaled to the
    model's standard deviation in the window.
    """
    size = len(data)
    ring = 2.0 * math.pi * _WINDOW_RINGS
    correlation = np.zeros(size)
    flat = np.full(size, 0.5)
    turns = np.abs(np.diff(phase_rad, append=2 * phase_rad[-1] - phase_rad[-2]))
    half = np.ceil(np.clip(ring / np.maximum(turns, 1e-6), _MIN_HALF_WINDOW_BINS, size // 3))
    for i in range(size):
        low = max(0, i - int(half[i]))
        high = min(size, i + int(half[i]) + 1)
        x = np.linspace(-1.0, 1.0, high - low)
        basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, x**2], axis=1))
        d = data[low:high] - basis @ (basis.T @ data[low:high])
        m = model[low:high] - basis @ (basis.T @ model[low:high])
        power = math.sqrt(float(d @ d) * float(m @ m))
        if power > 0:
            correlation[i] = float(d @ m) / power
            # brought to the model's height, plus the model's own smooth part
            shown = d[i - low] * math.sqrt(float(m @ m) / float(d @ d))
            flat[i] = shown + model[i] - m[i - low]
    return correlation, flat


def fit_resolution_angst(
    frequency_per_angst: np.ndarray,
    correlation: np.ndarray,
    resolution_low_angst: float,
) -> float:
    """The resolution at which the sliding correlation falls below the threshold for good.

    The walk goes outwards from the first window that reaches the threshold, which must lie at
    `_START_ANGST` or coarser: rings that follow the model only far out are chance. A dip that is
    narrower than a window (the mean over the next nine bins recovers) does not end it. Where no
    window reaches the threshold in time, `resolution_low_angst` is returned.
    """
    good = (correlation >= CORRELATION_THRESHOLD) & (frequency_per_angst <= 1.0 / _START_ANGST)
    if not good.any():
        return float(resolution_low_angst)
    for i in range(int(np.argmax(good)) + 1, len(correlation)):
        ahead = correlation[i : i + _MIN_HALF_WINDOW_BINS].mean()
        if correlation[i] < CORRELATION_THRESHOLD and ahead < CORRELATION_THRESHOLD:
            c0, c1 = correlation[i - 1], correlation[i]
            part = (c0 - CORRELATION_THRESHOLD) / (c0 - c1) if c0 > c1 else 0.0
            part = min(max(part, 0.0), 1.0)
            k = frequency_per_angst[i - 1] + part * (
                frequency_per_angst[i] - frequency_per_angst[i - 1]
            )
            return float(1.0 / k)
    return float(1.0 / frequency_per_angst[-1])
