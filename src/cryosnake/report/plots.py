"""What the figures along the session share: axes, limits, dots, running medians."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cryosnake.report.svg import INK, RASTER_ABOVE


@dataclass(frozen=True)
class Metric:
    """A column to plot: its title, factor from the column's unit, and thresholds in that unit.

    Values further than `reach` interquartile ranges from the middle half do not stretch the axis.
    """

    column: str
    title: str
    factor: float = 1.0
    thresholds: tuple[float, ...] = ()
    reach: float = 8.0


def along_session(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The axis along the session: time where known, else the number of the movie."""
    hours = table["hours"].to_numpy(float)
    if np.isfinite(hours).any():
        if np.nanmax(hours) < 1.0:
            return 60.0 * hours, "minutes since the first movie"
        return hours, "hours since the first movie"
    return table["number"].to_numpy(float), "movie"


def limits(values: np.ndarray, metric: Metric) -> tuple[float, float]:
    """Limits that a few outliers cannot blow up; a threshold near the data is kept in view."""
    low, first, third, high = np.percentile(values, [0.5, 25, 75, 99.5])
    reach = metric.reach * (third - first)
    if reach > 0:
        low, high = max(low, first - reach), min(high, third + reach)
    spread = max(high - low, 0.1 * abs(high), 1e-3)
    for threshold in metric.thresholds:
        if low - 0.6 * spread < threshold < high + 0.6 * spread:
            low, high = min(low, threshold), max(high, threshold)
    middle, half = (low + high) / 2, 0.58 * max(high - low, spread)
    return middle - half, middle + half


def dots(
    axes: Axes, x: np.ndarray, y: np.ndarray, mask: np.ndarray, colour: str, marker: str
) -> None:
    """Draw the points of the mask; those beyond the y-axis at its edge, very many as a picture."""
    low, high = axes.get_ylim()
    number = int(mask.sum())
    if number == 0:
        return  # an empty artist would confuse the layout
    axes.plot(
        x[mask],
        np.clip(y[mask], low, high),
        marker,
        color=colour,
        markersize=2.0 if number > RASTER_ABOVE else 3.4,
        markeredgewidth=0,
        alpha=0.35 if number > RASTER_ABOVE else 0.75,
        rasterized=number > RASTER_ABOVE,
        clip_on=False,
    )


def running_median(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Draw the running median of y in the order of x; the window is a tenth, at most 101 points."""
    order = np.argsort(x, kind="stable")
    window = max(5, min(101, len(x) // 10))
    median = pd.Series(y[order]).rolling(window, center=True, min_periods=window // 2 + 1).median()
    step = max(1, len(x) // 600)
    shown = np.flatnonzero(median.notna().to_numpy())[::step]
    if len(shown) > 1:
        axes.plot(x[order][shown], median.to_numpy()[shown], color=INK, linewidth=1.4, zorder=4)
