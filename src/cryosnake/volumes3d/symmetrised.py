"""Slices of a symmetric volume: what a particle says counts in all equivalent views."""

import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.slices import SliceGrid
from cryosnake.validation.symmetry_groups import group_matrices
from cryosnake.volumes3d.model import Model
from cryosnake.volumes3d.passes import Passes

_SIGMAS = 3.0  # as in `Model`
_HIGHEST = 0.5


class SymmetricGrid(SliceGrid):
    """A grid that puts each slice back in all views that a point group makes equivalent, so that
    sums, their weights and what is made of them are symmetric.

    Volumes have their axes where RELION has the group's, through the centre n // 2.

    Parameters
    ----------
    group : C7, D2, T, O, I, ...
    """

    def __init__(self, side_px: int, limit_per_px: float, device: torch.device | str, group: str):
        super().__init__(side_px, limit_per_px, device)
        turns = torch.as_tensor(group_matrices(group).copy(), dtype=torch.float32)
        self._turns = turns.to(self.device)

    def insert(
        self,
        sums: torch.Tensor,
        real: torch.Tensor,
        imaginary: torch.Tensor,
        weights: torch.Tensor,
        matrices: torch.Tensor,
        transform: PolarTransform,
    ) -> None:
        """As `SliceGrid.insert`, once for each rotation of the group: time grows with their number,
        memory does not."""
        for turn in self._turns:
            super().insert(sums, real, imaginary, weights, matrices @ turn, transform)


def symmetric_grid(passes: Passes, group: str) -> SymmetricGrid:
    """The grid of passes, with a group."""
    band, grid = passes.finest, passes.grid
    return SymmetricGrid(grid.side_px, band.rings * band.spacing_per_px, grid.device, group)


def raise_threshold(models: list[Model], group: str) -> None:
    """Set what a correlation of symmetric half volumes has to reach: there are as many times fewer
    independent coefficients as the group has rotations. Never more than 0.5: the lowest shells of a
    large group hold hardly one."""
    share = 1.0 / len(group_matrices(group))
    for one in models:
        samples = 2.0 * one.shells.counts() * one.mask.square().mean() * share
        noise = (_SIGMAS / torch.sqrt(samples.clamp_min(1.0))).clamp_max(_HIGHEST)
        one.threshold = torch.maximum(one.threshold, noise)
