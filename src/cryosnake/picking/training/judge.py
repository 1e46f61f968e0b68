"""What to pick with: the trained model, a picker (the general model is one), or the consensus.

Nobody knows the truth, and who is judged by a consensus that he took part in is judged by
himself. So each comparison has a judge of its own, on micrographs that nothing was trained on:

- a picker against the trained model: by the consensus of the *other* pickers;
- the consensus of two pickers against the trained model: by the third picker.

The judge is neither complete nor always right, but both are held against the same one, and
it took part in neither. The trained model has seen the votes of all pickers, on other micrographs.
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
#: Differences of agreement below this are none, even with one micrograph to judge by.
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
    threshold = _threshold(curve, peaks, reliability)
    trained = [table[table[MERIT] >= threshold] for table in peaks]
    scores = _scores(trained, pickers, reliability, radius_px)
    return Judgement(*_choice(scores, reliability), threshold, _table(curve), scores)


def _threshold(curve: ValidationCurve, peaks: Tables, reliability: Reliability) -> float:
    """Score above which to pick: where the number of picks is the mean of two estimates.

    One is the expected number of particles, also of those that nobody found, by the reliabilities of
    the pickers: precision and recall are equal there. It is too high where pickers that are not
    independent invent much. The other is that of the best F1 against the labels, which hold the
    bias of their pickers. Infinite without a peak.
    """
    if not len(curve.f1):
        return np.inf
    best = float(curve.thresholds[curve.best])
    if len(reliability.working) < 2:
        return best
    every = np.sort(np.concatenate([table[MERIT].to_numpy(float) for table in peaks]))[::-1]
    by_labels = int((every >= best).sum())
    by_number = min(reliability.particles * len(peaks), len(every))
    number = int(np.clip(round(0.5 * (by_labels + by_number)), 1, len(every)))
    return float(every[number - 1])


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


def agreement(first: Tables, second: Tables, radius_px: float) -> np.ndarray:
    """(M, 2) of each micrograph: twice the number of pairs of picks, and that of all picks."""
    rows = []
    for ours, theirs in zip(first, second, strict=True):
        pairs = int((partners(ours, theirs, radius_px) >= 0).sum())
        rows.append((2 * pairs, len(ours) + len(theirs)))
    return np.array(rows, float).reshape(-1, 2)


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
            [(agreement(own, others, radius_px), agreement(trained, others, radius_px))],
            sum(map(len, own)),
        )
        if len(working) > 2:
            votes.append((agreement(others, own, radius_px), agreement(trained, own, radius_px)))
            number += sum(map(len, others))
    if votes:
        rows[CONSENSUS] = _compared(votes, number // len(votes))
    return pd.DataFrame.from_dict(rows, orient="index", columns=SCORE_COLUMNS)


def _compared(votes: list[tuple[np.ndarray, np.ndarray]], picks: int) -> list[float]:
    """Agreement, that of the trained model, difference, its standard error, number of picks.

    The standard error is the jackknife's over micrographs; 0 where there is one.
    """
    both = [np.stack(vote) for vote in votes]  # (2, M, 2)

    def means(keep: np.ndarray) -> np.ndarray:
        sums = np.stack([vote[:, keep].sum(axis=1) for vote in both])  # (votes, 2, 2)
        return (sums[..., 0] / np.maximum(sums[..., 1], 1)).mean(axis=0)

    number = both[0].shape[1]
    own, trained = means(np.ones(number, bool))
    left = [means(np.arange(number) != one) for one in range(number)] if number > 1 else []
    differences = np.array([one[1] - one[0] for one in left])
    error = np.sqrt((number - 1) * differences.var()) if number > 1 else 0.0
    return [own, trained, trained - own, error, picks]


def _choice(scores: pd.DataFrame, reliability: Reliability) -> tuple[str, str]:
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
            "on micrographs it was not trained on it agrees with the others at least as well as "
            f"any other way; closest is {least}: {row['trained_agreement']:.3f} against "
            f"{row['agreement']:.3f}, standard error {row['standard_error']:.3f}"
        )
    better = CONSENSUS if CONSENSUS in worse.index else worse["difference"].idxmin()
    row = worse.loc[better]
    return better, (
        f"the trained model validates worse than {better}: agreement "
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
