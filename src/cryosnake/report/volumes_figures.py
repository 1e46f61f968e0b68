"""The figures of 3D: each a pure function of what was read that gives SVG text."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from cryosnake.errors import BadInputError
from cryosnake.report.svg import ACCEPTED, INK, OTHER, REJECTED, SOFT, as_svg, styled
from cryosnake.validation.forecast import Fit, fit_resolution
from cryosnake.validation.fsc import THRESHOLD

_FINER = "#2fa37c"
#: Round resolutions for axes in 1/d.
_NICE_ANGST = (100, 50, 40, 30, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5, 1)


def curves_figure(
    curves: pd.DataFrame, known: pd.DataFrame | None, resolution_angst: float | None
) -> str:
    """Fourier shell correlation of the half maps, and against a known map where there is one.

    Parameters
    ----------
    curves : columns of RELION's loop `fsc`; known : `rlnResolution`, `rlnFourierShellCorrelation`.
    resolution_angst : where the corrected curve falls below 0.143; None where it is not claimed.
    """
    with styled():
        figure = Figure(figsize=(6.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("Fourier shell correlation of the half maps")
        frequency = curves["rlnResolution"].to_numpy(float)
        prefix = "rlnFourierShellCorrelation"
        random = f"rlnCorrected{prefix.removeprefix('rln')}PhaseRandomizedMaskedMaps"
        for column, colour, width, name in (
            (f"{prefix}UnmaskedMaps", OTHER, 1.3, "without mask"),
            (f"{prefix}MaskedMaps", ACCEPTED, 1.3, "under the mask"),
            (random, REJECTED, 1.3, "under the mask, phases random"),
            (f"{prefix}Corrected", INK, 2.0, "corrected"),
        ):
            if curves[column].notna().any():
                axes.plot(frequency, curves[column], color=colour, linewidth=width, label=name)
        if known is not None:
            axes.plot(
                known["rlnResolution"],
                known["rlnFourierShellCorrelation"],
                color=_FINER,
                linewidth=1.3,
                linestyle=(0, (5, 2)),
                label="with the known map",
            )
            axes.axhline(0.5, color=SOFT, linewidth=0.8, linestyle=(0, (1, 3)))
        axes.axhline(THRESHOLD, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        last = float(np.nanmax(frequency))
        axes.set(xlim=(0, last), ylim=(-0.08, 1.04), xlabel="resolution (Å)")
        axes.text(0.99 * last, THRESHOLD + 0.02, f"{THRESHOLD}", ha="right", fontsize=8)
        if resolution_angst:
            axes.axvline(1 / resolution_angst, color=INK, linewidth=1.0)
            axes.annotate(
                f"{resolution_angst:.2f} Å",
                (1 / resolution_angst, 0.94),
                xytext=(5, 0),
                textcoords="offset points",
                fontweight="bold",
            )
        _angst_ticks(axes, "x", 0.0, last)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.6)
        return as_svg(figure, "fsc", "Fourier shell correlation of the refined map")


def directions_figure(angst: np.ndarray) -> str:
    """How many directions have which resolution.

    Parameters
    ----------
    angst : (D,) resolution of directions of equal area.
    """
    with styled():
        figure = Figure(figsize=(6.6, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("directions of the map (%)")
        edges = np.linspace(angst.min(), max(angst.max(), angst.min() + 0.1), 21)
        counts = np.histogram(angst, edges)[0]
        axes.bar(
            edges[:-1],
            100 * counts / counts.sum(),
            np.diff(edges) * 0.92,
            align="edge",
            color=ACCEPTED,
        )
        mean = 1.0 / float(np.mean(1.0 / angst))
        axes.axvline(mean, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            f"mean {mean:.1f} Å",
            (mean, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=8,
        )
        axes.set_xlabel("resolution (Å)")
        axes.margins(y=0.18)
        axes.grid(visible=False, axis="x")
        return as_svg(figure, "cones", "Resolution of the refined map by direction")


def forecast_figure(points: list[tuple[float, float]], forecast: dict, target: float | None) -> str:
    """Resolution against particles, with the line through them and what the target would take.

    Parameters
    ----------
    points : (particles, resolution in angstrom), at least two.
    forecast : the object of forecast.json, with `particles`, `low` and `high` as numbers or None.
    target : in angstrom; None where there is none.
    """
    particles, angst = np.array(points, float).T
    fit = _fit(particles, angst)
    ends = [forecast.get(name) for name in ("low", "particles", "high")]
    far = [value for value in ends if value and value < 1e3 * particles.max()]
    with styled():
        figure = Figure(figsize=(6.6, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("resolution against particles")
        axes.set_xscale("log")
        left, right = 0.7 * particles.min(), 1.5 * max([particles.max(), *far])
        squared = [*(angst**-2), *([target**-2] if target else [])]
        bottom, top = 0.75 * min(squared), 1.18 * max(squared)
        if fit is not None:
            line = np.geomspace(left, right, 50)
            height = fit.gain_per_angst2 * np.log(line) + fit.offset_per_angst2
            axes.plot(line, height, color=SOFT, linewidth=1.3, label="fitted line")
        axes.plot(particles, angst**-2, "o", color=ACCEPTED, markersize=6, label="measured")
        for n, found in zip(particles, angst, strict=True):
            axes.annotate(
                f"{found:.1f}",
                (n, found**-2),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        if target:
            axes.axhline(target**-2, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.text(left * 1.03, target**-2, f"target {target:g} Å", va="bottom", fontsize=8)
        if target and len(far) == 3:
            low, middle, high = far
            axes.plot(
                [low, high],
                [target**-2] * 2,
                color=REJECTED,
                linewidth=5,
                alpha=0.45,
                solid_capstyle="butt",
                label="68 % interval",
            )
            axes.plot(middle, target**-2, "D", color=REJECTED, markersize=6, label="expected")
        axes.set(
            xlim=(left, right), ylim=(bottom, top), xlabel="particles", ylabel="resolution (Å)"
        )
        ticks = [m * 10**e for e in range(1, 10) for m in (1, 2, 5)]
        ticks = [tick for tick in ticks if left <= tick <= right]
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        _angst_ticks(axes, "y", bottom, top)
        axes.legend(loc="lower right", handlelength=1.4)
        return as_svg(figure, "forecast", "Resolution against the number of particles")


def _fit(particles: np.ndarray, angst: np.ndarray) -> Fit | None:
    try:
        return fit_resolution(particles, angst)
    except BadInputError:  # all points at one number of particles
        return None


def _angst_ticks(axes: Axes, which: str, low: float, high: float) -> None:
    """Ticks at round resolutions, on an axis of 1/d (x) or 1/d^2 (y), none too near to another."""
    power = -1 if which == "x" else -2
    ticks: list[float] = []
    for angst in _NICE_ANGST:
        place = float(angst) ** power
        room = not ticks or place - ticks[-1] > 0.055 * (high - low)
        if low < place < high and room:
            ticks.append(place)
    names = [f"{tick ** (1 / power):.3g}" for tick in ticks]
    if which == "x":
        axes.set_xticks(ticks, names)
    else:
        axes.set_yticks(ticks, names)
