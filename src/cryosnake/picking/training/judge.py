"""What to pick with: the trained model, a picker (the general model is one), or the consensus.

Nobody knows the truth, and who is judged by a consensus that he took part in is judged by
himself. So each comparison has a judge of its own, on micrographs that nothing was trained on:

- a picker against the trained model: by the consensus of the *other* pickers;
- the consensus of two pickers against the trained model: by the third picker.

Both are held against the same judge, which took part in neither. It is not complete: what it does
not know of is between two bounds (see `merit`), of which the mean is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.picking.coarse import no_picks
from cryosnake.picking.consensus import consensus
from cryosnake.picking.reliability import Reliability
from cryosnake.picking.training.labels import Labels, label_curve
from cryosnake.picking.training.scoring import MERIT, ValidationCurve, partners

TRAINED, CONSENSUS = "trained", "consensus"
#: The picker that the start model makes.
GENERAL = "network"
#: Differences of F1 below this are none, even with one micrograph to judge by.
_NO_DIFFERENCE = 0.01

Tables = Sequence[pd.DataFrame]
SCORE_COLUMNS = ["agreement", "trained_agreement", "difference", "standard_error", "picks"]


@dataclass(frozen=True)
class Judgement:
    """What to pick with.

    Attributes
    ----------
    chosen : "trained", "consensus" or the name of a picker; why : in words.
    threshold : on the score of the trained model; infinite where there is none.
    validation : one row a threshold: `threshold`, `precision`, `recall`, `f1`, against the labels.
    scores : one row a way of picking: its `agreement` (F1) with its judges, that of the trained
        model with the same ones, the `difference` (trained less this) with its `standard_error`
        over the micrographs, and the number of `picks`.
    """

    chosen: str
    why: str
    threshold: float
    validation: pd.DataFrame
    scores: pd.DataFrame


def judge(
    peaks: Tables,
    labels: Labels,
    pickers: Sequence[Mapping[str, pd.DataFrame]],
    reliability: Reliability,
    radius_px: float,
) -> Judgement:
    """Choose the threshold of the trained model, and between it and what there is besides.

    Parameters
    ----------
    peaks : of each held-out micrograph, all peaks of the trained model with their scores.
    labels : of the same micrographs.
    pickers : of each, the picks of each picker; reliability : of the pickers.
    radius_px : within which two picks are the same particle.
    """
    curve = label_curve(peaks, labels, radius_px)
    threshold = float(curve.thresholds[curve.best]) if len(curve.f1) else np.inf
    trained = [table[table[MERIT] >= threshold] for table in peaks]
    scores = _scores(trained, pickers, reliability, radius_px)
    return Judgement(*_choice(scores), threshold, _table(curve), scores)


def without_training(pickers: Sequence[Mapping], reliability: Reliability) -> Judgement:
    """The choice where no model was trained: the consensus of those that work, or what there is."""
    names = sorted({name for one in pickers for name in one})
    working = reliability.working
    if len(working) > 1:
        chosen = CONSENSUS
        why = f"no model was trained; the consensus of {', '.join(working)}"
    else:
        chosen = GENERAL if GENERAL in names or not names else (working or names)[0]
        why = f"no model was trained and no two pickers agree; {chosen}, not validated"
    empty = pd.DataFrame(columns=SCORE_COLUMNS, dtype=float)
    nothing = ValidationCurve(*[np.zeros(0)] * 4)
    return Judgement(chosen, why, np.inf, _table(nothing), empty)


def meetings(ours: Tables, judges: Tables, radius_px: float) -> np.ndarray:
    """(M, 3) of each micrograph: picks that the judge has too, all picks, all of the judge's."""
    rows = [
        (int((partners(found, judged, radius_px) >= 0).sum()), len(found), len(judged))
        for found, judged in zip(ours, judges, strict=True)
    ]
    return np.array(rows, float).reshape(-1, 3)


def merit(met: np.ndarray, particles: float) -> float:
    """F1 of picks by a judge that is not complete: the mean of two bounds.

    Parameters
    ----------
    met (M, 3) : see `meetings`.
    particles : expected number of particles in a micrograph.

    Notes
    -----
    By the lower bound the judge is complete: what it does not confirm is no particle. By the upper
    one it is a fair sample (Lee and Liu 2003, Proc. ICML, 448): of all particles the same share is
    found as of its own. The first alone would favour whoever misses the same particles as the
    judge, the second whoever invents.
    """
    both, picks, judged = met.sum(axis=0)
    every = max(particles * len(met), 1e-9)
    lower = 2 * both / max(picks + judged, 1.0)
    upper = 2 * min(both / max(judged, 1.0) * every, picks) / (picks + every)
    return float(0.5 * (lower + upper))


def _scores(
    trained: Tables,
    pickers: Sequence[Mapping[str, pd.DataFrame]],
    reliability: Reliability,
    radius_px: float,
) -> pd.DataFrame:
    """Each way of picking and the trained model before the same judges."""
    working = reliability.working
    rows: dict[str, list] = {}
    votes: list[tuple[np.ndarray, np.ndarray]] = []
    number = 0
    for name in working if len(working) > 1 else []:
        own = [one.get(name, no_picks()) for one in pickers]
        others = [
            consensus(
                {other: one[other] for other in working if other != name and other in one},
                radius_px,
                reliability=reliability,
            )
            for one in pickers
        ]
        rows[name] = _compared(
            [(meetings(own, others, radius_px), meetings(trained, others, radius_px))],
            reliability.particles,
            sum(map(len, own)),
        )
        if len(working) > 2:
            votes.append((meetings(others, own, radius_px), meetings(trained, own, radius_px)))
            number += sum(map(len, others))
    if votes:
        rows[CONSENSUS] = _compared(votes, reliability.particles, number // len(votes))
    return pd.DataFrame.from_dict(rows, orient="index", columns=SCORE_COLUMNS)


def _compared(
    votes: list[tuple[np.ndarray, np.ndarray]], particles: float, picks: int
) -> list[float]:
    """Merit, that of the trained model, difference, its standard error, number of picks.

    Parameters
    ----------
    votes : of each judge, its meetings with the one and with the trained model.
    particles : expected number in a micrograph.

    The standard error is the jackknife's over micrographs; 0 where there is one.
    """

    def means(keep: np.ndarray) -> np.ndarray:
        return np.mean([[merit(met[keep], particles) for met in vote] for vote in votes], axis=0)

    number = len(votes[0][0])
    own, trained = means(np.ones(number, bool))
    if number == 1:
        return [own, trained, trained - own, 0.0, picks]
    left = [means(np.arange(number) != one) for one in range(number)]
    differences = np.array([one[1] - one[0] for one in left])
    error = float(np.sqrt((number - 1) * differences.var()))
    return [own, trained, trained - own, error, picks]


def _choice(scores: pd.DataFrame) -> tuple[str, str]:
    """What to pick with, and why."""
    if scores.empty:
        why = "no two pickers agree beyond chance, so that the trained model cannot be validated"
        return GENERAL, f"{why}: the general one is used"
    allowed = np.maximum(scores["standard_error"], _NO_DIFFERENCE)
    worse = scores[scores["difference"] < -allowed]
    if worse.empty:
        least = scores["difference"].idxmin()
        row = scores.loc[least]
        return TRAINED, (
            "on micrographs it was not trained on its judges find it at least as good as "
            f"any other way; closest is {least}: {row['trained_agreement']:.3f} against "
            f"{row['agreement']:.3f}, standard error {row['standard_error']:.3f}"
        )
    better = CONSENSUS if CONSENSUS in worse.index else worse["difference"].idxmin()
    row = worse.loc[better]
    return better, (
        f"the trained model validates worse than {better}: F1 "
        f"{row['trained_agreement']:.3f} against {row['agreement']:.3f}, "
        f"standard error {row['standard_error']:.3f}"
    )


def _table(curve: ValidationCurve) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "threshold": curve.thresholds,
            "precision": curve.precision,
            "recall": curve.recall,
            "f1": curve.f1,
        }
    )
