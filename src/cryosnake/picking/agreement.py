"""Who found what: how the picks of several pickers overlap. Numbers for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from cryosnake.picking.cliques import agreement_weights, find_cliques, partition
from cryosnake.picking.reliability import tidied_picks


@dataclass(frozen=True)
class Agreement:
    """How picks overlap.

    Attributes
    ----------
    subsets : one row a set of pickers that found the same locations and no other picker did:
        `found_by` (such as "log+network"), `locations`, `share` of all. Most pickers first.
    jaccard : square, one row and column a picker: locations found by both over found by either;
        NaN where neither found any.
    """

    subsets: pd.DataFrame
    jaccard: pd.DataFrame


def agreement(micrographs: Sequence[Mapping[str, pd.DataFrame]], radius_px: float) -> Agreement:
    """Count the locations that each set of pickers found, over all micrographs.

    Parameters
    ----------
    micrographs : of each the table of picks of each picker.
    radius_px : within which two picks are the same particle.
    """
    names = sorted({name for one in micrographs for name in one})
    tidied = [tidied_picks(micrographs, name, radius_px)[0] for name in names]
    found = np.empty((0, len(names)), bool)
    for points in zip(*tidied, strict=True):
        cliques = find_cliques(list(points), radius_px)
        weights = agreement_weights(list(points), cliques, radius_px)
        found = np.concatenate([found, partition(list(points), cliques, weights) >= 0])
    rows = []
    for size in range(len(names), 0, -1):
        for subset in combinations(range(len(names)), size):
            exactly = np.isin(np.arange(len(names)), subset)
            count = int((found == exactly).all(axis=1).sum())
            rows.append(("+".join(names[number] for number in subset), count))
    subsets = pd.DataFrame(rows, columns=["found_by", "locations"])
    subsets["share"] = subsets["locations"] / max(len(found), 1)
    seen = found.astype(float)
    both = seen.T @ seen
    either = np.diag(both)[:, None] + np.diag(both) - both
    with np.errstate(divide="ignore", invalid="ignore"):
        jaccard = np.where(either > 0, both / either, np.nan)
    return Agreement(subsets, pd.DataFrame(jaccard, index=names, columns=names))
