"""Views of a fine grid next to views that are known."""

from dataclasses import dataclass

import numpy as np
import torch

_NEAR_VIEWS = 3.63  # views of a grid in a circle of one step's radius


@dataclass(frozen=True)
class Neighbours:
    """Which views of a fine grid an image is held against.

    Parameters
    ----------
    grid : (V, 3) views.
    radius : of the cap about each known view, in steps of the grid.
    step_deg : of the grid.
    """

    grid: torch.Tensor
    radius: float
    step_deg: float

    @property
    def most(self) -> int:
        """C, the most neighbours of a known view."""
        return min(int(np.ceil(_NEAR_VIEWS * self.radius**2)) + 2, len(self.grid))

    def of(self, views: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, C) int64 nearest views of the grid, and bool whether within the radius and next to
        no other known view of the image; one at least.

        Parameters
        ----------
        views : (B, N, 3); known : (B, N) bool which of them count, the first always.
        """
        near = views @ self.grid.T  # (B, N, V)
        near.masked_fill_(~known[..., None], -2.0)
        cosine, index = near.topk(self.most, dim=2)
        allowed = cosine >= np.cos(np.deg2rad(self.radius * self.step_deg))
        if views.shape[1] > 1:
            closest = near.amax(1).gather(1, index.flatten(1)).view_as(index)
            allowed &= cosine >= closest
        allowed &= known[..., None]
        allowed[:, 0, 0] |= ~allowed.flatten(1).any(1)
        return index, allowed


def by_direction(views: torch.Tensor) -> torch.Tensor:
    """An order (B,) of views (B, 3) in which neighbours are close: by latitude, then longitude."""
    belt = torch.floor((views[:, 2] + 1.0) * 4.0)
    turn = torch.atan2(views[:, 1], views[:, 0])
    turn = torch.where(belt % 2 == 0, turn, -turn)
    return torch.argsort(belt * 10.0 + turn, stable=True)
