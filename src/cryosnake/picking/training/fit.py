"""The loop that trains a detector: random crops, rounds, early stopping."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from cryosnake.picking.mask import Mask
from cryosnake.picking.network import Detector
from cryosnake.picking.training.dataset import (
    STRIDE_PX,
    Reduced,
    make_example,
    random_batch,
)
from cryosnake.picking.training.labels import Labels, label_curve
from cryosnake.picking.training.loss import positive_unlabelled
from cryosnake.picking.training.scoring import SAME_PARTICLE, score_peaks

CURVE_COLUMNS = ["round", "steps", "loss", "learning_rate", "validation"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes
    ----------
    crops, scores : of a step: crops, and scores along each side of one.
    steps_a_round : between two validations.
    rounds : at most; patience : rounds without a better validation after which training ends.
    learning_rate : at its highest; it rises over the first round and falls along a cosine.
    weight_decay : pull to zero weights (AdamW), relative to the learning rate.
    """

    crops: int = 12
    scores: int = 24
    steps_a_round: int = 25
    rounds: int = 14
    patience: int = 4
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = self.steps_a_round
        last = self.rounds * self.steps_a_round
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + np.cos(np.pi * (step - warm) / max(last - warm, 1)))


DEFAULT_SCHEDULE = Schedule()


@dataclass(frozen=True)
class Labelled:
    """A reduced micrograph, its labels (see `labels`), and where particles can be."""

    micrograph: Reduced
    picks: pd.DataFrame
    mask: Mask | None = None


def fit_detector(
    start: Detector,
    training: Sequence[Labelled],
    held_out: Sequence[Labelled],
    missed_share: float,
    *,
    seed: int,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> tuple[Detector, pd.DataFrame]:
    """Train a copy of a detector; the weights of the best round are kept.

    Parameters
    ----------
    start : the weights to begin with, on the device to train on; not changed.
    training, held_out : micrographs, on the same device.
    missed_share : of all particles, those that are not among the picks, in [0, 1).

    Returns
    -------
    The detector, ready to score, and the curve: one row a round (round 0 is the start) with
    `round`, `steps`, `loss`, `learning_rate` and the `validation` (best expected F1 of the held-out
    micrographs' picks against their labels).
    """
    model = copy.deepcopy(start).train()
    rng = np.random.default_rng([seed, 2])
    margin_px = model.width_px // 2
    examples = [make_example(one.micrograph, one.picks, one.mask, margin_px) for one in training]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    best, best_state = label_f1(model, held_out, missed_share), copy.deepcopy(model.state_dict())
    rows = [(0, 0, np.nan, np.nan, best)]
    since = step = 0
    with reproducible():
        for number in range(1, schedule.rounds + 1):
            losses = []
            for _ in range(schedule.steps_a_round):
                for group in optimiser.param_groups:
                    group["lr"] = schedule.rate(step)
                batch = random_batch(
                    examples,
                    rng,
                    crops=schedule.crops,
                    scores=schedule.scores,
                    margin_px=margin_px,
                )
                risk = positive_unlabelled(
                    model(batch.pixels, STRIDE_PX), batch.distance, batch.probability, missed_share
                )
                optimiser.zero_grad(set_to_none=True)
                risk.backward()
                optimiser.step()
                losses.append(float(risk.detach()))
                step += 1
            validation = label_f1(model, held_out, missed_share)
            rows.append((number, step, float(np.mean(losses)), schedule.rate(step - 1), validation))
            since += 1
            if validation > best:
                best, best_state, since = validation, copy.deepcopy(model.state_dict()), 0
            if since >= schedule.patience:
                break
    model.load_state_dict(best_state)
    return model.eval(), pd.DataFrame(rows, columns=CURVE_COLUMNS)


def label_f1(model: Detector, held_out: Sequence[Labelled], missed_share: float) -> float:
    """Best F1, over all thresholds, of a detector's picks against the labels."""
    if not held_out:
        return 0.0
    peaks = [score_peaks(one.micrograph, model, one.mask, stride_px=STRIDE_PX) for one in held_out]
    labels = Labels([one.picks for one in held_out], missed_share)
    first = held_out[0].micrograph
    radius_px = SAME_PARTICLE * first.particle_px * first.scale_px
    curve = label_curve(peaks, labels, radius_px)
    return float(curve.f1.max()) if len(curve.f1) else 0.0


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """The same sums in the same order on a GPU, for as long as the context is open."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
