"""Train the class model on simulated classifications and write it into the package.

    python benchmarks/assessment_train.py [--sets 70] [--folder DIR] [--dry]

Sets are simulated and classified once and kept in the folder, so that a second run takes seconds.
Every figure printed is cross-validated: the sets are cut into folds, and each class is judged by a
model that has seen no class of its set. `--dry` writes nothing.
"""

import argparse
import math
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from assessment_sets import classified, crowded_plan, training_plan
from scipy.optimize import minimize, minimize_scalar

import cryosnake.assessment.model as package
from cryosnake.assessment.features import ACCURACY, EVIDENCE, class_features
from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.model import (
    ClassModel,
    Logistic,
    features_of_kind,
    to_json,
    with_evidence,
)
from cryosnake.files import write_text

FOLDS = 8
CROWDED_FROM = 60  # the sets after this one are of crowded micrographs
PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03)
TOLERANCE = 1.05  # of the least cross-entropy: the strongest penalty within it is taken


def measured(seeds: range, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of all classes of the sets, and their truth: `label`, share of `true` particles,
    `set`, `size`."""
    features, truths = [], []
    for seed in seeds:
        plan = crowded_plan(seed) if seed > CROWDED_FROM else training_plan(seed)
        found = classified(plan, folder)
        features.append(
            class_features(
                found.averages,
                found.table,
                pixel_size_angst=plan.pixel_size_angst,
                diameter_angst=plan.diameter_angst,
            )
        )
        truth = pd.DataFrame({"label": found.labels, "true": found.label_shares[:, 0]})
        # The engine's class of nothing has no aligned average: what it holds is of no use, even
        # where the signal was so weak that true particles went there.
        truth.loc[len(truth) - 1, "label"] = "noise"
        truths.append(truth.assign(set=seed, size=found.counts.sum(axis=1)))
        print(f"set {seed}: {len(truth)} classes of {', '.join(plan.structures)}", flush=True)
    features = pd.concat(features, ignore_index=True)
    truths = pd.concat(truths, ignore_index=True)
    filled = (truths["size"] > 0).to_numpy()
    return features[filled].reset_index(drop=True), truths[filled].reset_index(drop=True)


def without(features: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The features as an engine gives them that leaves some out."""
    gone = [name for name in (*ACCURACY, *EVIDENCE) if name not in features_of_kind(kind)]
    return features.assign(**dict.fromkeys(gone, np.nan))


def fitted(
    features: pd.DataFrame, wanted: np.ndarray, weight: np.ndarray, kind: str, penalty: float
) -> Logistic:
    """The regression of least cross-entropy against labels (K, 4), the squared weights
    penalised."""
    names = features_of_kind(kind)
    values = features[list(names)].to_numpy(float)
    centre = np.median(values, axis=0)
    scale = np.maximum(np.percentile(values, 90, axis=0) - np.percentile(values, 10, axis=0), 0.02)
    scale /= 2.56
    width = len(names)
    empty = Logistic(names, centre, scale, np.zeros((len(LABELS), width)), np.zeros(len(LABELS)))
    terms = torch.as_tensor(empty.standard(features))
    wanted, weight = torch.tensor(wanted), torch.tensor(weight / weight.mean())

    def loss(flat):
        parts = torch.tensor(flat.reshape(len(LABELS), width + 1), requires_grad=True)
        logs = torch.log_softmax(terms @ parts[:, :-1].T + parts[:, -1], dim=1)
        total = -(weight[:, None] * wanted * logs).sum(1).mean()
        total = total + penalty * parts[:, :-1].square().sum()
        total.backward()
        return total.item(), parts.grad.numpy().ravel()

    found = minimize(
        loss,
        np.zeros(len(LABELS) * (width + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000},
    )
    parts = found.x.reshape(len(LABELS), width + 1)
    return Logistic(names, centre, scale, parts[:, :-1], parts[:, -1])


def one_hot(truths: pd.DataFrame) -> np.ndarray:
    """(K, 4) 1 at the label."""
    return (truths["label"].to_numpy()[:, None] == np.array(LABELS)).astype(float)


def softmax(odds: np.ndarray) -> np.ndarray:
    power = np.exp(odds - odds.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def cross_validated(features, truths, kind: str, penalty: float) -> np.ndarray:
    """(K, 4) log-odds by models that have not seen the set."""
    wanted = one_hot(truths)
    weight = np.sqrt(truths["size"].to_numpy(float))
    odds = np.empty(wanted.shape)
    fold = truths["set"].to_numpy() % FOLDS
    for one in range(FOLDS):
        away, here = fold != one, fold == one
        found = fitted(features[away], wanted[away], weight[away], kind, penalty)
        odds[here] = found.log_odds(features[here])
    return odds


def cross_entropy(chances, truths) -> float:
    weight = np.sqrt(truths["size"].to_numpy(float))
    return float(np.average(-np.log((one_hot(truths) * chances).sum(1) + 1e-12), weights=weight))


def figures(chances: np.ndarray, truths: pd.DataFrame) -> dict[str, float]:
    """How good probabilities are: calibration of `good` and labels, of classes and particles."""
    wanted, size = one_hot(truths), truths["size"].to_numpy(float)
    good, score = wanted[:, 0], chances[:, 0]
    bins = np.minimum((score * 10).astype(int), 9)
    error = sum(
        (bins == b).mean() * abs(good[bins == b].mean() - score[bins == b].mean())
        for b in np.unique(bins)
    )
    best, kept = good == 1, score >= 0.5
    true, junk = size * truths["true"].to_numpy(), size * (1 - truths["true"].to_numpy())
    return {
        "calibration_error": float(error),
        "brier": float(np.mean((score - good) ** 2)),
        "label_accuracy": float((chances.argmax(1) == wanted.argmax(1)).mean()),
        "fpr_classes_by_size": float(size[kept & ~best].sum() / size[~best].sum()),
        "fnr_classes_by_size": float(size[~kept & best].sum() / size[best].sum()),
        "fpr_particles": float(junk[kept].sum() / junk.sum()),
        "fnr_particles": float(true[~kept].sum() / true.sum()),
        "fpr_particles_by_majority": float(junk[best].sum() / junk.sum()),
        "fnr_particles_by_majority": float(true[~best].sum() / true.sum()),
    }


def confusion(chances: np.ndarray, truths: pd.DataFrame) -> pd.DataFrame:
    """Classes by true label (rows) and given label (columns)."""
    found = pd.Series(np.array(LABELS)[chances.argmax(1)], name="found")
    return pd.crosstab(truths["label"].rename("true"), found).reindex(
        index=LABELS, columns=LABELS, fill_value=0
    )


def reliability(chances: np.ndarray, truths: pd.DataFrame) -> str:
    """Probability of good against the share of classes that are, by tenths."""
    tenth = pd.Series(np.minimum((chances[:, 0] * 10).astype(int), 9), name="tenth")
    table = pd.DataFrame({"probability": chances[:, 0], "good": truths["label"] == "good"})
    found = table.groupby(tenth).mean().assign(classes=tenth.value_counts().sort_index())
    return found.round(3).to_string()


def trained(features: pd.DataFrame, truths: pd.DataFrame) -> ClassModel:
    """All parts, their penalty and temperature chosen by cross-validation; prints figures."""
    parts, facts = {}, {}
    weight = np.sqrt(truths["size"].to_numpy(float))
    wanted = one_hot(truths)
    for kind in ("all", "no_evidence", "no_accuracy", "neither"):
        known = without(features, kind)
        tried = {p: cross_validated(known, truths, kind, p) for p in PENALTIES}
        losses = {p: cross_entropy(softmax(odds), truths) for p, odds in tried.items()}
        penalty = max(p for p in PENALTIES if losses[p] <= TOLERANCE * min(losses.values()))
        odds = tried[penalty]
        sharper = minimize_scalar(
            lambda s, odds=odds: cross_entropy(softmax(math.exp(s) * odds), truths),
            bounds=(-1, 1),
            method="bounded",
        )
        factor = math.exp(sharper.x)
        chances = with_evidence(softmax(factor * odds), known)
        one = fitted(known, wanted, weight, kind, penalty)
        parts[kind] = Logistic(
            one.features,
            one.centre,
            one.scale,
            factor * one.weights,
            factor * one.intercept,
        )
        facts[kind] = {"penalty": penalty, "sharpened": round(factor, 3)} | {
            name: round(value, 4) for name, value in figures(chances, truths).items()
        }
        print(f"\n{kind}: cross-entropy {cross_entropy(chances, truths):.4f}")
        print("\n".join(f"  {name} {value}" for name, value in facts[kind].items()))
        print(confusion(chances, truths).to_string())
        print(reliability(chances, truths))
    return ClassModel(parts, facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=70)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "cryosnake-class-sets"
    )
    parser.add_argument("--dry", action="store_true", help="print figures, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    features, truths = measured(range(1, options.sets + 1), options.folder)
    model = trained(features, truths)
    facts = {
        "sets": options.sets,
        "seeds": f"1 to {options.sets}",
        "classes": len(truths),
        "particles": int(truths["size"].sum()),
        "versions": {name: version(name) for name in ("numpy", "scipy", "torch")},
        "cross_validated": model.facts,
    }
    if not options.dry:
        path = Path(package.__file__).with_name("class_model.json")
        write_text(path, to_json(ClassModel(model.parts, facts)))
        print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
