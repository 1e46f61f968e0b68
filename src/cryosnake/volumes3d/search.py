"""Scoring images against projections: all of them on a coarse grid of views, or a few neighbours
of what is known on a finer one.

Weights of an image's poses are normalised over everything that is scored together. What falls below
exp(-9) of the best is dropped at once: the sums are made of the columns (projection, shift,
image) that are left.
"""

from dataclasses import dataclass

import torch

from cryosnake.alignment.likelihood import (
    Images,
    log_likelihoods,
    recentred,
    shift_ramp,
    shifted_orders,
)
from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.posterior import Posterior, posterior
from cryosnake.alignment.workspace import Workspace
from cryosnake.volumes3d.model import Projections

#: Log weight of what is not looked for.
EXCLUDED = -1e9


@dataclass(frozen=True)
class Prior:
    """What is known before an image is seen.

    Parameters
    ----------
    volumes : (K,) log weight of each volume.
    sigma_px, range_px : standard deviation of origins along each axis, their largest length.
    nothing : log weight of the image being empty, against the volumes together.
    views : number of views of the whole sphere at this grid.
    """

    volumes: torch.Tensor
    sigma_px: float
    range_px: float
    nothing: float
    views: int

    def origins(self, origins_px: torch.Tensor) -> torch.Tensor:
        """Log weight (...) of origins (..., 2)."""
        return -0.5 * origins_px.square().sum(-1) / self.sigma_px**2

    def volume(self, rotations: int, step_px: float) -> float:
        """Log of the sum of the prior weights over all poses of one volume."""
        variance = self.sigma_px**2
        cut = 1.0 - torch.exp(torch.tensor(-0.5 * self.range_px**2 / variance))
        poses = rotations * self.views * 2 * torch.pi * variance * cut / step_px**2
        return float(torch.log(poses))


@dataclass(frozen=True)
class Level:
    """A band, and the shifts that are tried in it.

    Parameters
    ----------
    shifts_px : (T, 2) as (y, x); step_px : square root of the area of each.
    """

    transform: PolarTransform
    shifts_px: torch.Tensor
    step_px: float


@dataclass(frozen=True)
class Found:
    """What a chunk of B images says.

    Parameters
    ----------
    posterior : over slots (S, T, B); what a slot is, `slots` says.
    slots : (S, B) int64 projection of each slot and image.
    orders : (O, 2, R, T, B) of the images, for each of the G sets of origins.
    sets : (S,) int64 the set of each slot.
    origins_px : (G, B, 2) of each set.
    energy : (S, B) of the slots; bias : (S, T, B).
    """

    posterior: Posterior
    slots: torch.Tensor
    orders: list[torch.Tensor]
    sets: torch.Tensor
    origins_px: torch.Tensor
    energy: torch.Tensor
    bias: torch.Tensor


def score_all(
    images: Images, projections: Projections, level: Level, prior: Prior, workspace: Workspace
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score images, as they lie, against all projections.

    Returns
    -------
    (M, Q, T, B) scores, in the workspace; (O, 2, R, T, B) orders of the images, in the workspace;
    (Q, B) energies; (Q, T, B) bias.
    """
    refs = projections.refs
    ramp = shift_ramp(level.transform, level.shifts_px)
    orders = shifted_orders(level.transform, images, ramp, workspace)
    energy = refs.energies @ images.squared
    own = prior.volumes[projections.volume][:, None] - 0.5 * energy * images.contrast.square()
    bias = own[:, None, :] + prior.origins(level.shifts_px)[:, None]
    scores = log_likelihoods(level.transform, orders, refs, bias, workspace)
    return scores, orders, energy, bias


def found_all(
    images: Images, projections: Projections, level: Level, prior: Prior, workspace: Workspace
) -> Found:
    """The posterior over all projections."""
    scores, orders, energy, bias = score_all(images, projections, level, prior, workspace)
    nothing = prior.nothing + prior.volume(level.transform.band.rotations, level.step_px)
    number = len(projections)
    every = torch.arange(number, device=scores.device)
    return Found(
        posterior=posterior(scores, nothing=nothing),
        slots=every[:, None].expand(number, len(images)),
        orders=[orders],
        sets=torch.zeros_like(every),
        origins_px=torch.zeros((1, len(images), 2), device=scores.device),
        energy=energy,
        bias=bias,
    )


@dataclass(frozen=True)
class Near:
    """B images scored against projections of their own, in G sets of C with an origin each.

    Parameters
    ----------
    scores : (M, G C, T, B), in the workspace.
    orders : (O, 2, R, T, B) of the images, for each set.
    slots : (G C, B) int64 projection; sets : (G C,) int64 the set of each.
    energy : (G C, B); bias : (G C, T, B).
    """

    scores: torch.Tensor
    orders: list[torch.Tensor]
    slots: torch.Tensor
    sets: torch.Tensor
    energy: torch.Tensor
    bias: torch.Tensor


def score_near(
    images: Images,
    projections: Projections,
    level: Level,
    prior: Prior,
    workspace: Workspace,
    *,
    rows: torch.Tensor,
    slots: torch.Tensor,
    allowed: torch.Tensor,
    origins_px: torch.Tensor,
) -> Near:
    """Score images against their own projections, at shifts about their own origins.

    Parameters
    ----------
    rows : (O, Q, 2, 2 R) the products of the projections, a projection's rows side by side.
    slots : (B, G, C) int64 projections; allowed : (B, G, C) bool.
    origins_px : (B, G, 2).
    """
    transform, band = level.transform, level.transform.band
    batch, sets, candidates = slots.shape
    count = len(level.shifts_px)
    ramp = shift_ramp(transform, level.shifts_px)
    number = sets * candidates
    products = workspace.get("products", band.orders, 2, number, count, batch)
    kept = []
    for which in range(sets):
        moved = recentred(transform, images, origins_px[:, which])
        orders = shifted_orders(transform, moved, ramp, workspace).clone()
        kept.append(orders)
        mine = rows.index_select(1, slots[:, which].flatten())  # (O, B C, 2, 2R)
        mine = mine.view(band.orders * batch, 2 * candidates, 2 * band.rings)
        columns = orders.permute(0, 4, 1, 2, 3).reshape(-1, 2 * band.rings, count)
        part = torch.bmm(mine, columns).view(band.orders, batch, candidates, 2, count)
        cut = slice(which * candidates, (which + 1) * candidates)
        products[:, :, cut] = part.permute(0, 3, 2, 4, 1)
    flat_slots = slots.flatten(1)  # (B, S)
    energy = (projections.refs.energies[flat_slots] * images.squared.T[:, None]).sum(2).T  # (S, B)
    own = prior.volumes[projections.volume[flat_slots]].T
    own = own - 0.5 * energy * images.contrast.square()
    own = torch.where(allowed.flatten(1).T, own, EXCLUDED)
    at = level.shifts_px[:, None, None] + origins_px  # (T, B, G, 2)
    by_set = prior.origins(at).permute(2, 0, 1)  # (G, T, B)
    group = torch.arange(sets, device=slots.device).repeat_interleave(candidates)
    bias = own[:, None] + by_set[group]
    flat = products.view(2 * band.orders, -1)
    flat[0] += bias.reshape(-1)
    scores = _all_rotations(transform, flat, workspace).view(-1, number, count, batch)
    return Near(scores, kept, flat_slots.T, group, energy, bias)


def found_near(near: Near, level: Level, prior: Prior, origins_px: torch.Tensor) -> Found:
    """The posterior over each image's own projections; origins (B, G, 2) of the sets."""
    nothing = prior.nothing + prior.volume(level.transform.band.rotations, level.step_px)
    return Found(
        posterior=posterior(near.scores, nothing=nothing),
        slots=near.slots,
        orders=near.orders,
        sets=near.sets,
        origins_px=origins_px.transpose(0, 1),
        energy=near.energy,
        bias=near.bias,
    )


def _all_rotations(
    transform: PolarTransform, products: torch.Tensor, workspace: Workspace
) -> torch.Tensor:
    """(M, columns) scores of products (2 O, columns)."""
    band, even = transform.band, 2 * transform.even
    half, columns = band.rotations // 2, products.shape[1]
    scores = workspace.get("scores", band.rotations, columns)
    odd = workspace.get("odd", half, columns)
    torch.mm(transform.scores_even, products[:even], out=scores[:half])
    torch.mm(transform.scores_odd, products[even:], out=odd)
    torch.sub(scores[:half], odd, out=scores[half:])
    scores[:half] += odd
    return scores
