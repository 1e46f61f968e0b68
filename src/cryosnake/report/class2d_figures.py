"""The figures of 2D classification: each a pure function of what was read that gives SVG text."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryosnake.report.class2d_rows import LOW_RATIO, RoundRow, far_below
from cryosnake.report.plots import Metric, dots, limits, running_median
from cryosnake.report.svg import (
    ACCEPTED,
    INK,
    OTHER,
    REJECTED,
    as_svg,
    no_data,
    styled,
    threshold_line,
)

_FINER = "#2fa37c"


def evolution_figure(rounds: list[RoundRow]) -> str:
    """Kept share, resolution and views of each round, the first one at the left."""
    names = [f"{row.particles:,}" for row in rounds]
    places = np.arange(len(rounds))
    with styled():
        figure = Figure(figsize=(9.6, 2.3), layout="constrained")
        kept, angst, views = figure.subplots(1, 3)
        shares = [100 * row.share if row.share is not None else np.nan for row in rounds]
        kept.set_title("particles in kept classes (%)")
        kept.bar(places, shares, width=0.55, color=ACCEPTED)
        kept.set_ylim(0, 115)
        kept.set_yticks(range(0, 101, 25))
        for place, share in zip(places, shares, strict=True):
            if np.isfinite(share):
                _say(kept, place, share, f"{share:.0f}")
        angst.set_title("resolution of kept classes (Å), finer upwards")
        for values, colour, name, offset in (
            ([row.median_angst for row in rounds], ACCEPTED, "median", -13),
            ([row.best_angst for row in rounds], _FINER, "best", 5),
        ):
            values = np.array([np.nan if v is None else v for v in values])
            angst.plot(places, values, "o-", color=colour, markersize=4.5, label=name)
            for place, value in zip(places, values, strict=True):
                if np.isfinite(value):
                    _say(angst, place, value, f"{value:.1f}", offset)
        angst.margins(y=0.28)
        angst.invert_yaxis()
        angst.legend(loc="upper left", ncols=2, handlelength=1.2)
        views.set_title("classes: kept, and effective number of views")
        views.bar(places, [row.classes for row in rounds], width=0.55, color=OTHER, alpha=0.45)
        views.bar(places, [row.kept for row in rounds], width=0.55, color=ACCEPTED)
        effective = [np.nan if row.views is None else row.views for row in rounds]
        views.plot(places, effective, "D-", color=INK, markersize=4.5, linewidth=1.2)
        for place, row in zip(places, rounds, strict=True):
            _say(views, place, row.classes, f"{row.kept} of {row.classes}")
        views.set_ylim(0, 1.2 * max(row.classes for row in rounds))
        for axes in (kept, angst, views):
            axes.set_xticks(places, names)
            axes.set_xlim(-0.6, len(rounds) - 0.4)
            axes.grid(visible=False, axis="x")
            axes.set_xlabel("particles of the round")
        return as_svg(figure, "rounds", "Rounds of 2D classification compared")


def _say(axes: Axes, x: float, y: float, words: str, offset: float = 4) -> None:
    """Words above a point, or below it where the offset (in points) is negative."""
    axes.annotate(
        words, (x, y), xytext=(0, offset), textcoords="offset points", ha="center", fontsize=8
    )


def batches_figure(batches: pd.DataFrame, along: np.ndarray, along_title: str) -> str:
    """Quality of the particles over the session.

    Parameters
    ----------
    batches : rows with `particles`, `good`, `evidence`, `largest_view`, `views` (NaN: unknown).
    along : (rows,) where each stands.
    """
    low = far_below(batches)
    with styled():
        figure = Figure(figsize=(9.6, 4.3), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True).ravel()
        for axes, (column, title, factor) in zip(
            panels,
            (
                ("good", "in kept classes (% of the particles)", 100.0),
                ("evidence", "log evidence of a particle", 1.0),
                ("largest_view", "largest view (% of the particles in kept classes)", 100.0),
                ("views", "effective number of views", 1.0),
            ),
            strict=True,
        ):
            axes.set_title(title)
            values = factor * batches[column].to_numpy(float)
            known = np.isfinite(values) & np.isfinite(along)
            if not known.any():
                no_data(axes)
                continue
            bottom, top = limits(values[known], Metric(column, title))
            ceiling = 100.0 if factor == 100.0 else np.inf
            axes.set_ylim(max(bottom, 0.0) if values[known].min() >= 0 else bottom, top)
            if top > ceiling:
                axes.set_ylim(top=1.005 * ceiling)
            dots(axes, along, values, known & ~low, ACCEPTED, "o")
            dots(axes, along, values, known & low, REJECTED, "X")
            running_median(axes, along[known], values[known])
            if column == "good":
                threshold_line(axes, LOW_RATIO * float(np.median(values[known])))
        for axes in panels[2:]:
            axes.set_xlabel(along_title)
        if low.any():
            panels[0].plot([], [], "o", color=ACCEPTED, markersize=4, label="batch")
            panels[0].plot([], [], "X", color=REJECTED, markersize=5, label="far below the median")
            panels[0].plot([], [], "-", color=INK, linewidth=1.4, label="running median")
            figure.legend(loc="outside upper left", ncols=3)
        return as_svg(figure, "quality", "Quality of the particles over the session")
