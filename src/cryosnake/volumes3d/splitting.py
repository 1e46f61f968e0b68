"""A volume that has lost its particles takes some of another's; if they are the same, it goes."""

import numpy as np
import torch

from cryosnake.volumes3d.learning import agreement_per_px
from cryosnake.volumes3d.model import Model, VolumeSums
from cryosnake.volumes3d.particles import Particles

_TWINS = 0.8  # of the correlation that two volumes of the same object would have


def by_contrast(
    particles: Particles, volume: int, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Of up to `most` particles of a volume, the third that it fits best and that it fits worst.

    Contrast is the regression of an image on the projection, and the wrong projection lowers it:
    a kind of particle that has no volume of its own gathers in the second group.
    """
    poses = particles.poses
    mine = np.flatnonzero(particles.seen & (poses.class_index == volume))
    if most < len(mine):
        mine = np.sort(rng.choice(mine, most, replace=False))
    low, high = np.quantile(poses.contrast[mine], [1 / 3, 2 / 3])
    return mine[poses.contrast[mine] >= high], mine[poses.contrast[mine] <= low]


def alike(model: Model, sums: VolumeSums, one: int, two: int) -> float:
    """How well two volumes in the same orientation correlate, in terms of what their half sets let
    expect of volumes of the same object: 1 for those, over the shells in which the half sets of
    both agree.

    A mean of both half sets correlates with the truth as sqrt(2 fsc / (1 + fsc)) (Rosenthal and
    Henderson 2003, J Mol Biol 333, equation 18).
    """
    halves = [model.means(sums, k) * model.mask for k in (one, two)]
    curves = [model.shells.correlation(*pair) for pair in halves]
    limit = min(agreement_per_px(curve, model) for curve in curves)
    shells = torch.arange(len(curves[0]), device=curves[0].device)
    weight = model.shells.counts() * (shells >= 2) * (shells <= limit * model.grid.side_px)
    if not weight.any():
        return 1.0
    truth = [2.0 * curve.clamp(0.0, 1.0) / (1.0 + curve.clamp(0.0, 1.0)) for curve in curves]
    expected = (weight * torch.sqrt(truth[0] * truth[1])).sum()
    both = model.shells.correlation(halves[0].mean(0), halves[1].mean(0))
    return float((weight * both).sum() / expected.clamp_min(1e-6))


def twins(model: Model, sums: VolumeSums, one: int, two: int) -> bool:
    """Whether two volumes in the same orientation show the same object."""
    return alike(model, sums, one, two) > _TWINS
