"""Views that are worth a finer look, each with the origin at which it fitted."""

from dataclasses import dataclass

import torch

from cryosnake.volumes3d.search import Near


@dataclass(frozen=True)
class Parents:
    """Of B images, at most N views in each of K volumes, the best first.

    Parameters
    ----------
    views : (B, K, N, 3); origins_px : (B, K, N, 2) as (y, x).
    allowed : (B, K, N) bool; the first always is.
    """

    views: torch.Tensor
    origins_px: torch.Tensor
    allowed: torch.Tensor

    @classmethod
    def known(cls, views: torch.Tensor, origins_px: torch.Tensor) -> "Parents":
        """One view (B, K, 3) and origin (B, K, 2) in each volume."""
        allowed = torch.ones(views.shape[:2], dtype=torch.bool, device=views.device)
        return cls(views[:, :, None], origins_px[:, :, None], allowed[:, :, None])

    @classmethod
    def joined(cls, parts: list["Parents"]) -> "Parents":
        """Of several chunks of images."""
        return cls(
            torch.cat([one.views for one in parts]),
            torch.cat([one.origins_px for one in parts]),
            torch.cat([one.allowed for one in parts]),
        )

    def of(self, chosen: torch.Tensor) -> "Parents":
        """Of some of the images."""
        return Parents(self.views[chosen], self.origins_px[chosen], self.allowed[chosen])

    def first(self, number: int) -> "Parents":
        """The best of each volume, at most so many."""
        cut = (slice(None), slice(None), slice(number))
        return Parents(self.views[cut], self.origins_px[cut], self.allowed[cut])

    def counts(self) -> torch.Tensor:
        """(B,) the most that are allowed in a volume."""
        return self.allowed.sum(-1).amax(1)


def best_of_all(
    scores: torch.Tensor,
    grid: torch.Tensor,
    shifts_px: torch.Tensor,
    *,
    volumes: int,
    most: int,
    margin: float,
) -> Parents:
    """The best of all views (V, 3), within `margin` of the volume's best.

    Parameters
    ----------
    scores : (M, K V, T, B) of `score_all`.
    """
    best, shift = scores.amax(0).max(1)  # (Q, B)
    best = best.view(volumes, len(grid), -1)
    top, which = best.topk(min(most, len(grid)), dim=1)  # (K, N, B)
    shift = shift.view_as(best).gather(1, which)
    allowed = top >= top[:, :1] - margin
    return Parents(
        grid[which].permute(2, 0, 1, 3),
        shifts_px[shift].permute(2, 0, 1, 3),
        allowed.permute(2, 0, 1),
    )


def best_of_near(
    near: Near,
    views: torch.Tensor,
    shifts_px: torch.Tensor,
    origins_px: torch.Tensor,
    *,
    volumes: int,
    most: int,
    margin: float,
) -> Parents:
    """The best of the views that each image was held against, within `margin` of the volume's best.

    Parameters
    ----------
    views : (Q, 3) of the projections.
    origins_px : (B, G, 2) of the sets, as they were scored.
    """
    best, shift = near.scores.amax(0).max(1)  # (S, B)
    images = best.shape[1]
    of_volume = best.view(volumes, -1, images)  # (K, S / K, B)
    top, which = of_volume.topk(min(most, of_volume.shape[1]), dim=1)  # (K, N, B)
    start = torch.arange(volumes, device=best.device) * of_volume.shape[1]
    slot = which + start[:, None, None]
    every = torch.arange(images, device=best.device)
    origins = origins_px[every, near.sets[slot]] + shifts_px[shift[slot, every]]
    allowed = top >= top[:, :1] - margin
    return Parents(
        views[near.slots[slot, every]].permute(2, 0, 1, 3),
        origins.permute(2, 0, 1, 3),
        allowed.permute(2, 0, 1),
    )
