"""Training a picking model of the sample at hand, and judging it.

trained = train_detector(images, picks, pickers, pixel_size_angst, size, start_model=general)
trained.chosen, trained.why
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from cryosnake.picking.mask import Mask, usable_mask
from cryosnake.picking.network import Detector
from cryosnake.picking.reliability import estimate_reliability
from cryosnake.picking.size_model import ParticleSize
from cryosnake.picking.training.dataset import Reduced, reduce
from cryosnake.picking.training.fit import (
    CURVE_COLUMNS,
    DEFAULT_SCHEDULE,
    Labelled,
    Schedule,
    fit_detector,
)
from cryosnake.picking.training.judge import Judgement, judge, without_training
from cryosnake.picking.training.labels import make_labels
from cryosnake.picking.training.scoring import SAME_PARTICLE, score_peaks

#: Fewer particles than this, by expectation, teach nothing.
MIN_PARTICLES = 50.0
#: Steps of training for each of them: few particles are soon learned by heart.
_STEPS_A_PARTICLE = 0.2
_MIN_ROUNDS = 4


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes
    ----------
    model : the trained detector; None where nothing was trained.
    judgement : what to pick with and why, the threshold, and the validation behind both.
    curve : one row a round: `round`, `steps`, `loss`, `learning_rate`, `validation`.
    training_names, held_out_names : micrographs.
    left_out : name -> why it could not be used.
    picks : of each micrograph that was used, the picks of each picker: what is known about them.
    diameter_angst, pixel_size_angst, seed : trained with.
    """

    model: Detector | None
    judgement: Judgement
    curve: pd.DataFrame
    training_names: list[str]
    held_out_names: list[str]
    left_out: dict[str, str]
    picks: list[dict[str, pd.DataFrame]]
    diameter_angst: float
    pixel_size_angst: float
    seed: int

    @property
    def chosen(self) -> str:
        """What to pick with: "trained", "consensus" or the name of a picker."""
        return self.judgement.chosen


def train_detector(
    images: Iterable[tuple[str, np.ndarray]],
    picks: Mapping[str, pd.DataFrame],
    pickers: Mapping[str, Mapping[str, pd.DataFrame]],
    pixel_size_angst: float,
    size: ParticleSize,
    *,
    start_model: Detector | None,
    seed: int,
    device: torch.device | str = "cpu",
    held_out_fraction: float = 0.25,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> Trained:
    """Train a detector on the consensus of pickers, and decide what to pick with.

    Parameters
    ----------
    images : name and (H, W) full-size micrograph, one after the other (read when asked for), not
        denoised, particles dark. Flat and tiny ones are left out.
    picks : of each micrograph, the consensus; the figure of merit is a probability.
    pickers : of each micrograph, the picks of each picker. The one that `start_model` makes is
        called "network".
    start_model : the pretrained detector; not changed. None: nothing is trained.
    seed : of the split and of the crops. Same input, seed, device and threads: same model.
    held_out_fraction : of the micrographs, at least one, that judge and are not trained on.

    Returns
    -------
    Trained. With fewer than two micrographs, too few particles or no model to start from nothing
    is trained, and the choice is among the pickers.
    """
    least_px = 0 if start_model is None else start_model.width_px // 2
    read = _read(images, pixel_size_angst, size, least_px, device)
    names = list(read.micrographs)
    area_px2 = read.area_px2 / max(len(names), 1)
    radius_px = SAME_PARTICLE * size.diameter_angst / pixel_size_angst
    found = [dict(pickers.get(name, {})) for name in names]
    reliability = estimate_reliability(found, radius_px, area_px2=area_px2)
    labels = make_labels([picks[name] for name in names], found, reliability, radius_px)
    nothing = Trained(
        None,
        without_training(found, reliability),
        pd.DataFrame(columns=CURVE_COLUMNS, dtype=float),
        [],
        [],
        read.left_out,
        found,
        size.diameter_angst,
        pixel_size_angst,
        seed,
    )
    reason = _too_little(len(names), labels.known)
    if start_model is None:
        return nothing
    if reason:
        why = f"{reason}: {nothing.judgement.why}"
        return replace(nothing, judgement=replace(nothing.judgement, why=why))
    order = np.random.default_rng([seed, 3]).permutation(len(names))
    number = min(max(1, round(held_out_fraction * len(names))), len(names) - 1)
    held, kept = sorted(order[:number]), sorted(order[number:])

    def labelled(which: list[int]) -> list[Labelled]:
        return [
            Labelled(read.micrographs[names[i]], labels.tables[i], read.masks[names[i]])
            for i in which
        ]

    rounds = round(_STEPS_A_PARTICLE * labels.known / schedule.steps_a_round)
    rounds = int(np.clip(rounds, min(_MIN_ROUNDS, schedule.rounds), schedule.rounds))
    model, curve = fit_detector(
        start_model.to(device),
        labelled(kept),
        labelled(held),
        labels.missed_share,
        seed=seed,
        schedule=replace(schedule, rounds=rounds),
    )
    peaks = [score_peaks(read.micrographs[names[i]], model, read.masks[names[i]]) for i in held]
    held_labels = replace(labels, tables=[labels.tables[i] for i in held])
    judgement = judge(peaks, held_labels, [found[i] for i in held], reliability, radius_px)
    return replace(
        nothing,
        model=model,
        judgement=judgement,
        curve=curve,
        training_names=[names[i] for i in kept],
        held_out_names=[names[i] for i in held],
    )


@dataclass(frozen=True)
class _Read:
    """What is kept of the micrographs, by name; `area_px2`: of all together."""

    micrographs: dict[str, Reduced]
    masks: dict[str, Mask]
    left_out: dict[str, str]
    area_px2: float


def _read(
    images: Iterable[tuple[str, np.ndarray]],
    pixel_size_angst: float,
    size: ParticleSize,
    least_px: int,
    device: torch.device | str,
) -> _Read:
    """All micrographs reduced, one full-size one in memory at a time; their area together."""
    micrographs, masks, left_out, area_px2 = {}, {}, {}, 0.0
    for name, image in images:
        mask = usable_mask(image, pixel_size_angst, size)
        if not mask.usable.any():
            left_out[name] = "nothing on it is usable: flat, too small, or covered"
            continue
        small = reduce(image, pixel_size_angst, size.diameter_angst, device=device)
        if min(small.pixels.shape) <= least_px:
            left_out[name] = f"{image.shape} px are less than the detector sees at once"
            continue
        micrographs[name], masks[name] = small, mask
        area_px2 += float(np.prod(image.shape))
    return _Read(micrographs, masks, left_out, area_px2)


def _too_little(micrographs: int, particles: float) -> str | None:
    """Why nothing can be trained, None where it can."""
    if micrographs < 2:
        return f"{micrographs} micrographs, and at least 2 are needed to train and to validate"
    if particles < MIN_PARTICLES:
        return f"{particles:.0f} particles to learn from, and at least {MIN_PARTICLES:.0f} needed"
    return None
