"""What a detector is trained to minimise, from incomplete picks.

Positive-unlabelled learning: the consensus of the pickers misses particles, so that a place without
a pick is not a place without a particle. How many are missing is known, from the reliabilities of
the pickers; which places they are is not. The unbiased risk (Kiryo et al. 2017, Advances in Neural
Information Processing Systems 30) would take their mean loss as background from that of the
unlabelled places, but a cross entropy has no upper limit, and a few confident particles then
outweigh all background. Here the most particle-like unlabelled places, as many as particles are
missing, are left out instead: a trimmed risk, in the spirit of the constraint that Bepler et al.
(2019), Nature Methods 16, 1153, put on the number of positives among the unlabelled.
"""

import torch
from torch.nn import functional

from cryosnake.picking.training.dataset import IGNORED_RADIUS, POSITIVE_RADIUS

#: Places that a particle without a label makes particle-like, for each that its label would have
#: made positive: half of those that are not asked around a labelled one.
_SPREAD = 0.5 * (IGNORED_RADIUS / POSITIVE_RADIUS) ** 2


def positive_unlabelled(
    logits: torch.Tensor,
    distance: torch.Tensor,
    probability: torch.Tensor,
    missed_share: float,
) -> torch.Tensor:
    """Trimmed cross entropy of log-odds against incomplete labels, per place.

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
    weight = probability[near]
    known = (
        weight * functional.softplus(-logits[near])
        + (1.0 - weight) * functional.softplus(logits[near])
    ).sum()
    background = functional.softplus(logits[unlabelled])
    missing = float(weight.sum()) * missed_share / (1.0 - missed_share)
    left_out = min(round(_SPREAD * missing), len(background))
    if left_out:
        background = background.topk(len(background) - left_out, largest=False, sorted=False)[0]
    asked = len(weight) + len(background)
    return (known + background.sum()) / max(asked, 1)
