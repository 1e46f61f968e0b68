"""How long movies wait, from their arrival to their row: shared by the session and its report."""

import numpy as np
import pandas as pd


def arrived_s(movies: pd.DataFrame, first_s: float | None = None) -> np.ndarray:
    """(N,) Unix times at which movies were there to be processed; NaN where not known.

    That is when the file last changed, but not before the session took in its first movie: data
    that lay there long before have waited for nobody.

    Parameters
    ----------
    movies : rows with `csnFileChanged_s` and `csnArrival_s`.
    first_s : when the session took in its first movie; None: the first of these rows.
    """
    changed_s = _numbers(movies, "csnFileChanged_s")
    taken_s = _numbers(movies, "csnArrival_s")
    if first_s is None:
        known = taken_s[np.isfinite(taken_s)]
        first_s = known.min() if len(known) else np.nan
    changed_s = np.where(np.isfinite(changed_s), changed_s, taken_s)  # of an earlier version
    # a clock ahead of ours must not make a movie arrive after it was taken in
    return np.minimum(np.maximum(changed_s, first_s), np.maximum(taken_s, first_s))


def waits_s(movies: pd.DataFrame, first_s: float | None = None) -> np.ndarray:
    """(N,) seconds from arrival to the finished row; NaN where not known.

    Parameters
    ----------
    movies, first_s : as for `arrived_s`; rows with `csnProcessed_s`, too.
    """
    return np.maximum(0.0, _numbers(movies, "csnProcessed_s") - arrived_s(movies, first_s))


def waiting_curve(movies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Unix times (M,), in order, and how many movies had arrived by then and were not processed
    (M,). Movies without times are left out."""
    came, went = arrived_s(movies), _numbers(movies, "csnProcessed_s")
    known = np.isfinite(came) & np.isfinite(went)
    came, went = np.sort(came[known]), np.sort(went[known])
    times = np.unique(np.concatenate([came, went]))
    waiting = np.searchsorted(came, times, side="right") - np.searchsorted(
        went, times, side="right"
    )
    return times, waiting


def in_words(seconds: float) -> str:
    """A wait, short: `40 s`, `5 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    values = table.get(column)
    if values is None:
        return np.full(len(table), np.nan)
    return pd.to_numeric(values, errors="coerce").to_numpy(float)
