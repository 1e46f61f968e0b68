"""One set of picks from those of several pickers.

    reliability = estimate_reliability(all_micrographs, radius_px)
    picks = consensus(one_micrograph, radius_px, reliability=reliability)

See also: `reliability` (what the agreement tells of the pickers), `cliques` (the choice),
`agreement` (who found what).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.picking.cliques import (
    agreement_weights,
    find_cliques,
    partition,
    separate,
    tidy,
)
from cryosnake.picking.detection_model import describe, merging_gain, occupancy
from cryosnake.picking.reliability import Reliability, estimate_reliability

MODES = ("ilp", "k_of_n", "and", "or")
COLUMNS = ["rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", "found_by"]


@dataclass(frozen=True)
class _Candidates:
    """Locations of one micrograph: (L, 2) positions, (L,) probabilities, (L, P) members."""

    positions: np.ndarray
    probabilities: np.ndarray
    members: np.ndarray


def consensus(
    picks: Mapping[str, pd.DataFrame],
    radius_px: float,
    *,
    mode: str = "ilp",
    k: int = 2,
    reliability: Reliability | None = None,
    min_probability: float | None = None,
) -> pd.DataFrame:
    """Combine the picks of several pickers on one micrograph.

    Parameters
    ----------
    picks : the table of each picker: `rlnCoordinateX`, `rlnCoordinateY` in pixels and
        `rlnAutopickFigureOfMerit` (higher is better, on any scale).
    radius_px : within which two picks are the same particle; about 0.4 particle diameters. No two
        picks of the result are closer.
    mode : "ilp" keeps what is probably a particle, given how reliable each picker is; "k_of_n"
        what at least `k` pickers found, "and" what all found (an empty picker included), "or"
        everything.
    k : for "k_of_n".
    reliability : as estimated from many micrographs; from this one alone where None.
    min_probability : for "ilp"; the threshold of the reliability (best expected F1) where None.

    Returns
    -------
    Table, best first: `rlnCoordinateX`, `rlnCoordinateY` (mean of the picks, weighted by how
    precise their pickers are), `rlnAutopickFigureOfMerit` (probability that it is a particle) and
    `found_by` (such as "log+network"). Pickers that failed altogether have no part in "ilp".
    Where one takes part whose reliability is not known (one picker alone, no two that agree, or one
    that failed, in the plain modes), the figure of merit is the share of the pickers that found it.
    """
    if mode not in MODES:
        raise BadInputError(None, f"mode = {mode!r}", f"one of {', '.join(MODES)}")
    if mode == "k_of_n" and not 1 <= k <= max(len(picks), 1):
        raise BadInputError(None, f"k = {k}", f"1 to the number of pickers, {len(picks)}")
    if reliability is None:
        reliability = estimate_reliability([picks], radius_px)
    elif missing := sorted(set(picks) - set(reliability.pickers)):
        raise BadInputError(
            None,
            f"no reliability of the pickers {', '.join(missing)}",
            f"one of {', '.join(reliability.pickers)}",
        )
    names = sorted(picks)
    if mode == "ilp":
        names = [name for name in names if not reliability.pickers[name].failed]
    found = _candidates([picks[name] for name in names], names, radius_px, reliability)
    number = (found.members >= 0).sum(axis=1)
    if mode == "ilp":
        least = reliability.threshold if min_probability is None else min_probability
        wanted = found.probabilities >= least
    else:
        wanted = number >= {"k_of_n": k, "and": len(picks), "or": 1}[mode]
    kept = np.flatnonzero(wanted)
    # a little for agreement settles ties, also where all probabilities are zero
    worth = found.probabilities[kept] + 1e-6 * number[kept]
    kept = kept[separate(found.positions[kept], worth, radius_px)]
    x, y = found.positions[kept].T
    kept = kept[np.lexsort((y, x, -found.probabilities[kept]))]
    return pd.DataFrame(
        {
            "rlnCoordinateX": found.positions[kept, 0],
            "rlnCoordinateY": found.positions[kept, 1],
            "rlnAutopickFigureOfMerit": found.probabilities[kept],
            "found_by": [
                "+".join(name for name, pick in zip(names, row, strict=True) if pick >= 0)
                for row in found.members[kept]
            ],
        },
        columns=COLUMNS,
    )


def _candidates(
    tables: list[pd.DataFrame], names: list[str], radius_px: float, reliability: Reliability
) -> _Candidates:
    """Every pick in one location, with the probability that it is a particle."""
    tidied = [tidy(table, radius_px) for table in tables]
    points, scores = [one for one, _ in tidied], [score for _, score in tidied]
    cliques = find_cliques(points, radius_px)
    if reliability.model is None or any(name not in reliability.working for name in names):
        members = partition(points, cliques, agreement_weights(points, cliques, radius_px))
        share = (members >= 0).sum(axis=1) / max(len(names), 1)
        return _Candidates(_mean_positions(points, members), share, members)
    model = reliability.model.of(names)
    gain = merging_gain(points, scores, cliques, model, reliability.occupied)
    members = partition(points, cliques, gain)
    found = describe(points, scores, members, model)
    _, posterior = occupancy(found, model, reliability.sites, reliability.occupied)
    return _Candidates(found.positions, posterior, members)


def _mean_positions(points: list[np.ndarray], members: np.ndarray) -> np.ndarray:
    """(L, 2) plain mean of the positions of the members of each location."""
    total = np.zeros((len(members), 2))
    for number, of_picker in enumerate(points):
        here = members[:, number] >= 0
        total[here] += of_picker[members[here, number]]
    return total / np.maximum((members >= 0).sum(axis=1), 1)[:, None]
