"""Mini-batch classification: from random references to classes, in a few passes over the data."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.update import Sums
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.levels import Level, Priors
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.schedule import Schedule


def random_model(
    expectation: Expectation,
    geometry: Geometry,
    number: int,
    schedule: Schedule,
    resolution_angst: float,
    rng: np.random.Generator,
) -> Model:
    """Averages of random subsets in random orientations, and the power of the images as noise."""
    usable = np.flatnonzero(expectation.stack.usable)
    take = min(len(usable), max(schedule.least_batch, schedule.batch_per_class[1] * number))
    chosen = np.sort(rng.choice(usable, take, replace=False))
    shift_range = schedule.shift_range * geometry.diameter_angst
    finest = geometry.band(resolution_angst, shift_angst=shift_range)
    transform = geometry.transform(finest)
    noise = torch.zeros(finest.rings, device=expectation.device)
    label = torch.tensor(rng.permutation(take) % number, device=expectation.device)
    psi = torch.tensor(
        rng.uniform(0, 2 * np.pi, take), dtype=torch.float32, device=expectation.device
    )
    total = torch.zeros((finest.orders, 2, finest.rings, number), device=expectation.device)
    weight = torch.zeros((finest.rings, number), device=expectation.device)
    for start in range(0, take, 256):
        part = slice(start, start + 256)
        images, power = expectation.load(chosen[part], transform)
        noise += power.sum(1)
        orders = transform.orders_of(images.real, images.imaginary)
        turn = transform.orders.to(psi.device)[:, None] * psi[part]
        cos, sin = torch.cos(turn)[:, None], torch.sin(turn)[:, None]
        real = orders[:, 0] * cos + orders[:, 1] * sin
        imaginary = orders[:, 1] * cos - orders[:, 0] * sin
        total.index_add_(3, label[part], torch.stack([real, imaginary], 1))
        weight.index_add_(1, label[part], images.squared)
    noise /= take * geometry.window.mask_px
    band = geometry.band(schedule.first_resolution * geometry.diameter_angst)
    mean = total / weight.clamp_min(1e-3)
    mean[:, :, band.rings :] = 0.0
    parts = geometry.solvent_flattened(transform.parts_of(mean))
    return Model(parts, noise)


def classify_online(
    expectation: Expectation,
    geometry: Geometry,
    model: Model,
    schedule: Schedule,
    *,
    resolution_angst: float,
    rng: np.random.Generator,
    report: Callable[[str], None] | None = None,
) -> None:
    """Improve the model by mini-batches."""
    number = len(model)
    diameter = geometry.diameter_angst
    usable = np.flatnonzero(expectation.stack.usable)
    queue = rng.permutation(usable)
    visited = np.zeros(len(expectation.stack), bool)
    first = schedule.first_resolution * diameter
    last = max(resolution_angst, schedule.online_resolution * diameter)
    shift_range = schedule.shift_range * diameter
    sigma_px = schedule.shift_sigma * shift_range / geometry.pixel
    steps = schedule.batches
    members = np.zeros(number)
    for step in range(int(schedule.start * steps), steps):
        progress = step / max(steps - 1, 1)
        # the frequency grows linearly over the first two thirds, in stages
        stage = min(1.0, np.floor(progress * 1.5 * 5) / 5)
        resolution = 1.0 / ((1 - stage) / first + stage / max(last, resolution_angst))
        transform = geometry.transform(geometry.band(resolution, shift_angst=shift_range))
        step_angst = max(schedule.shift_step * resolution, 0.5 * geometry.pixel)
        shifts = geometry.shifts_px(step_angst, shift_range)
        step_px = geometry.area_step_px(step_angst)
        size = int(number * np.interp(progress, [0, 1], schedule.batch_per_class))
        size = min(len(usable), max(size, schedule.least_batch))
        if len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(usable)])
        batch, queue = np.sort(queue[:size]), queue[size:]
        level = Level(transform, model.references(transform), shifts, step_px)
        log_prior = -schedule.balance * torch.log(model.share * number + 0.1)
        nothing = -math.inf
        if progress > schedule.empty_from:
            nothing = Priors.of_nothing(model.empty, number)
        priors = Priors(log_prior, sigma_px, shift_range / geometry.pixel, nothing)
        known = visited[batch] & (rng.random(size) > schedule.research)
        sums = expectation.run(batch[~known], level, None, priors)
        if known.any():
            near = Level(transform, level.refs, geometry.shifts_px(step_angst, step_angst), step_px)
            sums.add(expectation.run_near(batch[known], near, priors))
        visited[batch] = True
        forget = max(schedule.forget[0] * (1 - progress), schedule.forget[1])
        found = model.learn(geometry, transform, sums, 1.0 - forget, schedule.trust)
        best = expectation.poses.class_index[batch]
        if progress > schedule.empty_from:
            filled = float(sums.counts.sum() / sums.seen)
            model.learn_empty(1.0 - filled, forget)
        now = np.bincount(best[best >= 0], minlength=number)[:number]
        members = (1.0 - forget) * members + now
        if step % schedule.centre_every == 1 and progress < schedule.split_until:
            model.recentre(geometry, transform, 0.5 * step_px)
        if step % schedule.split_every == 0 and 0 < progress < schedule.split_until:
            split_empty(model, geometry, transform, schedule, members)
        if report is not None and step % 10 == 9:
            share = torch.sort(model.share).values
            report(
                f"batch {step + 1} of {steps}: {size} particles to {resolution:.1f} A, "
                f"{len(shifts)} shifts, shares {share[0]:.3f} to {share[-1]:.3f}, "
                f"{(found.snr > 1).sum(0).float().mean():.1f} rings of signal"
            )


def split_empty(
    model: Model,
    geometry: Geometry,
    transform: PolarTransform,
    schedule: Schedule,
    members: np.ndarray,
) -> int:
    """Give each class that is hardly anyone's best half of the largest: one half set each.

    Parameters
    ----------
    members : (K,) particles by their best class; changed with the classes.
    """
    replaced = 0
    for k in np.argsort(members):
        donor = int(members.argmax())
        if members[k] >= schedule.split_below * members.mean() or donor == k:
            break
        sums = model.sums
        sums.images[..., k] = sums.images[1, ..., donor] * 0.5
        sums.weights[..., k] = sums.weights[1, ..., donor] * 0.5
        sums.counts[:, k] = sums.counts[1, donor] * 0.5
        sums.images[..., donor] = sums.images[0, ..., donor] * 0.5
        sums.weights[..., donor] = sums.weights[0, ..., donor] * 0.5
        sums.counts[:, donor] = sums.counts[0, donor] * 0.5
        members[[k, donor]] = 0.5 * members[donor]
        for which in (k, donor):
            model.parts[which] = _average(model.sums, geometry, transform, which)
        replaced += 1
    return replaced


def _average(sums: Sums, geometry: Geometry, transform: PolarTransform, k: int) -> torch.Tensor:
    weight = sums.weights[..., k].sum(0)
    mean = sums.images[..., k].sum(0) / (weight + 0.5 * weight.mean()).clamp_min(1e-6)
    return geometry.solvent_flattened(transform.parts_of(mean[..., None]))[0]


def renewed(model: Model, parts: torch.Tensor, schedule: Schedule) -> Schedule:
    """Start the model from the strongest of earlier averages (K', 2 P + 1). A part of the classes,
    and all that these do not fill, stay as random as they are. The schedule enters late."""
    keep = max(1, int(min(len(parts), len(model)) * (1.0 - schedule.warm_renewed)))
    power = parts.square().sum(1)
    model.parts[:keep] = parts[torch.argsort(power, descending=True)[:keep]]
    return replace(schedule, start=schedule.warm_from)
