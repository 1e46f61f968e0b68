"""Fine scoring of the pairs (image, reference) that a coarse search left, about their own origins.

Pairs are sorted by reference. All rotations of a pair are scored at a few shifts in a finer band;
the weights of an image's pairs are normalised together.
"""

import math
from dataclasses import dataclass

import torch

from cryosnake.alignment.likelihood import Images, References, recentred
from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.posterior import MARGIN, _vertex
from cryosnake.alignment.workspace import Workspace


@dataclass(frozen=True)
class Pairs:
    """J pairs of B images with references.

    Parameters
    ----------
    image, reference : (J,) int64, sorted by the reference.
    origins_px : (J, 2) as (y, x), about which shifts are searched.
    """

    image: torch.Tensor
    reference: torch.Tensor
    origins_px: torch.Tensor

    def slices(self) -> list[tuple[int, int, int]]:
        """(reference, first pair, one after the last) of each reference that occurs."""
        found, counts = torch.unique_consecutive(self.reference, return_counts=True)
        ends = torch.cumsum(counts, 0).tolist()
        return [
            (k, end - count, end)
            for k, count, end in zip(found.tolist(), counts.tolist(), ends, strict=True)
        ]


@dataclass(frozen=True)
class PairPosterior:
    """What the fine search says.

    Parameters
    ----------
    pair_weights : (J,) posterior probability of each pair; those of an image sum to 1, less the
        probability that it is empty.
    evidence : (B,) log of the summed likelihood; best : (B,) log-likelihood with bias of the best
        pose.
    reference : (B,) of the best pose; rotation : (B,) in steps, with its fraction;
    origins_px : (B, 2) mean over the posterior of the best pair.
    sums : (O, 2, K, R) as of `posterior.weighted_sums`; weights : (K, B) of each image.
    """

    pair_weights: torch.Tensor
    evidence: torch.Tensor
    best: torch.Tensor
    reference: torch.Tensor
    rotation: torch.Tensor
    origins_px: torch.Tensor
    sums: torch.Tensor
    weights: torch.Tensor


def _pair_orders(transform, images: Images, ramp, workspace: Workspace) -> torch.Tensor:
    """(O, 2, R, J, T) orders of the pairs' images at all shifts, in the buffer `orders`."""
    band = transform.band
    cos, sin = (part[:, :, None] for part in ramp)
    shape = (band.half, band.rings, len(images), cos.shape[-1])
    real = (images.real * images.contrast)[..., None]
    imaginary = (images.imaginary * images.contrast)[..., None]
    out = workspace.get("orders", band.orders, 2, band.rings, *shape[2:])
    flat = out.view(2 * band.orders, -1)
    moved = workspace.get("moved", *shape)
    even = 2 * transform.even
    torch.mul(real, cos, out=moved)
    moved.addcmul_(imaginary, sin, value=-1.0)
    torch.mm(transform.analyse_even, moved.view(band.half, -1), out=flat[:even])
    torch.mul(imaginary, cos, out=moved)
    moved.addcmul_(real, sin)
    torch.mm(transform.analyse_odd, moved.view(band.half, -1), out=flat[even:])
    return out


def score_pairs(
    transform: PolarTransform,
    images: Images,
    refs: References,
    pairs: Pairs,
    steps_px: torch.Tensor,
    ramp: tuple[torch.Tensor, torch.Tensor],
    bias: torch.Tensor,
    workspace: Workspace,
    *,
    nothing: float = -math.inf,
) -> PairPosterior:
    """Score pairs at all rotations and at their origin plus each step.

    Parameters
    ----------
    images : the B images in this band.
    steps_px : (T, 2); ramp : (H, R, T) of `shift_ramp` for them.
    bias : (J, T) what does not depend on the rotation, priors and energies.
    nothing : log weight of the image being empty.
    """
    band, count = transform.band, len(steps_px)
    number, batch = len(pairs.image), len(images)
    chosen = Images(
        images.real.index_select(2, pairs.image),
        images.imaginary.index_select(2, pairs.image),
        images.squared,
        images.contrast[pairs.image],
    )
    orders = _pair_orders(
        transform, recentred(transform, chosen, pairs.origins_px), ramp, workspace
    )
    columns = orders.view(band.orders, 2 * band.rings, number * count)
    products = workspace.get("products", band.orders, 2, number * count)
    kinds = len(refs)
    rows = refs.products.view(band.orders, 2, kinds, 2 * band.rings)
    for k, start, end in pairs.slices():
        cut = slice(start * count, end * count)
        products[:, :, cut] = torch.bmm(rows[:, :, k], columns[:, :, cut])
    flat = products.view(2 * band.orders, -1)
    flat[0] += bias.reshape(-1)
    half, even = band.rotations // 2, 2 * transform.even
    scores = workspace.get("scores", band.rotations, number * count)
    odd = workspace.get("odd", half, number * count)
    torch.mm(transform.scores_even, flat[:even], out=scores[:half])
    torch.mm(transform.scores_odd, flat[even:], out=odd)
    torch.sub(scores[:half], odd, out=scores[half:])
    scores[:half] += odd
    # posterior, image by image
    highest = scores.amax(0)
    owner = pairs.image.repeat_interleave(count)
    best = torch.full((batch,), -torch.inf, device=scores.device)
    best = best.scatter_reduce(0, owner, highest, "amax")
    kept = torch.nonzero(highest > best[owner] - MARGIN)[:, 0]
    weights = scores.index_select(1, kept)
    image = owner[kept]
    weights -= best[image]
    weights.exp_()
    mass = weights.sum(0)
    filled = torch.zeros_like(best).index_add_(0, image, mass)
    total = filled + torch.exp(nothing - best)
    weights *= 1.0 / total[image]
    mass = mass / total[image]
    pair = torch.div(kept, count, rounding_mode="floor")
    pair_weights = torch.zeros(number, device=scores.device).index_add_(0, pair, mass)
    moved = torch.zeros((number, 2), device=scores.device)
    moved.index_add_(0, pair, steps_px[kept - pair * count] * mass[:, None])
    moved = pairs.origins_px + moved / pair_weights.clamp_min(1e-20)[:, None]
    # the best column of each image
    at = torch.nonzero(highest == best[owner])[:, 0].flip(0)
    top = torch.zeros(batch, dtype=torch.int64, device=scores.device)
    top[owner[at]] = at
    line = scores.index_select(1, top)
    rotation = line.argmax(0)
    best_pair = torch.div(top, count, rounding_mode="floor")
    # sums
    turned = products.view(2 * band.orders, -1).zero_()
    turned.index_copy_(1, kept, transform.turn_back @ weights)
    sums = torch.zeros((band.orders, 2, kinds, band.rings), device=scores.device)
    for k, start, end in pairs.slices():
        cut = slice(start * count, end * count)
        part = torch.bmm(products[:, :, cut], columns[:, :, cut].transpose(1, 2))
        part = part.view(band.orders, 2, 2, band.rings)
        sums[:, 0, k] = part[:, 0, 0] - part[:, 1, 1]
        sums[:, 1, k] = part[:, 0, 1] + part[:, 1, 0]
    shares = torch.zeros((kinds, batch), device=scores.device)
    shares[pairs.reference, pairs.image] = pair_weights
    return PairPosterior(
        pair_weights=pair_weights,
        evidence=best + torch.log(filled),
        best=best,
        reference=pairs.reference[best_pair],
        rotation=rotation + _vertex(line, rotation),
        origins_px=moved[best_pair],
        sums=sums,
        weights=shares,
    )
