"""Forecast: how many particles, and hours, a better resolution would take.

Rosenthal and Henderson 2003 (J Mol Biol 333): ln N = a + (B / 2) / d^2 for N particles and a
resolution of d angstrom, as long as nothing but noise and a Gaussian decay limits it.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cryosnake.errors import BadInputError

_LEAST_ERROR = 0.03  # of a resolution: no curve is read better
_LEVEL = 0.68  # of the intervals that are given
_COARSE_ANGST = 15.0  # below, amplitudes follow the molecule's shape, not a decay
_FAR = 10.0  # a forecast beyond this many times the particles at hand is extrapolated


@dataclass(frozen=True)
class Fit:
    """The line 1/d^2 = gain ln N + offset, fitted so since N is exact and d scatters.

    Attributes
    ----------
    gain_per_angst2, offset_per_angst2 : of the line; B = 2 / gain.
    scatter_per_angst2 : standard deviation of 1/d^2 about it, from the points but no less than 3 %
        of a resolution: three points may lie on a line by chance.
    particles : (P,) that were fitted, resolution_angst : (P,) theirs.
    significance : probability that the gain is above zero, one-sided t-test; nan with two points.
    """

    gain_per_angst2: float
    offset_per_angst2: float
    scatter_per_angst2: float
    particles: np.ndarray
    resolution_angst: np.ndarray
    significance: float

    @property
    def freedom(self) -> int:
        """Number of points less the two of the line; with 0 there is no uncertainty."""
        return len(self.particles) - 2

    @property
    def b_factor_angst2(self) -> float:
        """Infinite where more particles bring nothing."""
        return 2.0 / self.gain_per_angst2 if self.gain_per_angst2 > 0 else math.inf

    def log_particles(self, resolution_angst: float) -> tuple[float, float]:
        """ln of the particles for a resolution, and its standard error: that of the line and of a
        new point about it. The gain has to be above zero."""
        value = (resolution_angst**-2 - self.offset_per_angst2) / self.gain_per_angst2
        logs = np.log(self.particles)
        away = (value - logs.mean()) ** 2 / ((logs - logs.mean()) ** 2).sum()
        spread = math.sqrt(1.0 + 1.0 / len(logs) + away)
        return value, self.scatter_per_angst2 * spread / self.gain_per_angst2

    def resolution_at(self, particles: float) -> float:
        """Resolution in angstrom that a number of particles should give; infinite where none."""
        x = self.gain_per_angst2 * math.log(particles) + self.offset_per_angst2
        return 1.0 / math.sqrt(x) if x > 0 else math.inf


@dataclass(frozen=True)
class Forecast:
    """What a target would take.

    Attributes
    ----------
    verdict : `reached`, `forecast`, `unsure` or `out of reach`.
    particles, low, high : expected total and its 68 % interval; nan where there is none.
    hours, hours_low, hours_high : for what is missing at the given rate; nan without one.
    evidence : a sentence, with the reason where it is `unsure`.
    """

    verdict: str
    target_angst: float
    particles: float
    low: float
    high: float
    hours: float
    hours_low: float
    hours_high: float
    evidence: str


def fit_resolution(particles, resolution_angst) -> Fit:
    """Fit the line to resolutions (P,) at numbers of particles (P,), P at least 2.

    Points coarser than 15 A are left out where three finer ones remain.

    Raises
    ------
    BadInputError : fewer than two different numbers of particles, or values not above 0.
    """
    count, found = np.asarray(particles, float), np.asarray(resolution_angst, float)
    good = bool((count > 0).all() and (found > 0).all() and np.isfinite(found).all())
    if count.shape != found.shape or len(np.unique(count)) < 2 or not good:
        raise BadInputError(
            None,
            f"particles {count.tolist()} with resolutions {found.tolist()}",
            "finite resolutions at two or more numbers of particles",
        )
    fine = found <= _COARSE_ANGST
    if len(np.unique(count[fine])) >= 3:
        count, found = count[fine], found[fine]
    logs, x = np.log(count), found**-2.0
    gain, offset = np.polyfit(logs, x, 1)
    freedom = len(count) - 2
    observed = math.sqrt(((x - gain * logs - offset) ** 2).sum() / freedom) if freedom else 0.0
    scatter = max(observed, 2.0 * _LEAST_ERROR * float(x.mean()))
    error = scatter / math.sqrt(((logs - logs.mean()) ** 2).sum())
    significance = float(stats.t.cdf(gain / error, freedom)) if freedom else math.nan
    return Fit(float(gain), float(offset), scatter, count, found, significance)


def forecast(
    fit: Fit,
    target_angst: float,
    *,
    pixel_size_angst: float,
    particles_per_hour: float | None = None,
) -> Forecast:
    """What `target_angst` would take, on top of the largest number of particles that was fitted.

    It is `unsure` where the line rests on fewer than three points, where the resolution does not
    clearly improve with particles (95 %), where points coarser than 15 A had to be used, or where
    the forecast is more than ten times the particles at hand; `out of reach` beyond two pixels.
    """
    have = float(fit.particles.max())
    best = float(fit.resolution_angst[fit.particles.argmax()])
    expected, low, high = math.nan, math.nan, math.nan
    if target_angst < 2.0 * pixel_size_angst:
        verdict, why = "out of reach", f"{target_angst:.2f} A is beyond two pixels"
    elif best <= target_angst:
        verdict, why = "reached", f"{have:.0f} particles gave {best:.2f} A"
    elif fit.gain_per_angst2 <= 0:
        verdict, why = "unsure", "the resolution does not improve with particles"
    else:
        value, error = fit.log_particles(target_angst)
        expected = math.exp(min(value, 700.0))
        if fit.freedom:
            spread = stats.t.ppf(0.5 + _LEVEL / 2, fit.freedom) * error
            low, high = (math.exp(min(value + side * spread, 700.0)) for side in (-1.0, 1.0))
        verdict, why = _judged(fit, expected / have)
    missing = np.array([expected, low, high]) - have
    rate = math.nan if particles_per_hour is None else particles_per_hour
    hours = (np.maximum(missing, 0.0) / rate).tolist()
    return Forecast(verdict, target_angst, expected, low, high, *hours, evidence=why)


def _judged(fit: Fit, times: float) -> tuple[str, str]:
    text = f"B = {fit.b_factor_angst2:.0f} A^2 from {len(fit.particles)} points; {times:.1f} times "
    text += "the particles at hand"
    if fit.freedom < 1:
        return "unsure", text + "; two points give no uncertainty"
    if fit.significance < 0.95:
        return "unsure", text + f"; the trend is only {100 * fit.significance:.0f} % sure"
    if fit.resolution_angst.max() > _COARSE_ANGST:
        return "unsure", text + f"; points coarser than {_COARSE_ANGST:.0f} A do not foretell"
    if times > _FAR:
        return "unsure", text + ": too far from what was measured"
    return "forecast", text


def in_words(value: float) -> str:
    """A number of particles with two digits that count."""
    if value > 1e9:
        return "over a billion"
    digits = max(0, len(str(round(value))) - 2)
    return f"{round(value, -digits):,.0f}"
