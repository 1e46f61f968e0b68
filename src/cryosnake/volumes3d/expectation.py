"""Passes over particles: what they say about volumes, and where each of them lies."""

from collections.abc import Iterator

import numpy as np
import torch

from cryosnake.alignment.workspace import Workspace, images_at_once
from cryosnake.volumes3d.adding import add_all, add_near
from cryosnake.volumes3d.model import Model, SliceSums, VolumeSums
from cryosnake.volumes3d.neighbours import Neighbours, by_direction
from cryosnake.volumes3d.noting import note
from cryosnake.volumes3d.particles import Particles
from cryosnake.volumes3d.search import (
    Level,
    Prior,
    best_views,
    found_all,
    found_near,
)

_GATHERED_FLOATS = 6_000_000  # rows of the projections that a chunk of images takes
_TOGETHER = 1500  # images whose neighbours are projected together, at most
_LEAST_TOGETHER = 32
_FLOATS_PER_SAMPLE = 20  # of a projection: its slices, orders, products and sums


class Expectation:
    """Scores particles and keeps their poses."""

    def __init__(self, particles: Particles, budget_mb: float):
        self.particles, self.budget_mb = particles, budget_mb
        self.workspace = Workspace(particles.device)

    def everywhere(
        self,
        chosen: np.ndarray,
        half: int,
        model: Model,
        views: torch.Tensor,
        level: Level,
        prior: Prior,
        sums: VolumeSums,
    ) -> None:
        """Score particles of one half set against all volumes in all views, and add them up."""
        projections = model.all_projections(level.transform, views)
        found_sums = SliceSums(len(projections), level.transform)
        for part in self._chunks(chosen, projections, level):
            images, power = self.particles.load(part, level.transform)
            found = found_all(images, projections, level, prior, self.workspace)
            add_all(found_sums, found, images, power, level.transform, self.workspace)
            note(self.particles, part, images, found, projections, level, prior)
        sums.add(half, found_sums, projections, level.transform)

    def parents(
        self,
        chosen: np.ndarray,
        model: Model,
        views: torch.Tensor,
        level: Level,
        prior: Prior,
        *,
        most: int,
        margin: float,
    ) -> torch.Tensor:
        """Score particles against all volumes in all views; (B, K, most, 3) views worth a finer
        look. The best view and origin are noted."""
        projections = model.all_projections(level.transform, views)
        out = []
        for part in self._chunks(chosen, projections, level):
            images, _ = self.particles.load(part, level.transform)
            found, origins = best_views(
                images,
                projections,
                level,
                prior,
                self.workspace,
                volumes=len(model),
                most=most,
                margin=margin,
            )
            index = torch.from_numpy(part).to(found.device)
            self.particles.views[index] = found[:, :, 0]
            self.particles.origins_px[index] = origins
            out.append(found)
        return torch.cat(out)

    def near(
        self,
        chosen: np.ndarray,
        half: int,
        model: Model,
        neighbours: Neighbours,
        level: Level,
        prior: Prior,
        sums: VolumeSums,
        parents: torch.Tensor | None = None,
    ) -> None:
        """Score particles of one half set against the neighbours of the views that are known, and
        add them up.

        Parameters
        ----------
        parents : (B, K, N, 3) those views; else each particle's best in each volume.
        """
        index = torch.from_numpy(chosen).to(self.particles.device)
        if parents is None:
            parents = self.particles.views[index][:, :, None]
        order = by_direction(parents[:, 0, 0])
        together = self._together(len(model), neighbours, parents.shape[2], level)
        for block in torch.split(order, together):
            self._near_block(
                chosen[block.cpu().numpy()],
                half,
                model,
                neighbours,
                level,
                prior,
                sums,
                parents[block],
            )

    def _near_block(self, chosen, half, model, neighbours, level, prior, sums, parents) -> None:
        transform, band = level.transform, level.transform.band
        number, grid = len(model), neighbours.grid
        slots, allowed = [], []
        for k in range(number):
            index, within = neighbours.of(parents[:, k])
            slots.append(index + k * len(grid))
            allowed.append(within)
        slots, allowed = torch.stack(slots, 1), torch.stack(allowed, 1)  # (B, K, C)
        wanted, local = torch.unique(slots, return_inverse=True)
        volume = torch.div(wanted, len(grid), rounding_mode="floor")
        projections = model.projections(transform, volume, grid[wanted - volume * len(grid)])
        rows = projections.refs.products.view(band.orders, 2, len(wanted), 2 * band.rings)
        rows = rows.transpose(1, 2).contiguous()
        found_sums = SliceSums(len(projections), transform)
        width = number * slots.shape[2]
        floats = max(
            width * len(level.shifts_px) * band.rotations * _GATHERED_FLOATS // 3_000_000,
            width * band.orders * 4 * band.rings,
        )
        step = max(1, _GATHERED_FLOATS // floats)
        for start in range(0, len(chosen), step):
            cut = slice(start, start + step)
            part = chosen[cut]
            images, power = self.particles.load(part, transform)
            origins = self.particles.origins_px[torch.from_numpy(part).to(slots.device)]
            found = found_near(
                images,
                projections,
                level,
                prior,
                self.workspace,
                rows=rows,
                slots=local[cut],
                allowed=allowed[cut],
                origins_px=origins,
            )
            add_near(found_sums, found, images, power, transform)
            note(self.particles, part, images, found, projections, level, prior)
        sums.add(half, found_sums, projections, transform)

    def _together(self, volumes: int, neighbours: Neighbours, parents: int, level: Level) -> int:
        """How many images may have their neighbours projected together within the budget."""
        band = level.transform.band
        floats = _FLOATS_PER_SAMPLE * band.orders * band.rings
        views = int(self.budget_mb * 2**20 / (4 * floats))
        if views >= volumes * len(neighbours.grid):
            return _TOGETHER
        fit = views // (volumes * neighbours.most(parents))
        return min(max(fit, _LEAST_TOGETHER), _TOGETHER)

    def _chunks(self, chosen, projections, level) -> Iterator[np.ndarray]:
        scores = level.transform.band.rotations * len(projections) * len(level.shifts_px)
        at_once = images_at_once(scores, self.budget_mb, self.particles.device)
        for start in range(0, len(chosen), at_once):
            yield chosen[start : start + at_once]
