"""Where a search starts: volumes of random views, or references on the scale of the particles."""

import numpy as np
import torch

from cryosnake.volumes3d.model import Model, SliceSums, VolumeSums
from cryosnake.volumes3d.orientations import view_grid
from cryosnake.volumes3d.passes import Passes

_BLOCK = 256
_SCALE_PARTICLES = 2000
_SCALE_STEP_DEG = 12.0


def blank(passes: Passes) -> Model:
    """Volumes of nothing, and the power of some particles as noise."""
    transform = passes.geometry.transform(passes.finest)
    chosen = _some(passes, _SCALE_PARTICLES)
    power = torch.zeros(passes.finest.rings, device=passes.geometry.device)
    for start in range(0, len(chosen), _BLOCK):
        power += passes.particles.load(chosen[start : start + _BLOCK], transform)[1].sum(1)
    noise = power / len(chosen) / passes.geometry.window.mask_px
    side = passes.grid.side_px
    volumes = torch.zeros((passes.volumes, side, side, side), device=passes.geometry.device)
    return Model(passes.geometry, passes.grid, volumes, noise)


def typical_power(passes: Passes) -> torch.Tensor:
    """(R,) median power of particles on the rings of the finest band."""
    transform = passes.geometry.transform(passes.finest)
    chosen = _some(passes, _SCALE_PARTICLES)
    powers = [
        passes.particles.load(chosen[start : start + _BLOCK], transform)[1]
        for start in range(0, len(chosen), _BLOCK)
    ]
    return torch.cat(powers, 1).median(1).values


def random_sums(passes: Passes, model: Model, take: int) -> VolumeSums:
    """Sums of `take` particles in random views, shared out among the volumes."""
    transform = passes.geometry.transform(passes.finest)
    total = passes.empty_sums()
    chosen = _some(passes, take)
    for half in (0, 1):
        mine = passes.particles.half(half, chosen)
        for start in range(0, len(mine), _BLOCK):
            part = mine[start : start + _BLOCK]
            images, power = passes.particles.load(part, transform)
            sums = SliceSums(len(part), transform)
            orders = transform.orders_of(images.real, images.imaginary)
            sums.images += orders.permute(3, 0, 1, 2)
            sums.weights += images.squared.T
            sums.counts += 1.0
            sums.power += power.sum(1)
            sums.seen = len(part)
            views = torch.tensor(passes.rng.normal(size=(len(part), 3)), dtype=torch.float32)
            views /= views.norm(dim=1, keepdim=True)
            volume = torch.sort(torch.arange(len(part)) % passes.volumes).values
            device = passes.geometry.device
            projections = model.projections(transform, volume.to(device), views.to(device))
            total.add(half, sums, projections, transform)
    return total


def scaled(passes: Passes, model: Model, volume: torch.Tensor) -> torch.Tensor:
    """A volume on the scale of the particles.

    The mean of its projections over all views and rotations is a radial function, and so is the
    mean of the particles, whatever their views: the scale is the regression of one on the other.
    """
    geometry = passes.geometry
    transform = geometry.transform(geometry.band(passes.coarse_angst))
    rings = transform.band.rings
    views = view_grid(_SCALE_STEP_DEG).to(geometry.device)
    one = Model(geometry, passes.grid, volume[None], model.noise)
    projections = one.all_projections(transform, views)
    radial = projections.refs.orders[0, 0].mean(-1)  # (R,)
    chosen = _some(passes, _SCALE_PARTICLES)
    mean = torch.zeros(rings, device=geometry.device)
    squared = torch.zeros(rings, device=geometry.device)
    for start in range(0, len(chosen), _BLOCK):
        images, _ = passes.particles.load(chosen[start : start + _BLOCK], transform)
        mean += images.real.mean(0).sum(1)
        squared += images.squared.sum(1)
    band = transform.band
    weight = band.areas().to(geometry.device) / model.noise[:rings]
    weight[: band.first] = 0.0
    scale = (weight * mean * radial).sum() / (weight * squared * radial.square()).sum()
    return volume * scale.clamp_min(1e-12)


def _some(passes: Passes, most: int) -> np.ndarray:
    usable = passes.particles.usable
    return np.sort(passes.rng.choice(usable, min(most, len(usable)), replace=False))
