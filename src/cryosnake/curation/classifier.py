"""The micrograph classifier: a table of rules that anyone can read, on features that anyone can
measure.

`classifier.json` holds the rules. There is no training beyond the choice of its thresholds, which
`benchmarks/curation_tune.py` shows against the features of simulated movies.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch

from cryosnake.curation.features import FEATURES, measure_features
from cryosnake.curation.labels import LABELS, MicrographClass

_LIMIT = 6.0
#: Log-odds against defects that could not be looked for because a feature is missing.
_UNKNOWN = -2.0


@dataclass(frozen=True)
class Condition:
    """A feature held against a threshold; `softness` is the distance that makes log-odds of 1."""

    feature: str
    direction: str
    threshold: float
    softness: float

    def log_odds(self, features: dict[str, float]) -> float:
        """Positive where the condition holds; NaN where the feature is unknown."""
        value = (features[self.feature] - self.threshold) / self.softness
        if math.isnan(value):
            return math.nan
        return max(-_LIMIT, min(_LIMIT, value if self.direction == "above" else -value))

    def words(self, features: dict[str, float]) -> str:
        """What was measured, its unit and the threshold."""
        unit = FEATURES[self.feature].unit
        unit = "" if unit == "-" else f" {unit}"
        name = self.feature.replace("_", " ")
        return f"{name} {features[self.feature]:.3g}{unit} is {self.direction} {self.threshold:g}"


@cache
def rules() -> dict[str, list[list[Condition]]]:
    """The table of rules: label -> any of -> all of.

    Raises
    ------
    ValueError : a label, feature or direction that does not exist.
    """
    table = json.loads(files(__package__).joinpath("classifier.json").read_text())["rules"]
    found = {
        label: [[Condition(*condition) for condition in rule] for rule in alternatives]
        for label, alternatives in table.items()
    }
    for label, alternatives in found.items():
        for condition in (c for rule in alternatives for c in rule):
            if (
                label not in LABELS
                or condition.feature not in FEATURES
                or condition.direction not in ("above", "below")
            ):
                raise ValueError(f"classifier.json: {label}: {condition} does not exist")
    return found


def classify_micrograph(
    image: np.ndarray | torch.Tensor, pixel_size_angst: float
) -> MicrographClass:
    """Label a micrograph: good, film, drift_crack, minor_ice, major_ice, contamination or empty.

    Parameters
    ----------
    image : (H, W), at least 205 px on each side; the sum, preferably without dose weights. The
        result does not depend on the scale or the offset of its grey values.
    pixel_size_angst : of the image. Above 1.70 A crystalline ice cannot be seen: the result says
        so, and the confidence in `good` is lower.

    Examples
    --------
    >>> found = classify_micrograph(micrograph, 0.85)
    >>> found.label, found.reasons
    """
    return classify_features(measure_features(image, pixel_size_angst))


def classify_features(features: dict[str, float]) -> MicrographClass:
    """Label a micrograph from its features."""
    scores, because, unknown = {}, {}, []
    for label, alternatives in rules().items():
        judged = []
        for rule in alternatives:
            odds = [condition.log_odds(features) for condition in rule]
            if not any(math.isnan(value) for value in odds):
                judged.append((min(odds), rule))
        if judged:
            scores[label], because[label] = max(judged, key=lambda item: item[0])
        else:
            scores[label] = _UNKNOWN
            unknown.append(label)
    scores["good"] = 0.0
    best = max(LABELS, key=lambda label: scores[label])
    total = sum(math.exp(score) for score in scores.values())
    if best == "good":
        nearest = max(because, key=lambda label: scores[label])
        against = min(because[nearest], key=lambda c: c.log_odds(features))
        reasons = [f"nearest other label is {nearest}: {_opposite(against, features)}"]
    else:
        ordered = sorted(because[best], key=lambda c: -c.log_odds(features))
        reasons = [condition.words(features) for condition in ordered]
    if unknown:
        reasons.append(f"pixels too coarse to see {' or '.join(unknown)}")
    return MicrographClass(
        label=best,
        confidence=math.exp(scores[best]) / total,
        reasons=tuple(reasons),
        features=features,
        scores=scores,
    )


def _opposite(condition: Condition, features: dict[str, float]) -> str:
    """Why a condition does not hold."""
    words = condition.words(features)
    if condition.direction == "above":
        return words.replace(" is above ", " is not above ")
    return words.replace(" is below ", " is not below ")
