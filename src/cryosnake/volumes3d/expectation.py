"""Passes over particles: what they say about volumes, and where each of them lies."""

from collections.abc import Iterator

import numpy as np
import torch

from cryosnake.alignment.workspace import Workspace, images_at_once
from cryosnake.volumes3d.adding import add_all, add_near
from cryosnake.volumes3d.gathered import Gathered
from cryosnake.volumes3d.model import Model, SliceSums, VolumeSums
from cryosnake.volumes3d.neighbours import Neighbours, by_direction
from cryosnake.volumes3d.noting import note
from cryosnake.volumes3d.outliers import Outliers, only
from cryosnake.volumes3d.parents import Parents, best_of_all, best_of_near
from cryosnake.volumes3d.particles import Particles
from cryosnake.volumes3d.search import (
    Found,
    Level,
    Prior,
    found_all,
    found_near,
    score_all,
    score_near,
)

_TOGETHER = 1500  # images whose neighbours are projected together, at most
_LEAST_TOGETHER = 32
_FLOATS_PER_COSINE = 4  # of a known view with a view of the grid
_FLOATS_PER_SAMPLE = 20  # of a projection: its slices, orders, products and sums


class Expectation:
    """Scores particles and keeps their poses.

    Attributes
    ----------
    outliers : finds the particles that are not added; None to add all.
    """

    def __init__(self, particles: Particles, budget_mb: float):
        self.particles, self.budget_mb = particles, budget_mb
        self.outliers: Outliers | None = None
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
            found = self._noted(part, images, power, found, projections, level, prior, found_sums)
            add_all(found_sums, found, images, level.transform, self.workspace)
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
    ) -> Parents:
        """Score particles against all volumes in all views: what is worth a finer look."""
        projections = model.all_projections(level.transform, views)
        out = []
        for part in self._chunks(chosen, projections, level):
            images, _ = self.particles.load(part, level.transform)
            scores, *_ = score_all(images, projections, level, prior, self.workspace)
            shifts = level.shifts_px
            out.append(
                best_of_all(scores, views, shifts, volumes=len(model), most=most, margin=margin)
            )
        return Parents.joined(out)

    def closer(
        self,
        chosen: np.ndarray,
        model: Model,
        neighbours: Neighbours,
        level: Level,
        prior: Prior,
        parents: Parents,
        *,
        most: int,
        margin: float,
    ) -> Parents:
        """Score particles against the neighbours of known views: what is worth a still finer
        look."""
        places, out = [], []
        for block in self._blocks(model, neighbours, level, parents):
            gathered = Gathered(model, neighbours, level, parents.of(block))
            for cut, some in gathered.chunks():
                where = block[cut]
                images, _ = self.particles.load(chosen[where.cpu().numpy()], level.transform)
                origins = some.origins_px.flatten(1, 2)
                near = score_near(
                    images,
                    gathered.projections,
                    level,
                    prior,
                    self.workspace,
                    rows=gathered.rows,
                    origins_px=origins,
                    **gathered.of(cut, some),
                )
                views = gathered.projections.views
                shifts = level.shifts_px
                found = best_of_near(
                    near, views, shifts, origins, volumes=len(model), most=most, margin=margin
                )
                places.append(where)
                out.append(found)
        return Parents.joined(out).of(torch.argsort(torch.cat(places)))

    def near(
        self,
        chosen: np.ndarray,
        half: int,
        model: Model,
        neighbours: Neighbours,
        level: Level,
        prior: Prior,
        sums: VolumeSums,
        parents: Parents | None = None,
    ) -> None:
        """Score particles of one half set against the neighbours of known views, and add them up.

        Parameters
        ----------
        parents : those views; else each particle's best in each volume.
        """
        views, places = self.particles.views, self.particles.origins_px
        index = torch.from_numpy(chosen).to(self.particles.device)
        if parents is None:
            parents = Parents.known(views[index], places[index])
        else:  # kept where a volume turns out to be too improbable to be noted
            views[index], places[index] = parents.views[:, :, 0], parents.origins_px[:, :, 0]
        for block in self._blocks(model, neighbours, level, parents):
            gathered = Gathered(model, neighbours, level, parents.of(block))
            found_sums = SliceSums(len(gathered.projections), level.transform)
            for cut, some in gathered.chunks():
                part = chosen[block[cut].cpu().numpy()]
                images, power = self.particles.load(part, level.transform)
                origins = some.origins_px.flatten(1, 2)
                near = score_near(
                    images,
                    gathered.projections,
                    level,
                    prior,
                    self.workspace,
                    rows=gathered.rows,
                    origins_px=origins,
                    **gathered.of(cut, some),
                )
                found = found_near(near, level, prior, origins)
                found = self._noted(
                    part, images, power, found, gathered.projections, level, prior, found_sums
                )
                add_near(found_sums, found, images, level.transform)
            sums.add(half, found_sums, gathered.projections, level.transform)

    def _noted(self, part, images, power, found, projections, level, prior, sums) -> Found:
        """Note the poses of a chunk, and its power (R, B) without outliers; what is to be added."""
        note(self.particles, part, images, found, projections, level, prior)
        kept = power.new_ones(len(part))
        if self.outliers is not None:
            kept = self.outliers.kept(
                part, self.particles.poses, images, power, found, projections, level.transform
            )
            if not kept.all():
                found = only(found, kept)
        sums.power += power @ kept
        sums.seen += int(kept.sum())
        return found

    def _blocks(self, model, neighbours, level, parents) -> tuple[torch.Tensor, ...]:
        """Images whose neighbours are projected together within the budget, by direction."""
        band, budget = level.transform.band, self.budget_mb * 2**20 / 4
        known = parents.allowed[0].numel()
        together = int(budget / (_FLOATS_PER_COSINE * known * len(neighbours.grid)))
        views = int(budget / (_FLOATS_PER_SAMPLE * band.orders * band.rings))
        if views < len(model) * len(neighbours.grid):
            together = min(together, views // (neighbours.most * known))
        together = min(max(together, _LEAST_TOGETHER), _TOGETHER)
        return torch.split(by_direction(parents.views[:, 0, 0]), together)

    def _chunks(self, chosen, projections, level) -> Iterator[np.ndarray]:
        scores = level.transform.band.rotations * len(projections) * len(level.shifts_px)
        at_once = images_at_once(scores, self.budget_mb, self.particles.device)
        for start in range(0, len(chosen), at_once):
            yield chosen[start : start + at_once]
