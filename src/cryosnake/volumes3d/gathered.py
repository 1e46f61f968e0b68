"""What a block of images is held against: the projections next to the views that are known."""

from collections.abc import Iterator

import torch

from cryosnake.volumes3d.model import Model
from cryosnake.volumes3d.neighbours import Neighbours
from cryosnake.volumes3d.parents import Parents
from cryosnake.volumes3d.search import Level

_GATHERED_FLOATS = 6_000_000  # scores, or rows of projections, of a chunk of images


class Gathered:
    """Projections next to the known views of a block of images.

    Attributes
    ----------
    projections : Q of them; rows : (O, Q, 2, 2 R) their products, a projection's rows side by side.
    slots : (B, K, N, C) int64 projection of each neighbour; allowed : (B, K, N, C) bool.
    """

    def __init__(self, model: Model, neighbours: Neighbours, level: Level, parents: Parents):
        self.level, self.parents = level, parents
        band, grid = level.transform.band, neighbours.grid
        slots, allowed = [], []
        for k in range(len(model)):
            index, within = neighbours.of(parents.views[:, k], parents.allowed[:, k])
            slots.append(torch.where(within, index, index[:, :1, :1]) + k * len(grid))
            allowed.append(within)
        self.allowed = torch.stack(allowed, 1)
        wanted, self.slots = torch.unique(torch.stack(slots, 1), return_inverse=True)
        volume = torch.div(wanted, len(grid), rounding_mode="floor")
        views = grid[wanted - volume * len(grid)]
        self.projections = model.projections(level.transform, volume, views)
        rows = self.projections.refs.products.view(band.orders, 2, len(wanted), 2 * band.rings)
        self.rows = rows.transpose(1, 2).contiguous()

    def chunks(self) -> Iterator[tuple[torch.Tensor, Parents]]:
        """Images (B',) that are scored together, with their parents: images with as many parents go
        together, so that few columns stay empty."""
        counts = self.parents.counts()
        order = torch.argsort(counts, stable=True)
        band, start = self.level.transform.band, 0
        while start < len(order):
            number = int(counts[order[start]])
            width = number * self.slots.shape[1] * self.slots.shape[3]
            floats = max(
                2 * width * len(self.level.shifts_px) * band.rotations,
                width * band.orders * 4 * band.rings,
            )
            cut = order[start : start + max(1, _GATHERED_FLOATS // floats)]
            cut = cut[counts[cut] == number]
            start += len(cut)
            yield cut, self.parents.of(cut).first(number)

    def of(self, cut: torch.Tensor, some: Parents) -> dict[str, torch.Tensor]:
        """(B', K N, C) projections of images, and whether they are allowed."""
        number = some.views.shape[2]
        return {
            "slots": self.slots[cut][:, :, :number].flatten(1, 2),
            "allowed": self.allowed[cut][:, :, :number].flatten(1, 2),
        }
