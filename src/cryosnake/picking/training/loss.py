"""What a detector is trained to minimise, from incomplete picks.

Positive-unlabelled learning with the non-negative risk of Kiryo et al. (2017), Advances in Neural
Information Processing Systems 30, equation 6. The consensus of the pickers misses particles, so
that a place without a pick is not a place without a particle. The particles that are missing look
on average like those that were found: what such places would cost as background is taken from
the loss of the unlabelled places, and what they cost as particles is given to it.
"""

import torch
from torch.nn import functional

from cryosnake.picking.training.dataset import IGNORED_RADIUS, POSITIVE_RADIUS


def positive_unlabelled(
    logits: torch.Tensor,
    distance: torch.Tensor,
    probability: torch.Tensor,
    missed_share: float,
) -> torch.Tensor:
    """Non-negative risk of log-odds against incomplete labels, per place.

    Parameters
    ----------
    logits (N, 1, h, w) : log-odds of a particle; distance, probability : of the nearest pick.
    missed_share : of all particles, those that are not among the picks, in [0, 1).

    Notes
    -----
    With a pick of probability p, a place counts as a particle by p and as background by 1 - p.
    """
    near = distance <= POSITIVE_RADIUS
    unlabelled = distance > IGNORED_RADIUS
    as_particle = functional.softplus(-logits)
    as_background = functional.softplus(logits)
    weight = torch.where(near, probability, 0.0)
    doubt = torch.where(near, 1.0 - probability, 0.0)
    asked = (near | unlabelled).sum().clamp(min=1)
    known = weight.sum()
    missing = known * missed_share / (1.0 - missed_share)
    mean_particle = (weight * as_particle).sum() / known.clamp(min=1e-6)
    mean_background = (weight * as_background).sum() / known.clamp(min=1e-6)
    background = (as_background * unlabelled).sum() - missing * mean_background
    positive = (known + missing) * mean_particle + (doubt * as_background).sum()
    # below zero the unlabelled places are overfitted, and teach nothing more
    return (positive + background.clamp(min=0.0)) / asked
