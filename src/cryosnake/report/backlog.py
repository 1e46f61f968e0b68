"""Whether the session keeps up: movies waiting over time, and what it would take if it does not."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cryosnake.config.model import Config
from cryosnake.report.status import Finding
from cryosnake.report.svg import ACCEPTED, as_svg, no_data, styled
from cryosnake.waits import arrived_s, in_words, waiting_curve, waits_s

#: The latest movies are compared with as many before them.
_WINDOW = 50
#: A wait is long beyond so many seconds; movies are done too slowly by more than this factor.
_LONG_S, _SLOW = 900.0, 1.05
_MOST_POINTS = 600


def waits_sentence(table: pd.DataFrame) -> str:
    """How long movies waited, in a sentence; empty where times are not known.

    Parameters
    ----------
    table : as `report.table.prepared` gives it.
    """
    waits = waits_s(table)
    waits = waits[np.isfinite(waits)]
    if not len(waits):
        return ""
    latest = waits[-_WINDOW:]
    return (
        f"From its arrival to its row a movie took {in_words(float(np.median(waits)))} (median;"
        f" the longest {in_words(float(waits.max()))}), the latest {len(latest)} took"
        f" {in_words(float(np.median(latest)))}."
    )


def growing_backlog(table: pd.DataFrame, config: Config) -> list[Finding]:
    """A finding where movies wait longer and longer, with what would be enough.

    The time that one job spends on a movie and the pace of arrival are the session's own: as many
    jobs are needed at once as movies arrive in that time.
    """
    waits, came = waits_s(table), arrived_s(table)
    known = np.isfinite(waits) & np.isfinite(came)
    if known.sum() < 2 * _WINDOW:
        return []
    waits, came, rows = waits[known], np.sort(came[known]), table[known]
    now_s, before_s = np.median(waits[-_WINDOW:]), np.median(waits[-2 * _WINDOW : -_WINDOW])
    every_s = _interval_s(came[-2 * _WINDOW :])
    done_s = _interval_s(np.sort(rows["csnProcessed_s"].to_numpy(float)[-2 * _WINDOW :]))
    if now_s < max(_LONG_S, before_s) or every_s is None or done_s is None:
        return []
    if done_s <= _SLOW * every_s:
        return []  # it catches up
    spent = rows[["csnMotion_s", "csnCtf_s", "csnCuration_s"]].sum(axis=1, min_count=1).dropna()
    advice = (
        "The session falls behind. Look whether jobs fail, or wait in the queue for others;"
        " if not, it needs more cores or GPUs."
    )
    if len(spent):
        per_movie_s = float(spent.iloc[-2 * _WINDOW :].median())
        needed = math.ceil(per_movie_s / every_s + 0.1)
        threads = config.compute.threads
        advice = (
            f"A movie takes {per_movie_s:.1f} s in one job, so {needed} such jobs must run at once:"
            f" {needed} GPUs, or {needed * threads} cores ({threads} a job), free of other work."
            " If there are as many, look whether jobs fail, or wait in the queue for others."
        )
    return [
        Finding(
            f"Movies wait longer and longer: {in_words(float(now_s))} by now. One comes every"
            f" {every_s:.1f} s, and one is done every {done_s:.1f} s.",
            advice,
            "problem",
        )
    ]


def _interval_s(times_s: np.ndarray) -> float | None:
    """Mean time between moments, pauses left out; None where they are all the same."""
    gaps = np.diff(times_s)
    if not (gaps > 0).any():
        return None
    usual = np.median(gaps[gaps > 0])
    gaps = gaps[gaps <= 20 * max(usual, gaps.mean())]
    return float(gaps.mean()) or None


def backlog_figure(table: pd.DataFrame) -> str:
    """Movies that had arrived and were not processed, over time."""
    with styled():
        figure = Figure(figsize=(9.6, 1.9), layout="constrained")
        axes = figure.add_subplot()
        times_s, waiting = waiting_curve(table)
        if len(times_s) < 2:
            no_data(axes)
            return as_svg(figure, "backlog", "No times of movies are known")
        since = times_s - times_s[0]
        hours = since[-1] >= 3600
        step = -(-len(since) // _MOST_POINTS)
        # the largest number in each stretch is what counts
        starts = np.arange(0, len(since), step)
        axes.fill_between(
            since[starts] / (3600 if hours else 60),
            np.maximum.reduceat(waiting, starts),
            step="post",
            color=ACCEPTED,
            alpha=0.35,
            linewidth=0.8,
        )
        axes.set(
            xlabel=f"{'hours' if hours else 'minutes'} since the first movie",
            ylabel="movies",
            ylim=(0, None),
        )
        axes.margins(x=0.01)
        axes.locator_params(axis="y", integer=True, nbins=4)
        return as_svg(figure, "backlog", "Movies that wait to be processed, over time")
