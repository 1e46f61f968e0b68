"""The figures of picking: each a pure function of what was read that gives SVG text."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryosnake.report.picking_rows import Curve, Measured, title_of
from cryosnake.report.plots import Metric, along_session, dots, limits, running_median
from cryosnake.report.svg import (
    ACCEPTED,
    GRID,
    INK,
    OTHER,
    REJECTED,
    SOFT,
    as_svg,
    no_data,
    styled,
    threshold_line,
)

_LINES = (ACCEPTED, REJECTED, "#2fa37c", "#c678b4", "#e0a419", "#8b6fd1")
_MOST_SUBSETS = 15


def size_figure(estimates: list[Measured]) -> str:
    """The diameter by each method, with its uncertainty and its values on single micrographs.

    Parameters
    ----------
    estimates : the last one is the combined estimate, drawn as a band through all rows.
    """
    with styled():
        figure = Figure(figsize=(9.6, 0.62 + 0.4 * len(estimates)), layout="constrained")
        axes = figure.add_subplot()
        combined = estimates[-1]
        half = combined.uncertainty_angst or 0.0
        axes.axvspan(
            combined.diameter_angst - half, combined.diameter_angst + half, color=GRID, lw=0
        )
        axes.axvline(combined.diameter_angst, color=SOFT, linewidth=0.8)
        for row, estimate in enumerate(estimates):
            last = estimate is combined
            colour = INK if last else ACCEPTED
            values = np.array(estimate.values_angst)
            axes.plot(
                values, np.full(len(values), row + 0.24), "o", color=OTHER, markersize=4.5, mew=0
            )
            axes.errorbar(
                estimate.diameter_angst,
                row,
                xerr=estimate.uncertainty_angst,
                fmt="D" if last else "o",
                color=colour,
                markersize=5.5,
                capsize=3,
                zorder=4,
            )
        axes.set_yticks(range(len(estimates)), [e.title for e in estimates])
        axes.set(ylim=(len(estimates) - 0.4, -0.6), xlabel="diameter (Å)")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
        return as_svg(figure, "size", "Diameter of the particle by each method")


def agreement_figure(subsets: dict[tuple[str, ...], int], pickers: dict[str, int]) -> str:
    """Who found what, as an UpSet plot (Lex et al. 2014, IEEE TVCG 20, 1983).

    Parameters
    ----------
    subsets : particles found by exactly these pickers.
    pickers : picks of each picker.
    """
    shown = sorted(subsets.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SUBSETS]
    names = sorted(pickers, key=lambda name: (-pickers[name], name))
    rows, columns = np.arange(len(names)), np.arange(len(shown))
    with styled():
        # placed by hand, in inches: shared axes in a constrained layout differ from run to run
        label = min(3.0, 0.2 + 0.075 * max(len(title_of(name)) for name in names))
        low, gap, bar = 0.45, 0.1, 0.26 * len(names)
        left, width = label + 1.1 + 0.85, 0.75 * max(4, len(shown))
        width = min(width, 9.5 - left)
        height = low + bar + gap + 1.5
        figure = Figure(figsize=(9.6, height))

        def place(x: float, y: float, w: float, h: float, **shared: Axes) -> Axes:
            return figure.add_axes((x / 9.6, y / height, w / 9.6, h / height), **shared)

        top = place(left, low + bar + gap, width, 1.45)
        number = [count for _, count in shown]
        # what several found together is what the consensus is made of
        colours = [ACCEPTED if len(who) > 1 else OTHER for who, _ in shown]
        top.bar(columns, number, width=0.62, color=colours)
        for column, count in zip(columns, number, strict=True):
            top.annotate(
                f"{count:,}",
                (column, count),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        top.set(xlim=(-0.6, max(4, len(shown)) - 0.4), ylabel="found by exactly these")
        top.set_ylim(0, 1.15 * max(number))
        top.set_xticks([])
        top.grid(visible=False, axis="x")
        top.spines["bottom"].set_visible(False)
        matrix = place(left, low, width, bar, sharex=top)
        for row, name in enumerate(names):
            has = np.array([name in who for who, _ in shown])
            matrix.plot(columns[~has], np.full((~has).sum(), row), "o", color=GRID, ms=7, mew=0)
            matrix.plot(columns[has], np.full(has.sum(), row), "o", color=INK, ms=7, mew=0)
        for column, (who, _) in zip(columns, shown, strict=True):
            places = [names.index(name) for name in who]
            matrix.plot([column] * 2, [min(places), max(places)], color=INK, linewidth=1.8)
        matrix.set_ylim(len(names) - 0.5, -0.5)
        _bare(matrix)
        totals = place(label, low, 1.1, bar, sharey=matrix)
        totals.barh(rows, [pickers[name] for name in names], height=0.55, color=ACCEPTED)
        totals.invert_xaxis()
        totals.set_yticks(rows, [title_of(name) for name in names])
        totals.tick_params(axis="y", length=0)
        totals.locator_params(axis="x", nbins=2)
        totals.set_xlabel("picks")
        totals.grid(visible=False)
        totals.spines["left"].set_visible(False)
        return as_svg(figure, "pickers", "Particles found by each combination of pickers")


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def curves_figure(panels: list[tuple[str, str, list[Curve], float | None]]) -> str:
    """Curves of the training.

    Parameters
    ----------
    panels : title, title of the x-axis, curves, and where a dashed line stands (None: nowhere).
    """
    with styled():
        figure = Figure(figsize=(9.6, 2.5), layout="constrained")
        for axes, (title, along, curves, line) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            axes.set_title(title)
            axes.set_xlabel(along)
            if not curves:
                no_data(axes)
                continue
            for colour, curve in zip(cycle(_LINES), curves, strict=False):
                few = len(curve.x) < 40
                axes.plot(
                    curve.x,
                    curve.y,
                    marker="o" if few else None,
                    markersize=3,
                    color=colour,
                    linewidth=1.5,
                    label=curve.title,
                )
            if along in ("epoch", "round"):
                axes.locator_params(axis="x", integer=True)
            if line is not None:
                threshold_line(axes, line, vertical=True)
            axes.legend(loc="best", handlelength=1.2)
        return as_svg(figure, "training", "Curves of the training")


def yield_figure(counts: pd.DataFrame, low: np.ndarray, threshold: float) -> str:
    """Particles on each micrograph over the session, and their distribution beside it.

    Parameters
    ----------
    counts : as `picking_files.read_picking` gives them, one row a micrograph.
    low : (rows,) bool, the micrographs of regions with an alert.
    threshold : particles a micrograph below which the median of a region is low.
    """
    with styled():
        figure = Figure(figsize=(9.6, 2.7), layout="constrained")
        axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(5, 1))
        x, along = along_session(counts)
        y = counts["picks"].to_numpy(float)
        _, high = limits(y, Metric("picks", "", thresholds=(threshold,)))
        axes.set(xlabel=along, ylabel="particles a micrograph", ylim=(0, max(high, 1.0)))
        known = np.isfinite(x)
        dots(axes, x, y, known & ~low, ACCEPTED, "o")
        dots(axes, x, y, known & low, REJECTED, "X")
        running_median(axes, x[known], y[known])
        if low.any():
            axes.plot([], [], "o", color=ACCEPTED, markersize=4, label="micrograph")
            axes.plot([], [], "X", color=REJECTED, markersize=5, label="in a region of low yield")
            axes.plot([], [], "-", color=INK, linewidth=1.4, label="running median")
            figure.legend(loc="outside upper left", ncols=3)
        bins = np.linspace(0, max(high, 1.0), 26)
        shown = np.clip(y, 0, bins[-1])
        beside.hist(
            [shown[~low], shown[low]],
            bins,
            stacked=True,
            orientation="horizontal",
            color=[ACCEPTED, REJECTED],
            linewidth=0,
        )
        beside.set_xlabel("micrographs")
        beside.grid(visible=False, axis="y")
        beside.locator_params(axis="x", integer=True, nbins=3)
        for panel in (axes, beside):
            threshold_line(panel, threshold)
        return as_svg(figure, "yield", "Particles a micrograph over the session")
