"""From log-likelihoods to posterior weights, and from these to sums over images.

Only columns (reference, shift, image) whose best rotation is within a margin of the image's best
are worked on: once references are distinct these are a few per cent, and the exponentials, sums and
products back cost little.
"""

import math
from dataclasses import dataclass

import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.workspace import Workspace

#: Weights below exp(-MARGIN) of the best are dropped.
MARGIN = 9.0


@dataclass(frozen=True)
class Posterior:
    """What a chunk of B images says about K references.

    Parameters
    ----------
    columns : (J,) int64 kept columns of the flattened (K, T, B).
    weights : (M, J) posterior weights; over the columns of an image they sum to 1, less the
        probability that it is empty.
    evidence : (B,) log of the sum of the likelihoods over rotations, shifts and references.
    reference, shift, rotation : (B,) int64 of the best pose.
    turn : (B,) fraction of a step, -1/2 to 1/2, from that rotation to the maximum.
    best : (B,) its log-likelihood with bias; peak : (B,) posterior probability of the best pose's
        reference.
    classes : (K, B) posterior probability of each reference.
    """

    columns: torch.Tensor
    weights: torch.Tensor
    evidence: torch.Tensor
    reference: torch.Tensor
    shift: torch.Tensor
    rotation: torch.Tensor
    turn: torch.Tensor
    best: torch.Tensor
    peak: torch.Tensor
    classes: torch.Tensor


def posterior(
    scores: torch.Tensor, *, nothing: float = -math.inf, margin: float = MARGIN
) -> Posterior:
    """The posterior weights of (M, K, T, B) log-likelihoods.

    Parameters
    ----------
    nothing : log weight of the image being empty, to hold against the sum over all poses.
    """
    rotations, number, count, images = scores.shape
    flat = scores.view(rotations, -1)
    highest = flat.amax(0)  # (K T B)
    best, pose = highest.view(-1, images).max(0)
    columns = torch.nonzero(highest.view(-1, images) > best - margin).T
    image = columns[1]
    columns = columns[0] * images + image
    weights = flat.index_select(1, columns)
    weights -= best[image]
    weights.exp_()
    mass = weights.sum(0)  # (J,)
    filled = torch.zeros_like(best).index_add_(0, image, mass)
    total = filled + torch.exp(nothing - best)
    weights *= 1.0 / total[image]
    classes = torch.zeros((number * images,), dtype=scores.dtype, device=scores.device)
    reference = torch.div(columns, count * images, rounding_mode="floor")
    classes.index_add_(0, reference * images + image, mass / total[image])
    classes = classes.view(number, images)
    every = torch.arange(images, device=scores.device)
    line = flat.index_select(1, pose * images + every)  # (M, B)
    rotation = line.argmax(0)
    turn = _vertex(line, rotation)
    found = torch.div(pose, count, rounding_mode="floor")
    return Posterior(
        columns=columns,
        weights=weights,
        evidence=best + torch.log(filled),
        reference=found,
        shift=pose - found * count,
        rotation=rotation,
        turn=turn,
        best=best,
        peak=classes[found, every],
        classes=classes,
    )


def _vertex(line: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """Where the parabola through the maximum of each column and its neighbours has its vertex."""
    rotations = line.shape[0]
    every = torch.arange(line.shape[1], device=line.device)
    before = line[(top - 1) % rotations, every]
    after = line[(top + 1) % rotations, every]
    curvature = (2.0 * line[top, every] - before - after).clamp_min(1e-12)
    return (0.5 * (after - before) / curvature).clamp(-0.5, 0.5)


def weighted_sums(
    transform: PolarTransform,
    found: Posterior,
    orders: torch.Tensor,
    number: int,
    workspace: Workspace,
) -> torch.Tensor:
    """(O, 2, K, R) sums over images, shifts and rotations of the weight times the image turned
    back onto the reference.

    Parameters
    ----------
    orders : (O, 2, R, T, B) of the images that were scored.
    """
    band = transform.band
    rings = band.rings
    columns = orders.shape[-2] * orders.shape[-1]
    turned = workspace.get("products", 2 * band.orders, number * columns)
    turned.zero_()
    turned.index_copy_(1, found.columns, transform.turn_back @ found.weights)
    sums = torch.bmm(
        turned.view(band.orders, 2 * number, columns),
        orders.view(band.orders, 2 * rings, columns).transpose(1, 2),
    ).view(band.orders, 2, number, 2, rings)
    real = sums[:, 0, :, 0] - sums[:, 1, :, 1]
    imaginary = sums[:, 0, :, 1] + sums[:, 1, :, 0]
    return torch.stack([real, imaginary], 1)


def candidates(
    scores: torch.Tensor, *, margin: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The references that are worth a finer look, image by image.

    Parameters
    ----------
    scores : (M, K, T, B) log-likelihoods.
    margin : a reference's best pose must be within this of the image's best.
    most : at most so many references an image.

    Returns
    -------
    image, reference, shift : (J,) int64; the shift is that of the reference's best pose. An image's
        best reference comes first.
    """
    highest = scores.amax(0)  # (K, T, B)
    by_reference, shift = highest.max(1)  # (K, B)
    top, which = by_reference.topk(min(most, len(by_reference)), dim=0)  # (C, B)
    rank, image = torch.nonzero(top > top[0] - margin, as_tuple=True)
    reference = which[rank, image]
    return image, reference, shift[reference, image]
