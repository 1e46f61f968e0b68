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

    def most(self, parents: int) -> int:
        """C, the most neighbours of so many known views, which overlap."""
        most = int(np.ceil(_NEAR_VIEWS * self.radius**2 * (1 + 0.6 * (parents - 1)))) + 2
        return min(most, len(self.grid))

    def of(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C) int64 nearest views of the grid, and bool whether within the radius, of the known
        views (B, N, 3)."""
        parents = views.shape[1]
        most = self.most(parents)
        near = torch.full((len(views), len(self.grid)), -2.0, device=views.device)
        for which in range(parents):
            torch.maximum(near, views[:, which] @ self.grid.T, out=near)
        cosine, index = near.topk(most, dim=1)
        allowed = cosine >= np.cos(np.deg2rad(self.radius * self.step_deg))
        allowed[:, 0] = True
        return index, allowed


def by_direction(views: torch.Tensor) -> torch.Tensor:
    """An order (B,) of views (B, 3) in which neighbours are close: by latitude, then longitude."""
    belt = torch.floor((views[:, 2] + 1.0) * 4.0)
    turn = torch.atan2(views[:, 1], views[:, 0])
    turn = torch.where(belt % 2 == 0, turn, -turn)
    return torch.argsort(belt * 10.0 + turn, stable=True)
