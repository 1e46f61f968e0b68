"""From sums to new volumes: shared by both half sets, or each half set its own."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.alignment.slices import SliceGrid
from cryosnake.volumes3d.cubes import in_box
from cryosnake.volumes3d.model import Model, VolumeSums, snr_of_mean
from cryosnake.volumes3d.references import low_passed
from cryosnake.volumes3d.result import VolumeResult


@dataclass(frozen=True)
class Learnt:
    """What half sets say.

    Parameters
    ----------
    volumes : (K, n, n, n) or (2, n, n, n), filtered, masked.
    fsc : (K, S) of the half sets.
    """

    volumes: torch.Tensor
    fsc: torch.Tensor


def together(model: Model, sums: VolumeSums, limit_per_px: float, trust: float = 1.0) -> Learnt:
    """K volumes of all particles; both half sets were held against the same ones."""
    volumes, curves = [], []
    for k in range(sums.counts.shape[1]):
        fsc = _within(model.fsc(model.means(sums, k)), model, limit_per_px)
        snr = snr_of_mean(fsc, both=True, trust=trust)
        closed = SliceGrid.closed(sums.tables[:, k].sum(0))
        volumes.append(model.filtered(closed, snr, limit_per_px))
        curves.append(fsc)
    return Learnt(torch.stack(volumes), torch.stack(curves))


def apart(model: Model, sums: VolumeSums, limit_per_px: float, join_per_px: float) -> Learnt:
    """One volume of each half set, the same below `join_per_px`, so that they are in register.

    What the mask spreads of the part that is shared is cut away again: a shell that both half sets
    are aligned to tells nothing, and it would grow from iteration to iteration.
    """
    fsc = _within(model.fsc(model.means(sums, 0)), model, limit_per_px)
    snr = snr_of_mean(fsc, both=False)
    both = SliceGrid.closed(sums.tables[:, 0].mean(0))
    shared = low_passed(model.filtered(both, snr, join_per_px), join_per_px)
    volumes = []
    for half in (0, 1):
        closed = SliceGrid.closed(sums.tables[half, 0])
        own = model.filtered(closed, snr, limit_per_px, from_per_px=join_per_px)
        volumes.append(shared + own)
    return Learnt(torch.stack(volumes), fsc[None])


def _within(fsc: torch.Tensor, model: Model, limit_per_px: float) -> torch.Tensor:
    """A correlation, 0 in the shells beyond what was searched: there is only what the mask
    spreads."""
    shells = torch.arange(len(fsc), device=fsc.device) / model.grid.side_px
    return torch.where(shells <= limit_per_px, fsc, 0.0)


def agreement_per_px(fsc: torch.Tensor, model: Model) -> float:
    """Frequency at which a correlation of half sets (S,) falls below its threshold first; 0 where
    it starts below. The two lowest shells are ignored."""
    curve = (fsc - model.threshold).cpu().numpy()
    below = np.flatnonzero(curve[2:] < 0)
    if not len(below):
        return (len(curve) - 1) / model.grid.side_px
    at = int(below[0]) + 2
    if at == 2:
        return 0.0
    part = curve[at - 1] / max(curve[at - 1] - curve[at], 1e-6)
    return float((at - 1 + part) / model.grid.side_px)


def result_of(model: Model, learnt: Learnt, k: int, share: float, population: int) -> VolumeResult:
    """Volume k in the particles' box."""
    pixel = model.geometry.pixel
    found = agreement_per_px(learnt.fsc[k], model)
    return VolumeResult(
        volume=in_box(learnt.volumes[k], model.geometry),
        share=share,
        population=population,
        fsc=learnt.fsc[k].cpu().numpy(),
        frequency_per_angst=model.shells.frequency_per_px() / pixel,
        resolution_angst=pixel / found if found else math.inf,
    )
