"""Which volume the class averages speak for.

Every volume is scored by how well its projections match the good 2D class averages, which were made
without any volume. A map of noise agrees with itself, however its halves were made; it does not
agree with the averages.

The score is the plain mean over the averages, not weighted by population: each average is a view
that the volume has to explain, and where one view holds most particles the weighted mean asks
hardly anything of the others. Averages of few particles are noisier for all volumes alike, and the
comparison is paired.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import fft

from cryosnake.errors import BadInputError
from cryosnake.validation.align_maps import align_maps
from cryosnake.validation.average_set import AverageSet
from cryosnake.validation.class_match import Matches, match_averages
from cryosnake.validation.shells import shells

_SURE = 0.95
_DRAWS = 2000
_MIN_AVERAGES = 3


@dataclass(frozen=True)
class Candidate:
    """A volume to be judged: (n, n, n) float32 with the resolution in angstrom it claims."""

    name: str
    volume: np.ndarray
    pixel_size_angst: float
    resolution_angst: float


@dataclass(frozen=True)
class Judged:
    """What the averages say of one volume.

    Attributes
    ----------
    score : mean correlation of the averages with their best projections.
    spread : standard deviation over the averages; error : standard error of the score.
    confidence : fraction of bootstrap draws of the averages in which this volume scores highest;
        volumes that are the same structure as the winner, of either hand, are not its rivals.
    hand : against the winner: `same`, `mirrored`, `unsure` or `different`; for the winner itself
        `undetermined`: projections do not tell one hand from the other.
    chosen : the highest score.
    """

    name: str
    score: float
    spread: float
    error: float
    confidence: float
    hand: str
    chosen: bool
    matches: Matches


@dataclass(frozen=True)
class CrossValidation:
    """The judgement on all volumes.

    Attributes
    ----------
    volumes : one each, in the order given.
    verdict : `pass` where the winner is surely ahead of every different structure and of its own
        rotational average (a featureless ball of the same profile); else `unsure`.
    featureless : score of that rotational average.
    confidence : the lesser of the two probabilities.
    evidence : a sentence.
    """

    volumes: list[Judged]
    verdict: str
    featureless: float
    confidence: float
    evidence: str

    @property
    def winner(self) -> Judged:
        return next(judged for judged in self.volumes if judged.chosen)

    def table(self) -> pd.DataFrame:
        """One row a volume, in the columns of crossvalidation.star."""
        return pd.DataFrame(
            [
                {
                    "csnVolume": v.name,
                    "csnVolumeScore": v.score,
                    "csnVolumeSpread": v.spread,
                    "csnVolumeError": v.error,
                    "csnVolumeConfidence": v.confidence,
                    "csnVolumeHand": v.hand,
                    "csnVolumeChosen": int(v.chosen),
                }
                for v in self.volumes
            ]
        )


def cross_validate(
    candidates: list[Candidate], averages: AverageSet, *, seed: int = 1
) -> CrossValidation:
    """Score volumes against class averages and choose.

    Raises
    ------
    BadInputError : no volume, or fewer than three averages.
    """
    if not candidates or len(averages) < _MIN_AVERAGES:
        raise BadInputError(
            None,
            f"{len(candidates)} volumes and {len(averages)} averages",
            f"a volume and at least {_MIN_AVERAGES} averages",
        )
    matches = [
        match_averages(averages, c.volume, c.pixel_size_angst, c.resolution_angst)
        for c in candidates
    ]
    scores = np.stack([m.correlation for m in matches])  # (V, K)
    best = int(scores.mean(1).argmax())
    winner = candidates[best]
    hands = [
        "undetermined" if index == best else _hand(winner, other, averages.resolution_angst)
        for index, other in enumerate(candidates)
    ]
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(averages), (_DRAWS, len(averages)))
    resampled = scores[:, draws].mean(2)  # (V, draws)
    rivals = np.array([hand not in ("same", "mirrored", "unsure") for hand in hands])
    rivals[best] = True
    ahead = np.where(rivals[:, None], resampled, -np.inf).argmax(0)
    ball = match_averages(
        averages,
        rotational_average(winner.volume),
        winner.pixel_size_angst,
        winner.resolution_angst,
    ).correlation
    featured = float((resampled[best] > ball[draws].mean(1)).mean())
    judged = [
        Judged(
            name=candidate.name,
            score=float(own.mean()),
            spread=float(own.std(ddof=1)),
            error=float(own.std(ddof=1) / np.sqrt(len(own))),
            confidence=float((ahead == index).mean()),
            hand=hand,
            chosen=index == best,
            matches=match,
        )
        for index, (candidate, own, hand, match) in enumerate(
            zip(candidates, scores, hands, matches, strict=True)
        )
    ]
    confidence = min(judged[best].confidence, featured)
    return CrossValidation(
        volumes=judged,
        verdict="pass" if confidence >= _SURE else "unsure",
        featureless=float(ball.mean()),
        confidence=confidence,
        evidence=_sentence(judged, best, float(ball.mean()), len(averages)),
    )


def _hand(winner: Candidate, other: Candidate, resolution_angst: float) -> str:
    """How another volume lies to the winner, at the resolution of both and of the averages."""
    if other.volume.shape != winner.volume.shape:
        raise BadInputError(
            None, f"volumes of shapes {winner.volume.shape}, {other.volume.shape}", "one shape"
        )
    coarsest = max(resolution_angst, winner.resolution_angst, other.resolution_angst)
    return align_maps(winner.volume, other.volume, winner.pixel_size_angst, coarsest).hand


def rotational_average(volume: np.ndarray) -> np.ndarray:
    """(n, n, n) float32 the mean of a map over all rotations about its centre, beyond Nyquist 0."""
    n = len(volume)
    where = shells(n)
    spectrum = fft.rfftn(fft.ifftshift(volume)).real
    mean = where.sums(spectrum) / where.sums(np.ones_like(spectrum))
    return fft.fftshift(fft.irfftn(where.spread(mean), s=volume.shape)).astype(np.float32)


def _sentence(judged: list[Judged], best: int, ball: float, number: int) -> str:
    order = sorted(judged, key=lambda volume: -volume.score)
    listed = ", ".join(f"{v.name} {v.score:.3f} +- {v.error:.3f}" for v in order)
    text = f"mean correlation with {number} averages: {listed}; featureless ball {ball:.3f}"
    alike = [v.name for v in judged if v.hand in ("same", "mirrored", "unsure")]
    if alike:
        text += f"; the same structure as {judged[best].name}: {', '.join(alike)}"
    return text
