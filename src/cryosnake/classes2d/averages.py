"""From the sums of a pass to what people look at: averages in the box, resolution, accuracy."""

import math

import numpy as np
import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.update import update
from cryosnake.classes2d.contribution import Contribution
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.result import ClassAverages
from cryosnake.classes2d.window import Window

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
    geometry: Geometry, references: Model, contribution: Contribution, trust: float
) -> ClassAverages:
    """What a contribution says about its classes, the last of which is of particles that are empty.

    Parameters
    ----------
    references : what was scored; only its noise beyond the contribution's band is used.
    trust : of `Schedule`.
    """
    transform = geometry.transform(contribution.band)
    sums, window = contribution.sums.to(geometry.device), geometry.window
    model = Model(references.parts, references.noise.clone())
    model.learn(geometry, transform, sums, 0.0, trust)
    number = contribution.classes
    found = update(transform, sums, smooth=0)
    parts = [model.parts]
    for half in (0, 1):
        weight = sums.weights[half].clamp_min(1e-3 * max(1.0, float(sums.weights.max())))
        parts.append(transform.parts_of(sums.images[half] / weight))
    images = [
        in_box(torch.cat([one, empty[None].to(one.device)]), window)
        for one, empty in zip(parts, _plain_averages(contribution), strict=True)
    ]
    population = contribution.population.sum(0).numpy()
    frc = np.zeros((number, model.band.rings), np.float32)
    frc[:-1] = found.frc.T.cpu().numpy()
    frequency = model.band.radii_per_px().numpy() / geometry.pixel
    share = np.zeros(number)
    counts = sums.counts.sum(0).cpu().numpy()
    share[:-1] = counts / max(float(sums.seen), 1.0)
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
        accuracy_rotation_deg=np.append(rotation, math.inf),
        accuracy_shift_angst=np.append(shift, math.inf),
    )


def _plain_averages(contribution: Contribution) -> list[torch.Tensor]:
    """Averages of the particles that are empty, all and by half."""
    sums, number = contribution.nothing, contribution.population[:, -1]
    return [
        sums.sum(0) / number.sum().clamp_min(1),
        *(sums / number[:, None].clamp_min(1)),
    ]


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
