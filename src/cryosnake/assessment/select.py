"""Which classes go on, why, and what an operator is told about it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cryosnake.assessment.features import class_features
from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.model import load_model
from cryosnake.assessment.overrides import Override
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError

_SCORES = ("csnClassScore", "csnClassScoreClip", "csnClassScoreEdge", "csnClassScoreNoise")
_NEAR = 0.15  # of the threshold: a score this near is unsure
_POPULOUS = 0.03  # share of the particles from which an unsure class is worth a look


def assess(
    averages: np.ndarray,
    table: pd.DataFrame,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    good_threshold: float = 0.5,
    most_populated: int | None = None,
    overrides: Mapping[int, Override] | None = None,
    scores: np.ndarray | None = None,
) -> pd.DataFrame:
    """Label class averages and choose those that go on.

    Parameters
    ----------
    averages : (K, n, n), white particles; table : K rows, the columns of `averages.star`.
    diameter_angst : of the circular mask of the classification.
    good_threshold : least probability of `good`.
    most_populated : only so many classes, the most populated ones, may go on.
    overrides : labels by class number from 1; they win over everything else.
    scores : (K, 4) probabilities of `LABELS`, or (K,) of good, from elsewhere instead of the
        model's. Where only that of good is given, the rest is shared among the other labels as
        the model does.

    Returns
    -------
    The table with `csnClassLabel`, the four `csnClassScore...`, `csnClassKept`, `csnClassReason`.

    Raises
    ------
    BadInputError : numbers of averages and rows differ, scores that are none, or an override of a
        class that does not exist.
    """
    overrides = overrides or {}
    for number, override in overrides.items():
        if not 1 <= number <= len(table):
            raise BadInputError(override.source, f"class = {number}", f"1 to {len(table)}")
    features = class_features(
        averages, table, pixel_size_angst=pixel_size_angst, diameter_angst=diameter_angst
    )
    chances = _chances(load_model().probabilities(features), scores)
    population = table["csnClassPopulation"].to_numpy()
    chances[population == 0] = [0.0, 0.0, 0.0, 1.0]
    good = chances[:, 0] >= good_threshold
    label = np.where(good, 0, 1 + chances[:, 1:].argmax(axis=1))
    within = np.ones(len(table), bool)
    if most_populated is not None:
        within[np.argsort(-population, kind="stable")[most_populated:]] = False
    kept = good & within
    reason = np.where(kept, "kept", np.where(good, "population", "label")).astype(object)
    for number, override in overrides.items():
        label[number - 1] = LABELS.index(override.label)
        kept[number - 1] = override.label == "good"
        reason[number - 1] = "override"
    columns = dict(zip(_SCORES, chances.T, strict=True))
    return table.assign(
        csnClassLabel=np.array(LABELS)[label],
        **columns,
        csnClassKept=kept.astype(int),
        csnClassReason=reason,
    )


def _chances(own: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
    """(K, 4) probabilities, of the model or from elsewhere."""
    if scores is None:
        return own
    scores = np.asarray(scores, float)
    if scores.shape not in ((len(own),), own.shape):
        raise BadInputError(
            None, f"scores of shape {scores.shape}", f"({len(own)},) or {own.shape}"
        )
    if not (np.all(scores >= 0) and np.all(scores <= 1)):
        raise BadInputError(None, "scores that are no probabilities", "numbers from 0 to 1")
    if scores.ndim == 1:
        others = own[:, 1:] + 1e-9
        others *= ((1 - scores) / others.sum(axis=1))[:, None]
        return np.column_stack([scores, others])
    if not np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        raise BadInputError(None, "probabilities of labels that do not add up to 1", "such that do")
    return scores.copy()


def decisions(
    assessed: pd.DataFrame,
    *,
    subject: str,
    good_threshold: float = 0.5,
    overrides: Mapping[int, Override] | None = None,
    least_kept_share: float = 0.3,
) -> list[Decision]:
    """What an operator is told about a table of `assess`.

    One `info` (or `warn`, where less than `least_kept_share` of the particles are kept) for the
    whole, one `info` for every overridden class, and one `unsure` for every class of more than
    3 % of the particles whose score is near the threshold.

    Parameters
    ----------
    subject : of the decisions, such as `class2d/25000`; classes are `<subject> class <number>`.
    good_threshold, overrides : as given to `assess`.
    """
    overrides = overrides or {}
    population = assessed["csnClassPopulation"].to_numpy()
    kept = assessed["csnClassKept"].to_numpy() == 1
    total = max(int(population.sum()), 1)
    share = population[kept].sum() / total
    labels = assessed["csnClassLabel"].value_counts()
    told = [
        Decision(
            subject=subject,
            rule="class2d",
            verdict="info" if share >= least_kept_share else "warn",
            value=f"{kept.sum()} of {len(assessed)} classes kept with {population[kept].sum()} of "
            f"{population.sum()} particles ({100 * share:.1f} %)",
            threshold=f"score of good at least {good_threshold:g}; "
            f"a share of particles of at least {100 * least_kept_share:g} %",
            evidence=", ".join(f"{labels.get(label, 0)} {label}" for label in LABELS),
        )
    ]
    score = assessed["csnClassScore"].to_numpy()
    reasons = assessed["csnClassReason"].to_numpy()
    for row in range(len(assessed)):
        common = {
            "subject": f"{subject} class {row + 1}",
            "rule": "class2d",
            "threshold": f"score of good at least {good_threshold:g}",
            "confidence": float(max(score[row], 1 - score[row])),
        }
        size = f"{population[row]} particles"
        if reasons[row] == "override":
            override = overrides.get(row + 1)
            words = f"{override.source} {override.note}".strip() if override else "given by hand"
            told.append(
                Decision(
                    verdict="info",
                    value=f"label {assessed['csnClassLabel'].iloc[row]} by hand, score of good "
                    f"{score[row]:.2f}, {size}",
                    **(common | {"threshold": "overrides win", "confidence": 1.0}),
                    evidence=words,
                )
            )
        elif population[row] > _POPULOUS * total and abs(score[row] - good_threshold) < _NEAR:
            told.append(
                Decision(
                    verdict="unsure",
                    value=f"score of good {score[row]:.2f}, {size} "
                    f"({100 * population[row] / total:.1f} %)",
                    evidence="the class average in the montage; an override decides",
                    **common,
                )
            )
    return told
