"""The class model: multinomial logistic regression on the features.

Curves instead of straight lines were tried and gained nothing. `class_model.json` holds the
numbers; it is made by `benchmarks/assessment_train.py` from simulated classifications with known
truth.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from cryosnake.assessment.features import ACCURACY, EVIDENCE, EVIDENCE_UNIT, FEATURES
from cryosnake.assessment.labels import LABELS

_LIMIT = 4.0  # standard deviations: what is further out tells no more
#: Log-likelihood ratio against an empty image below which a class shows nothing. Over the simulated
#: classifications the classes of nothing have at most 1.3, all others at least 3.
LEAST_EVIDENCE = 2.0


@dataclass(frozen=True)
class Logistic:
    """Log-odds of the labels from F features that are all known.

    Parameters
    ----------
    features : their names; centre, scale : (F,) that make them standard.
    weights : (4, F) of the standard features; intercept : (4,).
    """

    features: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray

    def standard(self, features: pd.DataFrame) -> np.ndarray:
        """(K, F) of features with K rows."""
        values = features[list(self.features)].to_numpy(float)
        return np.clip((values - self.centre) / self.scale, -_LIMIT, _LIMIT)

    def log_odds(self, features: pd.DataFrame) -> np.ndarray:
        """(K, 4), up to a constant a row."""
        return self.standard(features) @ self.weights.T + self.intercept


@dataclass(frozen=True)
class ClassModel:
    """A regression for each set of features that may be known, and the facts of their training.

    Parameters
    ----------
    parts : by what is known beside the average: `all`, `no_evidence`, `no_accuracy`, `neither`.
    facts : sets, seeds, versions and figures of the training.
    """

    parts: dict[str, Logistic]
    facts: dict = field(default_factory=dict)

    def probabilities(self, features: pd.DataFrame) -> np.ndarray:
        """(K, 4) in the order of `LABELS`, adding up to 1, of the rows of `class_features`."""
        found = np.empty((len(features), len(LABELS)))
        kinds = np.array(known_kinds(features))
        for kind in np.unique(kinds):
            rows = kinds == kind
            odds = self.parts[kind].log_odds(features[rows])
            odds -= odds.max(axis=1, keepdims=True)
            found[rows] = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        return with_evidence(found, features)


def with_evidence(chances: np.ndarray, features: pd.DataFrame) -> np.ndarray:
    """Probabilities (K, 4) where classes without evidence are noise, whatever they look like."""
    nothing = features["evidence"].to_numpy() < np.arcsinh(LEAST_EVIDENCE / EVIDENCE_UNIT)
    return np.where(nothing[:, None], [label == "noise" for label in LABELS], chances)


def known_kinds(features: pd.DataFrame) -> list[str]:
    """Of each row, which part of `ClassModel` it is for."""
    evidence = features[list(EVIDENCE)].notna().all(axis=1)
    accuracy = features[list(ACCURACY)].notna().all(axis=1)
    names = {
        (True, True): "all",
        (False, True): "no_evidence",
        (True, False): "no_accuracy",
        (False, False): "neither",
    }
    return [names[pair] for pair in zip(evidence, accuracy, strict=True)]


def features_of_kind(kind: str) -> tuple[str, ...]:
    """The features that a part of `ClassModel` uses."""
    left_out = {
        "all": (),
        "no_evidence": EVIDENCE,
        "no_accuracy": ACCURACY,
        "neither": EVIDENCE + ACCURACY,
    }[kind]
    return tuple(name for name in FEATURES if name not in left_out)


@cache
def load_model() -> ClassModel:
    """The model of the package.

    Raises
    ------
    ValueError : the file holds other labels or features than this version knows.
    """
    return from_json(files(__package__).joinpath("class_model.json").read_text())


def to_json(model: ClassModel) -> str:
    """A model as text, numbers with six significant digits."""

    def short(values):
        return [float(f"{value:.6g}") for value in values]

    parts = {
        kind: {
            "features": list(one.features),
            "centre": short(one.centre),
            "scale": short(one.scale),
            "weights": [short(row) for row in one.weights],
            "intercept": short(one.intercept),
        }
        for kind, one in model.parts.items()
    }
    whole = {"labels": list(LABELS), "facts": model.facts, "parts": parts}
    text = json.dumps(whole, indent=1)
    # one line a list of values
    return re.sub(r"\[([^\[\]]*)\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def from_json(text: str) -> ClassModel:
    """A model from the text of `to_json`."""
    whole = json.loads(text)
    if whole["labels"] != list(LABELS):
        raise ValueError(f"class_model.json: labels {whole['labels']} are not {list(LABELS)}")
    parts = {}
    for kind, one in whole["parts"].items():
        if tuple(one["features"]) != features_of_kind(kind):
            raise ValueError(f"class_model.json: {kind}: other features than this version measures")
        numbers = {
            name: np.array(one[name]) for name in ("centre", "scale", "weights", "intercept")
        }
        parts[kind] = Logistic(features=tuple(one["features"]), **numbers)
    return ClassModel(parts, whole["facts"])
