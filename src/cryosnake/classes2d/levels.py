"""How a pass searches: bands with their references and shifts, priors, and pairs to refine."""

import math
from dataclasses import dataclass

import torch

from cryosnake.alignment.likelihood import References
from cryosnake.alignment.pairs import Pairs
from cryosnake.alignment.polar import PolarTransform


@dataclass(frozen=True)
class Level:
    """References in a band and the shifts that are tried.

    Parameters
    ----------
    shifts_px : (T, 2) as (y, x), in small pixels; step_px : square root of the area of each.
    """

    transform: PolarTransform
    refs: References
    shifts_px: torch.Tensor
    step_px: float


@dataclass(frozen=True)
class Priors:
    """What is known before an image is seen.

    Parameters
    ----------
    references : (K,) log weight of each reference.
    sigma_px : standard deviation of the origins along each axis; range_px : their largest length.
    nothing : log weight of an image being empty, on the scale of `references`.
    """

    references: torch.Tensor
    sigma_px: float
    range_px: float
    nothing: float = -math.inf

    @staticmethod
    def of_nothing(share: float, number: int) -> float:
        """That log weight where a fraction `share` of the images is empty and `number` references
        of weight 1 share the rest."""
        return math.log(share / (1.0 - share) * number)

    def origins(self, origins_px: torch.Tensor) -> torch.Tensor:
        """Log weight (...) of origins (..., 2)."""
        return -0.5 * origins_px.square().sum(-1) / self.sigma_px**2

    def volume(self, level: Level) -> float:
        """Log of the sum of the prior weights over the poses of one reference."""
        variance = self.sigma_px**2
        area = 2 * math.pi * variance * (1 - math.exp(-0.5 * self.range_px**2 / variance))
        return math.log(level.transform.band.rotations * area / level.step_px**2)

    def empty(self, level: Level) -> float:
        """Log weight of an empty image against the sum over all poses of a level."""
        return self.nothing + self.volume(level)


@dataclass(frozen=True)
class Survivors:
    """What a coarse search leaves of B images.

    Parameters
    ----------
    image, reference : (J,) int64; origins_px : (J, 2), where each was best.
    best : (B,) the best reference of each image.
    """

    image: torch.Tensor
    reference: torch.Tensor
    origins_px: torch.Tensor
    best: torch.Tensor

    @classmethod
    def joined(cls, parts: "list[Survivors]") -> "Survivors":
        """Those of consecutive chunks of images."""
        starts, total = [], 0
        for part in parts:
            starts.append(total)
            total += len(part.best)
        image = [part.image + start for part, start in zip(parts, starts, strict=True)]
        others = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("reference", "origins_px", "best")
        )
        return cls(torch.cat(image), *others)

    def by_reference(self) -> "tuple[torch.Tensor, Survivors]":
        """The order (B,) of the images by their best reference, and the pairs in that order."""
        order = torch.argsort(self.best, stable=True)
        place = torch.argsort(order)
        image = place[self.image]
        ranked = torch.argsort(image, stable=True)
        return order, Survivors(
            image[ranked], self.reference[ranked], self.origins_px[ranked], self.best[order]
        )

    def pairs(self, start: int, stop: int) -> Pairs:
        """The pairs of the images start to stop, after `by_reference`, sorted by reference."""
        ends = torch.tensor([start, stop], device=self.image.device)
        cut = slice(*torch.searchsorted(self.image, ends).tolist())
        order = torch.argsort(self.reference[cut], stable=True)
        return Pairs(
            self.image[cut][order] - start, self.reference[cut][order], self.origins_px[cut][order]
        )
