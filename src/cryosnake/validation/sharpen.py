"""Sharpening of the final map: the B-factor of its Guinier plot, and weighting by the FSC.

Rosenthal and Henderson 2003 (J Mol Biol 333): amplitudes beyond 10 A fall as exp(-B / (4 d^2));
the weight sqrt(2 FSC / (1 + FSC)) is the expected correlation of the full map with the truth.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from cryosnake.validation.fsc import FscCurves
from cryosnake.validation.shells import check_maps, inverse, low_pass_curve, shells, transform

_LOW_RESOLUTION_ANGST = 10.0  # below, the molecule's shape rules the amplitudes, not its decay
_MIN_SHELLS = 4


@dataclass(frozen=True)
class GuinierFit:
    """A line through ln(amplitude) against 1/d^2.

    Attributes
    ----------
    b_factor_angst2 : decay of the amplitudes, exp(-B / (4 d^2)): positive for a map that has to be
        sharpened, by -B.
    uncertainty_angst2 : its standard error.
    correlation : of the points with the line, -1 for a perfect decay.
    low_angst, high_angst : the range that was fitted.
    """

    b_factor_angst2: float
    uncertainty_angst2: float
    correlation: float
    low_angst: float
    high_angst: float


def fsc_weight(curve: np.ndarray) -> np.ndarray:
    """Expected correlation of the full map with the truth, from that of its halves; 0 where that
    is negative."""
    positive = np.clip(curve, 0.0, 1.0)
    return np.sqrt(2.0 * positive / (1.0 + positive))


def guinier_points(volume: np.ndarray, pixel_size_angst: float) -> tuple[np.ndarray, np.ndarray]:
    """1/d^2 in 1/angstrom^2 and ln of the mean amplitude of each shell (n // 2 + 1,)."""
    where = shells(check_maps(volume))
    amplitude = np.abs(transform(volume))
    mean = where.sums(amplitude) / where.sums(np.ones_like(amplitude))
    with np.errstate(divide="ignore"):
        return where.frequencies_per_angst(pixel_size_angst) ** 2, np.log(mean)


def guinier_fit(volume: np.ndarray, curves: FscCurves) -> GuinierFit | None:
    """B-factor of an unsharpened map (the mean of its halves), fitted between 10 A and the
    resolution on amplitudes weighted by the FSC; None where that range is shorter than 4 shells,
    as in every map that does not reach well beyond 10 A."""
    squared, log_amplitude = guinier_points(volume, curves.pixel_size_angst)
    with np.errstate(divide="ignore"):
        log_amplitude = log_amplitude + np.log(fsc_weight(curves.corrected))
    chosen = (squared >= _LOW_RESOLUTION_ANGST**-2) & (squared <= curves.resolution_angst**-2)
    chosen &= np.isfinite(log_amplitude)
    if chosen.sum() < _MIN_SHELLS:
        return None
    line = stats.linregress(squared[chosen], log_amplitude[chosen])
    return GuinierFit(
        b_factor_angst2=-4.0 * float(line.slope),
        uncertainty_angst2=4.0 * float(line.stderr),
        correlation=float(line.rvalue),
        low_angst=_LOW_RESOLUTION_ANGST,
        high_angst=curves.resolution_angst,
    )


def sharpened(
    half1: np.ndarray, half2: np.ndarray, curves: FscCurves, b_factor_angst2: float
) -> np.ndarray:
    """The mean of the half maps, weighted by their FSC, times exp(B / (4 d^2)), and low-passed at
    the resolution with a raised cosine of two shells.

    `b_factor_angst2` is positive, as `guinier_fit` gives it; 0 only weights and low-passes.
    """
    n = check_maps(half1, half2)
    squared = shells(n).frequencies_per_angst(curves.pixel_size_angst) ** 2
    cut = n * curves.pixel_size_angst / curves.resolution_angst
    curve = fsc_weight(curves.corrected) * np.exp(0.25 * b_factor_angst2 * squared)
    curve *= low_pass_curve(n, cut, 2.0)
    mean = transform(half1) + transform(half2)
    return inverse(0.5 * mean * shells(n).spread(curve), n)
