"""Which picks of different pickers are one particle: cliques, and the best choice among them.

A clique is a set of picks, at most one of each picker, all mutually within the radius. The choice
is an integer linear programme, the formulation of REPIC (Cameron et al., Communications Biology 7,
2024): the sum of the weights of the chosen cliques is largest while each pick is in at most one.
The linear relaxation is fractional (three mutually overlapping cliques take a half each), so the
variables are integer. Cliques that compete, even through others, form a component of the conflict
graph; components are independent of each other and mostly tiny, which keeps the programme fast.
"""

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cryosnake.errors import CryosnakeError

#: Components are solved together up to so many variables: one call of the solver costs about 2 ms.
_BUNDLE = 150


def tidy(table: pd.DataFrame, radius_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of one picker on one micrograph, each particle once.

    Picks without finite coordinates are dropped; of two that are not further apart than the radius
    the one with the lower score is. The order does not depend on the order of the table.

    Parameters
    ----------
    table : `rlnCoordinateX`, `rlnCoordinateY` and, where there is one, `rlnAutopickFigureOfMerit`
        (higher is better; a score that is not finite counts as the lowest).
    radius_px : within which two picks are the same particle.

    Returns
    -------
    positions (N, 2) as (x, y) in pixels, scores (N,), best first.
    """
    if not len(table):
        return np.empty((0, 2)), np.empty(0)
    positions = table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(np.float64)
    scores = (
        table["rlnAutopickFigureOfMerit"].to_numpy(np.float64)
        if "rlnAutopickFigureOfMerit" in table
        else np.zeros(len(table))
    )
    usable = np.isfinite(positions).all(axis=1)
    positions, scores = positions[usable], scores[usable]
    finite = np.isfinite(scores)
    scores = np.where(finite, scores, scores[finite].min() if finite.any() else 0.0)
    order = np.lexsort((positions[:, 1], positions[:, 0], -scores))
    positions, scores = positions[order], scores[order]
    if not len(positions):
        return positions, scores
    pairs = cKDTree(positions).query_pairs(radius_px, output_type="ndarray")
    keep = np.ones(len(positions), bool)
    for better, worse in pairs[np.argsort(pairs[:, 0], kind="stable")]:
        if keep[better]:
            keep[worse] = False
    return positions[keep], scores[keep]


def find_cliques(points: list[np.ndarray], radius_px: float) -> np.ndarray:
    """All cliques of two picks or more.

    Parameters
    ----------
    points : one (N_p, 2) array of positions a picker.
    radius_px : largest distance between any two picks of a clique.

    Returns
    -------
    (C, P) int: the number of the pick of each picker, -1 where a picker has none in the clique.
    """
    pickers = len(points)
    near = {}
    for first in range(pickers):
        for second in range(first + 1, pickers):
            near[first, second] = (
                cKDTree(points[first])
                .sparse_distance_matrix(
                    cKDTree(points[second]), radius_px, output_type="coo_matrix"
                )
                .tocsr()
                if len(points[first]) and len(points[second])
                else csr_array((len(points[first]), len(points[second])))
            )
            # a distance of zero is stored like any other, and must not look like an absent pair
            near[first, second].data[:] = 1.0
    # Cliques whose last member is of picker p are those of earlier pickers, each with a pick of p
    # that is near all of its members.
    partial = np.empty((0, pickers), int)
    for last in range(pickers):
        alone = np.full((len(points[last]), pickers), -1)
        alone[:, last] = np.arange(len(points[last]))
        grown = [partial, alone]
        if len(partial) and len(points[last]):
            members = (partial[:, :last] >= 0).sum(axis=1)
            counts = csr_array((len(partial), len(points[last])))
            for earlier in range(last):
                rows = np.flatnonzero(partial[:, earlier] >= 0)
                pick = partial[rows, earlier]
                select = coo_array(
                    (np.ones(len(rows)), (rows, pick)), shape=(len(partial), len(points[earlier]))
                ).tocsr()
                counts = counts + select @ near[earlier, last]
            counts = counts.tocoo()
            complete = np.rint(counts.data).astype(int) == members[counts.row]
            extended = partial[counts.row[complete]].copy()
            extended[:, last] = counts.col[complete]
            grown.append(extended)
        partial = np.concatenate(grown)
    cliques = partial[(partial >= 0).sum(axis=1) >= 2]
    return cliques[np.lexsort(cliques.T[::-1])] if len(cliques) else cliques


def choose(weights: np.ndarray, limits: csr_array) -> np.ndarray:
    """Maximum-weight choice of which at most one is taken in each row of `limits`.

    Parameters
    ----------
    weights : (C,) worth of each candidate; those that are not positive are never taken.
    limits : (R, C) sparse, 1 where the candidate counts towards the limit of that row.

    Returns
    -------
    (C,) bool.
    """
    taken = np.zeros(len(weights), bool)
    useful = np.flatnonzero(weights > 0)
    if not len(useful):
        return taken
    limits = csr_array(limits)[:, useful]
    limits = csr_array(limits[np.flatnonzero(np.diff(limits.indptr) > 1)])
    weights = weights[useful]
    conflicts = csr_array((limits.T @ limits) > 0)
    conflicts.setdiag(0)
    conflicts.eliminate_zeros()
    degree = np.diff(conflicts.indptr)
    _, label = connected_components(conflicts, directed=False)
    hard: list[np.ndarray] = []
    order = np.argsort(label, kind="stable")
    for component in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if (degree[component] == len(component) - 1).all():  # each excludes all others
            taken[useful[component[np.argmax(weights[component])]]] = True
        else:
            hard.append(component)
    bundle: list[np.ndarray] = []
    for number, component in enumerate(hard):
        bundle.append(component)
        if sum(map(len, bundle)) >= _BUNDLE or number == len(hard) - 1:
            members = np.concatenate(bundle)
            taken[useful[members[_solve(weights[members], limits[:, members])]]] = True
            bundle = []
    return taken


def _solve(weights: np.ndarray, limits: csr_array) -> np.ndarray:
    """The integer programme itself; see `choose`. (C,) bool."""
    limits = limits[np.flatnonzero(np.diff(csr_array(limits).indptr) > 1)]
    result = milp(
        -weights,
        integrality=np.ones(len(weights)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(limits, ub=np.ones(limits.shape[0])),
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        raise CryosnakeError(
            f"the consensus of {len(weights)} cliques could not be solved: {result.message}"
        )
    return result.x > 0.5


def partition(points: list[np.ndarray], cliques: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Every pick once: in the chosen clique that holds it, or alone.

    Parameters
    ----------
    points : one (N_p, 2) array a picker.
    cliques : (C, P) as `find_cliques` gives them.
    weights : (C,) worth of a clique over its picks taken as separate.

    Returns
    -------
    (L, P) int, in the form of `cliques`: the locations.
    """
    pickers = len(points)
    first = np.cumsum([0, *map(len, points)])
    clique, picker = np.nonzero(cliques >= 0)
    pick = first[picker] + cliques[clique, picker]
    limits = coo_array((np.ones(len(clique)), (pick, clique)), shape=(first[-1], len(cliques)))
    chosen = choose(weights, limits.tocsr())
    used = np.zeros(first[-1], bool)
    used[pick[chosen[clique]]] = True
    alone = np.full((int((~used).sum()), pickers), -1)
    free = np.flatnonzero(~used)
    owner = np.searchsorted(first, free, side="right") - 1
    alone[np.arange(len(free)), owner] = free - first[owner]
    return np.concatenate([cliques[chosen], alone])


def separate(positions: np.ndarray, weights: np.ndarray, exclusion_px: float) -> np.ndarray:
    """Of positions (N, 2) the choice of most weight of which no two are within `exclusion_px`.

    Returns
    -------
    (N,) bool.
    """
    if not len(positions):
        return np.zeros(0, bool)
    pairs = cKDTree(positions).query_pairs(exclusion_px, output_type="ndarray")
    limits = coo_array(
        (np.ones(2 * len(pairs)), (np.repeat(np.arange(len(pairs)), 2), pairs.ravel())),
        shape=(len(pairs), len(positions)),
    )
    return choose(weights, limits.tocsr())


def agreement_weights(
    points: list[np.ndarray], cliques: np.ndarray, radius_px: float
) -> np.ndarray:
    """Worth of cliques while nothing is known of the pickers: more members first, then closeness.

    Returns
    -------
    (C,): the number of pairs in the clique, plus less than one for their closeness.
    """
    members = (cliques >= 0).sum(axis=1)
    spread = np.zeros(len(cliques))
    for first in range(len(points)):
        for second in range(first + 1, len(points)):
            both = np.flatnonzero((cliques[:, first] >= 0) & (cliques[:, second] >= 0))
            offset = points[first][cliques[both, first]] - points[second][cliques[both, second]]
            spread[both] += np.hypot(*offset.T) / radius_px
    pairs = members * (members - 1) / 2
    return pairs + 0.9 * (1 - spread / np.maximum(pairs, 1))
