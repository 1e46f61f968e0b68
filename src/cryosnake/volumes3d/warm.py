"""A start from poses that are known already."""

import numpy as np
import torch

from cryosnake.alignment.likelihood import recentred
from cryosnake.errors import BadInputError
from cryosnake.volumes3d.model import Model, SliceSums, VolumeSums
from cryosnake.volumes3d.orientations import matrices
from cryosnake.volumes3d.passes import Passes
from cryosnake.volumes3d.result import VolumePoses

_BLOCK = 256


def take_over(passes: Passes, poses: VolumePoses) -> np.ndarray:
    """Give the particles the poses, contrasts and half sets that are known; (N,) bool which of the
    usable ones have a pose. Particles without a half set keep the one that was drawn.

    Raises
    ------
    BadInputError : not one pose a particle.
    """
    mine = passes.particles
    if len(poses) != len(mine):
        raise BadInputError(None, f"{len(mine)} images but poses of {len(poses)}", "one an image")
    known = np.isfinite(poses.rot_deg) & (poses.class_index >= 0)
    known &= np.isin(np.arange(len(mine)), mine.usable)
    halved = poses.half >= 0
    mine.poses.half[halved] = poses.half[halved]
    index = torch.from_numpy(np.flatnonzero(known)).to(mine.device)
    turns = matrices(poses.rot_deg[known], poses.tilt_deg[known], np.zeros(int(known.sum())))
    mine.views[index, 0] = turns[:, 2].to(mine.device)
    origin = np.column_stack([poses.origin_y_angst, poses.origin_x_angst])[known] / mine.pixel
    mine.origins_px[index, 0] = torch.from_numpy(origin.astype(np.float32)).to(mine.device)
    for name in ("rot_deg", "tilt_deg", "psi_deg", "origin_x_angst", "origin_y_angst"):
        getattr(mine.poses, name)[known] = getattr(poses, name)[known]
    mine.poses.contrast[known] = poses.contrast[known]
    mine.poses.class_index[known] = 0
    mine.seen[known] = True
    return known


def posed_sums(passes: Passes, model: Model, known: np.ndarray) -> VolumeSums:
    """Sums of the particles that have a pose (N,), each put back where it lies."""
    transform = passes.geometry.transform(passes.finest)
    particles, total = passes.particles, passes.empty_sums()
    order = transform.orders.to(torch.float32)[:, None, None]
    for half in (0, 1):
        mine = particles.half(half, np.flatnonzero(known))
        for start in range(0, len(mine), _BLOCK):
            part = mine[start : start + _BLOCK]
            index = torch.from_numpy(part).to(particles.device)
            images, power = particles.load(part, transform)
            images = recentred(transform, images, particles.origins_px[index, 0])
            orders = transform.orders_of(images.real, images.imaginary)  # (O, 2, R, B)
            psi = torch.deg2rad(torch.from_numpy(particles.poses.psi_deg[part]))
            cos, sin = (f(order * psi.to(particles.device)) for f in (torch.cos, torch.sin))
            sums = SliceSums(len(part), transform)
            back = _turned_back(orders, cos, sin) * images.contrast
            sums.images += back.permute(3, 0, 1, 2)
            sums.weights += (images.squared * images.contrast.square()).T
            sums.counts += 1.0
            sums.power += power.sum(1)
            sums.seen = len(part)
            volume = torch.zeros(len(part), dtype=torch.int64, device=particles.device)
            views = particles.views[index, 0]
            projections = model.projections(transform, volume, views)
            total.add(half, sums, projections, transform)
    return total


def _turned_back(orders: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Orders (O, 2, R, B) of images turned by minus psi, onto their references."""
    real, imaginary = orders[:, 0], orders[:, 1]
    return torch.stack([real * cos + imaginary * sin, imaginary * cos - real * sin], 1)
