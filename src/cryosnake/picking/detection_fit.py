"""Fitting the model of `detection_model` to the picks of all micrographs: no truth is needed."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.spatial import cKDTree
from scipy.special import expit

from cryosnake.picking.cliques import agreement_weights, find_cliques, partition
from cryosnake.picking.detection_model import (
    BLIND,
    LENT,
    RINGS,
    DetectionModel,
    Locations,
    PickerModel,
    describe,
    log_likelihoods,
    merging_gain,
    occupancy,
)
from cryosnake.picking.jitter import with_jitter

_ITERATIONS = 500
_TOLERANCE = 1e-7
#: Counts added before a rate is taken, so that none is exactly 0 or 1.
_PRIOR_COUNT = 1.0
#: A bin of scores holds at least so many picks; there are at most so many bins.
_PICKS_A_BIN, _BINS = 60, 10
#: Percentile of the distances between neighbouring picks of one picker that it never goes below.
_EXCLUSION_PERCENTILE = 1.0
#: Rounds of fitting and choosing the cliques anew.
_ROUNDS = 3

#: Positions and scores of one picker, one array a micrograph.
Picks = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Fit:
    """What the picks of all micrographs say together.

    Attributes
    ----------
    model : of the pickers.
    shares : (M,) of the sites of each micrograph that hold a particle.
    probabilities : (L,) that a location is a particle, all micrographs together.
    members : (L, P) of the same locations, in each micrograph's own numbers.
    """

    model: DetectionModel
    shares: np.ndarray
    probabilities: np.ndarray
    members: np.ndarray


def fit_pickers(tidied: dict[str, Picks], radius_px: float, sites: float) -> Fit:
    """Fit the model, choosing the cliques anew as the pickers become known.

    Parameters
    ----------
    tidied : of each picker, without duplicates.
    sites : number of areas of one radius in a micrograph.
    """
    names = sorted(tidied)
    points = [list(one) for one in zip(*(tidied[name][0] for name in names), strict=True)]
    scores = [list(one) for one in zip(*(tidied[name][1] for name in names), strict=True)]
    cliques = [find_cliques(one, radius_px) for one in points]
    members = [
        partition(one, of_one, agreement_weights(one, of_one, radius_px))
        for one, of_one in zip(points, cliques, strict=True)
    ]
    model = _start(tidied, radius_px, sites * len(points))
    shares = np.full(len(points), 0.5 * max(map(len, members)) / sites)
    for number in range(_ROUNDS):
        if number:
            members = [
                partition(one, of_one, merging_gain(one, score, of_one, model, share))
                for one, score, of_one, share in zip(points, scores, cliques, shares, strict=True)
            ]
        model = with_jitter(model, points, members)
        locations = [
            describe(one, score, of_one, model)
            for one, score, of_one in zip(points, scores, members, strict=True)
        ]
        model, shares = _maximise_likelihood(locations, model, sites, shares)
    usual = float(shares.mean())
    found = [occupancy(of_one, model, sites, usual) for of_one in locations]
    return Fit(
        model,
        np.array([share for share, _ in found]),
        np.concatenate([probability for _, probability in found]),
        np.concatenate(members),
    )


def _start(tidied: dict[str, Picks], radius_px: float, sites: float) -> DetectionModel:
    """Pickers of precision and recall one half, whose scores say a little."""
    pickers = {}
    for name in sorted(tidied):
        points, scores = tidied[name]
        pooled = np.concatenate(scores)
        bins = int(np.clip(len(pooled) // _PICKS_A_BIN, 1, _BINS))
        edges = np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)[1:-1]))
        edges = edges[edges > pooled.min()]
        ramp = np.linspace(0.0, 1.0, len(edges) + 1) if len(edges) else np.array([0.5])
        wrong = min(0.5 * len(pooled) / sites, 0.5)
        neighbours = [cKDTree(one).query(one, k=2)[0][:, 1] for one in points if len(one) > 1]
        pickers[name] = PickerModel(
            score_edges=edges,
            at_particle=np.concatenate([[0.5], 0.5 * _shared(0.8 + 0.4 * ramp)]),
            elsewhere=np.concatenate([[1 - wrong], wrong * _shared(1.2 - 0.4 * ramp)]),
            jitter_px=radius_px / 3,
            exclusion_px=float(
                np.percentile(np.concatenate(neighbours), _EXCLUSION_PERCENTILE)
                if neighbours
                else radius_px
            ),
        )
    closer = RINGS * _shared(np.linspace(1.5, 0.5, RINGS))
    return DetectionModel(
        pickers,
        dict.fromkeys(combinations(pickers, 2), closer),
        radius_px,
    )


def _shared(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def _maximise_likelihood(
    micrographs: list[Locations], model: DetectionModel, sites: float, shares: np.ndarray
) -> tuple[DetectionModel, np.ndarray]:
    """Expectation maximisation over the locations of all micrographs together.

    Parameters
    ----------
    model, shares : where to start; jitter and exclusion are not changed.
    sites : number of sites of a micrograph.

    Returns
    -------
    The model, and (M,) share of the sites with a particle.
    """
    every = Locations(
        *(
            np.concatenate([getattr(one, field) for one in micrographs])
            for field in ("members", "positions", "outcomes", "rings")
        ),
        looked=np.ones(len(model.pickers), bool),
    )
    looked = np.stack([one.looked for one in micrographs])
    counts = np.array([len(one.members) for one in micrographs])
    owner = np.repeat(np.arange(len(micrographs)), counts)
    empty = np.maximum(sites - counts, 0.0)
    last = -np.inf
    for _ in range(_ITERATIONS):
        particle, nothing = log_likelihoods(every, model)
        silent_particle, silent_nothing = np.transpose([model.silence(one) for one in looked])
        yes, no = np.log(shares), np.log1p(-shares)
        with_particle = yes[owner] + particle
        likelihood = np.logaddexp(with_particle, no[owner] + nothing).sum()
        likelihood += empty @ np.logaddexp(yes + silent_particle, no + silent_nothing)
        posterior = expit(with_particle - no[owner] - nothing)
        missed = empty * expit(yes + silent_particle - no - silent_nothing)
        model = replace(
            model,
            pickers={
                name: _picker(
                    picker,
                    every.outcomes[:, number],
                    posterior,
                    missed @ looked[:, number],
                    (empty - missed) @ looked[:, number],
                )
                for number, (name, picker) in enumerate(model.pickers.items())
            },
            closeness={
                pair: _ring_ratio(every.rings[:, number], posterior)
                for number, pair in enumerate(model.closeness)
            },
        )
        found = np.bincount(owner, posterior, len(micrographs)) + missed
        usual = found.sum() / (empty + counts).sum()
        shares = (found + LENT * sites * usual) / (empty + counts + LENT * sites)
        shares = np.clip(shares, 1e-6, 1 - 1e-6)
        if likelihood - last < _TOLERANCE * abs(likelihood):
            break
        last = likelihood
    return model, shares


def _picker(
    picker: PickerModel,
    outcome: np.ndarray,
    posterior: np.ndarray,
    missed: float,
    empty: float,
) -> PickerModel:
    """The rates of one picker, given how likely each location is a particle.

    The share of particles is made to rise with the score by isotonic regression, which is maximum
    likelihood under that order (Dykstra, Kochar and Robertson, J. Am. Stat. Assoc. 90, 1995).

    Parameters
    ----------
    outcome, posterior : (L,) of each location, and the probability that it is a particle.
    missed : expected number of particles at which nobody reported anything.
    empty : expected number of sites without a particle at which nobody did.
    """
    size = len(picker.at_particle)
    seen = outcome != BLIND
    count = np.bincount(outcome[seen], minlength=size)
    true = np.bincount(outcome[seen], posterior[seen], size)
    picks, hits = count[1:], true[1:]
    mean = (hits.sum() + _PRIOR_COUNT / 2) / (picks.sum() + _PRIOR_COUNT)
    precision = isotonic_regression(
        (hits + _PRIOR_COUNT * mean) / (picks + _PRIOR_COUNT), weights=picks + _PRIOR_COUNT
    ).x
    return replace(
        picker,
        at_particle=_rates(np.concatenate([[true[0] + missed], precision * picks])),
        elsewhere=_rates(np.concatenate([[count[0] - true[0] + empty], (1 - precision) * picks])),
    )


def _ring_ratio(ring: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    """(RINGS,) density of the distances of one particle's picks over an even one; never rises."""
    both = ring >= 0
    count = np.bincount(ring[both], posterior[both], RINGS) + _PRIOR_COUNT
    return RINGS * _rates(isotonic_regression(count, increasing=False).x)


def _rates(counts: np.ndarray) -> np.ndarray:
    counts = counts + 1e-3 * _PRIOR_COUNT
    return counts / counts.sum()
