"""The statistical model behind the consensus: what pickers report where there is a particle, and
where there is none.

It is the latent class model of Dawid and Skene (Applied Statistics 28, 1979), in which a micrograph
is so many *sites* (areas of one radius) of which a part holds a particle. At each site every picker
is silent, or reports a pick with a score. What makes it fit for picking:

- The number of sites at which nobody reports anything is known, from the area. So picks that are
  wrong meet by chance only, at a rate that follows from their density, and agreement beyond that
  is evidence of particles.
- Scores are graded evidence: bins of rank, in which the share of particles never falls with the
  score. A score that means nothing comes out flat.
- Agreement rises with the score for two reasons, which it cannot tell apart: picks of high score
  are more often right, and particles that are easy for one picker are easy for the others. The fit
  puts it all on the first. Once the pickers are known, scores therefore count half.
- Two picks of one particle are close to each other; the distances of picks that met by chance are
  spread evenly over the area.
- A picker never reports two picks closer than some distance of its own. Beside one of its picks it
  is blind, and its silence there is no evidence. So it is where it has no picks on a micrograph
  at all: that is rather a crash than a judgement.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

#: Outcome of a picker at a location: blind, silent, or 1, 2, ... for the bin of its score.
BLIND, SILENT = -1, 0
#: Rings of equal area by which distances between two picks are told apart.
RINGS = 8
_ITERATIONS = 500
_TOLERANCE = 1e-7
#: Part of the evidence of scores that is used once the pickers are known; see above.
SCORE_WEIGHT = 0.5
#: Sites lent from the mean of all micrographs to the share of one, as a part of all its sites.
LENT = 0.01


@dataclass(frozen=True)
class PickerModel:
    """How one picker behaves.

    Attributes
    ----------
    score_edges : (B - 1,) scores between bins; a score on an edge belongs to the higher bin.
    at_particle : (B + 1,) probability of silence and of each bin where there is a particle.
    elsewhere : (B + 1,) the same at a site without a particle.
    jitter_px : standard deviation of its positions about the particle, in x and in y.
    exclusion_px : distance within which it never reports a second pick.
    """

    score_edges: np.ndarray
    at_particle: np.ndarray
    elsewhere: np.ndarray
    jitter_px: float
    exclusion_px: float

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """(N,) the bin of each score, from 1."""
        return 1 + np.searchsorted(self.score_edges, scores, side="right")


@dataclass(frozen=True)
class DetectionModel:
    """How several pickers behave together.

    Attributes
    ----------
    pickers : by name, in alphabetical order.
    closeness : of each two of them (RINGS,) how much likelier the distance between their picks is
        for one particle than for a coincidence.
    radius_px : within which two picks may be the same particle.
    """

    pickers: dict[str, PickerModel]
    closeness: dict[tuple[str, str], np.ndarray]
    radius_px: float

    def of(self, names: list[str]) -> "DetectionModel":
        """The same for some of the pickers."""
        names = sorted(names)
        return DetectionModel(
            {name: self.pickers[name] for name in names},
            {pair: self.closeness[pair] for pair in combinations(names, 2)},
            self.radius_px,
        )

    def silence(self, looked: np.ndarray) -> tuple[float, float]:
        """Log-probability that all that looked are silent, at a particle and elsewhere."""
        models = [one for one, did in zip(self.pickers.values(), looked, strict=True) if did]
        return (
            float(sum(np.log(one.at_particle[SILENT]) for one in models)),
            float(sum(np.log(one.elsewhere[SILENT]) for one in models)),
        )


@dataclass(frozen=True)
class Locations:
    """Locations of one micrograph, as the model sees them.

    Attributes
    ----------
    members : (L, P) number of the pick of each picker, -1 for none.
    positions : (L, 2) as (x, y) in pixels: mean of the members, weighted by 1 / jitter^2.
    outcomes : (L, P) BLIND, SILENT or the bin of the score.
    rings : (L, Q) ring of the distance of each two pickers' picks, -1 where not both have one.
    looked : (P,) whether the picker has any picks on the micrograph.
    """

    members: np.ndarray
    positions: np.ndarray
    outcomes: np.ndarray
    rings: np.ndarray
    looked: np.ndarray


def describe(
    points: list[np.ndarray],
    scores: list[np.ndarray],
    members: np.ndarray,
    model: DetectionModel,
    *,
    blind: bool = True,
) -> Locations:
    """What the pickers report at locations given by their members.

    Parameters
    ----------
    points, scores : one (N_p, 2) and one (N_p,) array a picker, in the order of the model.
    members : (L, P) as `cliques.partition` gives them.
    blind : whether silence beside another pick of the same picker counts as blindness.
    """
    count, pickers = members.shape
    outcomes = np.zeros((count, pickers), int)
    weight = np.zeros(count)
    total = np.zeros((count, 2))
    for number, picker in enumerate(model.pickers.values()):
        here = np.flatnonzero(members[:, number] >= 0)
        pick = members[here, number]
        outcomes[here, number] = picker.bins(scores[number][pick])
        weight[here] += 1 / picker.jitter_px**2
        total[here] += points[number][pick] / picker.jitter_px**2
    positions = total / np.maximum(weight, 1e-300)[:, None]
    looked = np.array([len(one) > 0 for one in points], bool)
    outcomes[:, ~looked] = BLIND
    if blind:
        for number, picker in enumerate(model.pickers.values()):
            silent = np.flatnonzero(members[:, number] < 0)
            if len(silent) and looked[number]:
                distance, _ = cKDTree(points[number]).query(positions[silent])
                outcomes[silent[distance < picker.exclusion_px], number] = BLIND
    rings = np.full((count, len(model.closeness)), -1)
    for number, (first, second) in enumerate(combinations(range(pickers), 2)):
        both = np.flatnonzero((members[:, first] >= 0) & (members[:, second] >= 0))
        offset = points[first][members[both, first]] - points[second][members[both, second]]
        ring = RINGS * (offset**2).sum(axis=1) / model.radius_px**2
        rings[both, number] = np.minimum(ring.astype(int), RINGS - 1)
    return Locations(members, positions, outcomes, rings, looked)


def log_likelihoods(
    locations: Locations, model: DetectionModel, score_weight: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(L,) and (L,): log-likelihood of the reports where there is a particle, and elsewhere.

    With a `score_weight` below 1 the evidence of the bins among the picks of a picker is weakened,
    that of its having a pick at all is not.
    """
    count = len(locations.outcomes)
    particle, nothing = np.zeros(count), np.zeros(count)
    for number, picker in enumerate(model.pickers.values()):
        outcome = locations.outcomes[:, number]
        seen = outcome != BLIND
        particle[seen] += np.log(picker.at_particle[outcome[seen]])
        nothing[seen] += np.log(picker.elsewhere[outcome[seen]])
        evidence = np.log(picker.at_particle[1:] / picker.at_particle[1:].sum())
        evidence -= np.log(picker.elsewhere[1:] / picker.elsewhere[1:].sum())
        picked = outcome > SILENT
        particle[picked] -= (1 - score_weight) * evidence[outcome[picked] - 1]
    # m picks have m - 1 independent distances; m (m - 1) / 2 pairs stand for them
    share = 2 / np.maximum((locations.members >= 0).sum(axis=1), 1)
    for number, ratio in enumerate(model.closeness.values()):
        ring = locations.rings[:, number]
        both = ring >= 0
        particle[both] += share[both] * np.log(ratio[ring[both]])
    return particle, nothing


def occupancy(
    locations: Locations, model: DetectionModel, sites: float, usual: float
) -> tuple[float, np.ndarray]:
    """Share of the sites of one micrograph that hold a particle, the pickers being known.

    Parameters
    ----------
    sites : number of sites of the micrograph.
    usual : the share on other micrographs.

    Returns
    -------
    The share, and (L,) probability of a particle at each location.
    """
    particle, nothing = log_likelihoods(locations, model, SCORE_WEIGHT)
    silent_particle, silent_nothing = model.silence(locations.looked)
    empty = max(sites - len(particle), 0.0)
    share = usual
    for _ in range(_ITERATIONS):
        odds = np.log(share) - np.log1p(-share)
        posterior = expit(odds + particle - nothing)
        missed = empty * expit(odds + silent_particle - silent_nothing)
        new = (posterior.sum() + missed + LENT * sites * usual) / (
            empty + len(posterior) + LENT * sites
        )
        new = float(np.clip(new, 1e-6, 1 - 1e-6))
        if abs(new - share) < _TOLERANCE:
            break
        share = new
    return share, posterior


def merging_gain(
    points: list[np.ndarray],
    scores: list[np.ndarray],
    cliques: np.ndarray,
    model: DetectionModel,
    share: float,
) -> np.ndarray:
    """How much likelier the picks of cliques are as one location than as separate ones.

    Parameters
    ----------
    cliques : (C, P) as `cliques.find_cliques` gives them.
    share : of the sites that hold a particle.

    Returns
    -------
    (C,) logarithm of the ratio; the weights of the choice among cliques.
    """

    def log_evidence(particle: np.ndarray, nothing: np.ndarray) -> np.ndarray:
        return np.logaddexp(np.log(share) + particle, np.log1p(-share) + nothing)

    def evidence_of(members: np.ndarray) -> np.ndarray:
        # blindness is left out: it would depend on how the picks are merged
        found = describe(points, scores, members, model, blind=False)
        return log_evidence(*log_likelihoods(found, model))

    unseen = log_evidence(*model.silence(np.array([len(one) > 0 for one in points], bool)))
    gain = evidence_of(cliques)
    for number in range(len(points)):
        alone = np.full((len(points[number]), len(points)), -1)
        alone[:, number] = np.arange(len(alone))
        single = evidence_of(alone) - unseen
        here = np.flatnonzero(cliques[:, number] >= 0)
        gain[here] -= single[cliques[here, number]]
    return gain - unseen
