"""From the sums of a pass to what people look at: averages in the box, resolution, accuracy."""

import math

import numpy as np
import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.update import update
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.result import ClassAverages
from cryosnake.classes2d.stack import Window

FRC_THRESHOLD = 0.143
_LEAST_POPULATION = 10
_TELLING = -math.log(0.01)  # log-likelihood ratio that is wrong once in a hundred


def in_box(parts: torch.Tensor, window: Window) -> np.ndarray:
    """(K, n, n) float32 images in the particles' box of split images (K, 2 P + 1)."""
    small = window.disc.join(parts)
    side, wide, box = window.side_px, window.window_px, window.box_px
    if side < wide:
        spectrum = torch.fft.fftshift(torch.fft.fft2(small), dim=(-2, -1))
        low = (wide - side) // 2
        padded = spectrum.new_zeros((len(parts), wide, wide))
        padded[:, low : low + side, low : low + side] = spectrum
        shifted = torch.fft.ifftshift(padded, dim=(-2, -1))
        small = torch.fft.ifft2(shifted).real * (wide / side) ** 2
    images = small.new_zeros((len(parts), box, box))
    low = box // 2 - wide // 2
    images[:, low : low + wide, low : low + wide] = small
    return images.cpu().numpy()


def class_averages(
    expectation: Expectation, geometry: Geometry, model: Model, number: int
) -> ClassAverages:
    """What the sums of a model say about its classes and, as the last of `number`, about the
    particles that are empty."""
    transform = geometry.transform(model.band)
    sums, window = model.sums, geometry.window
    found = update(transform, sums, smooth=0)
    parts = [model.parts]
    for half in (0, 1):
        weight = sums.weights[half].clamp_min(1e-3 * max(1.0, float(sums.weights.max())))
        parts.append(transform.parts_of(sums.images[half] / weight))
    poses = expectation.poses
    images = [in_box(one, window) for one in parts]
    if number > len(model):
        empty = _plain_average(expectation, number - 1)
        images = [
            np.concatenate([one, in_box(own[None], window)])
            for one, own in zip(images, empty, strict=True)
        ]
    population = np.bincount(poses.class_index[poses.class_index >= 0], minlength=number)
    frc = np.zeros((number, model.band.rings), np.float32)
    frc[: len(model)] = found.frc.T.cpu().numpy()
    frequency = model.band.radii_per_px().numpy() / geometry.pixel
    share = np.zeros(number)
    counts = sums.counts.sum(0).cpu().numpy()
    share[: len(model)] = counts / max(float(sums.seen), 1.0)
    if number > len(model):
        share[-1] = max(0.0, 1.0 - share.sum())
    rotation, shift = accuracies(transform, model, geometry)
    resolution = np.full(number, math.inf)
    for k in range(number):
        if population[k] >= _LEAST_POPULATION:
            resolution[k] = resolution_angst(frc[k], frequency)
    return ClassAverages(
        averages=images[0],
        halves=np.stack(images[1:]),
        population=population,
        share=share,
        resolution_angst=resolution,
        frc=frc,
        frequency_per_angst=frequency,
        accuracy_rotation_deg=np.resize(np.append(rotation, math.inf), number),
        accuracy_shift_angst=np.resize(np.append(shift, math.inf), number),
    )


def _plain_average(expectation: Expectation, k: int) -> list[torch.Tensor]:
    """Averages of the particles of a class, all and by half, as they lie."""
    chosen = expectation.poses.class_index == k
    parts = expectation.stack.parts
    found = []
    for half in (None, 0, 1):
        mine = chosen if half is None else chosen & (expectation.half == half)
        index = torch.from_numpy(np.flatnonzero(mine))
        total = torch.zeros(parts.shape[1])
        for block in torch.split(index, 4096):
            total += parts[block].float().sum(0)
        found.append(total / max(len(index), 1))
    return found


def resolution_angst(
    frc: np.ndarray, frequency_per_angst: np.ndarray, threshold: float = FRC_THRESHOLD
) -> float:
    """Where a correlation falls below the threshold first, in angstrom; inf where it starts below.
    The lowest ring is ignored."""
    below = np.flatnonzero(frc[1:] < threshold)
    if not len(below):
        return float(1.0 / frequency_per_angst[-1])
    at = int(below[0]) + 1
    if at == 1:
        return math.inf
    step = (frc[at - 1] - threshold) / max(frc[at - 1] - frc[at], 1e-6)
    low, high = frequency_per_angst[at - 1], frequency_per_angst[at]
    return float(1.0 / (low + step * (high - low)))


def accuracies(
    transform: PolarTransform, model: Model, geometry: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) rotation in degrees and (K,) shift in angstrom at which the expected log-likelihood
    ratio against the true pose, sum of c^2 |v - v'|^2 / (2 s2), reaches 4.6 (1 % of errors).

    c^2, with the contrast, is the mean over the particles of the class; for shifts the mean over
    directions is taken, 1 - J0(2 pi r s).
    """
    refs = model.references(transform)
    sums = model.sums
    squared = sums.weights.sum(0) / sums.counts.sum(0).clamp_min(1e-6)  # (R, K)
    band = transform.band
    weight = band.areas().to(squared.device) / model.noise[: band.rings]
    weight[: band.first] = 0.0
    power = refs.orders.square().sum(1) * transform.order_weight[:, None, None]  # (O, R, K)
    by_order = (power * (weight[:, None] * squared)).sum(1)  # (O, K)
    angles = torch.linspace(0.1, 45.0, 450, device=squared.device)
    orders = transform.orders.to(squared.device).float()
    ratio = (1 - torch.cos(torch.deg2rad(angles)[:, None] * orders)) @ by_order
    rotation = _first(ratio, angles)
    by_ring = power.sum(0) * weight[:, None] * squared  # (R, K)
    steps = torch.linspace(0.1, 30.0, 300, device=squared.device)
    radii = band.radii_per_px().to(squared.device) / geometry.pixel
    bessel = torch.special.bessel_j0(2 * math.pi * steps[:, None] * radii)
    return rotation, _first((1 - bessel) @ by_ring, steps)


def _first(ratio: torch.Tensor, values: torch.Tensor) -> np.ndarray:
    """The first of the values (V,) where the ratio (V, K) tells; inf where none does."""
    reached = ratio >= _TELLING
    first = values[reached.int().argmax(0)]
    return torch.where(reached.any(0), first, math.inf).cpu().numpy()
