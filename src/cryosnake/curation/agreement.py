"""How the filters agree with each other, so that an operator can see which of them are redundant.

Two filters are compared over the movies on which both were computed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.curation.verdict import FILTERS, FLAG_COLUMNS


@dataclass(frozen=True)
class Agreement:
    """Square tables, one row and one column a filter.

    Parameters
    ----------
    movies : number of movies on which both filters were computed.
    discrepancy : fraction of those on which the two differ.
    jaccard : movies rejected by both over movies rejected by either; NaN where neither rejects.
    correlation : Pearson correlation of the two flags (the phi coefficient); NaN where one of
        them never changes.
    """

    movies: pd.DataFrame
    discrepancy: pd.DataFrame
    jaccard: pd.DataFrame
    correlation: pd.DataFrame


def agreement(table: pd.DataFrame) -> Agreement:
    """Compare all filters of a table of movies, pair by pair.

    Parameters
    ----------
    table : one row a movie, with the flag columns (1 pass, 0 fail, -1 not computed). Filters
        whose column is absent or never computed are left out.
    """
    names = [
        name
        for name in FILTERS
        if FLAG_COLUMNS[name] in table and (table[FLAG_COLUMNS[name]] >= 0).any()
    ]
    flags = (
        np.stack([table[FLAG_COLUMNS[name]].to_numpy(np.float64) for name in names])
        if names
        else np.empty((0, len(table)))
    )
    known = (flags >= 0).astype(np.float64)
    fails = (flags == 0).astype(np.float64)
    movies = known @ known.T
    both = fails @ fails.T
    rejected = fails @ known.T  # [a, b]: rejected by a, where b is known too
    either = rejected + rejected.T - both
    with np.errstate(divide="ignore", invalid="ignore"):
        discrepancy = (either - both) / movies
        jaccard = both / either
        variance = rejected * (movies - rejected)
        correlation = (movies * both - rejected * rejected.T) / np.sqrt(variance * variance.T)

    def square(values: np.ndarray) -> pd.DataFrame:
        finite = np.where(np.isfinite(values), values, np.nan)
        return pd.DataFrame(finite, index=names, columns=names)

    return Agreement(
        movies=pd.DataFrame(movies.astype(int), index=names, columns=names),
        discrepancy=square(discrepancy),
        jaccard=square(jaccard),
        correlation=square(correlation),
    )
