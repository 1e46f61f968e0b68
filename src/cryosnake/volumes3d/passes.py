"""How particles are searched in a pass: grids of views and shifts that suit a resolution."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.alignment.slices import SliceGrid
from cryosnake.classes2d.model import Geometry
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.stack import ParticleStack, check_particles, prepare
from cryosnake.classes2d.window import window_for
from cryosnake.errors import BadInputError
from cryosnake.volumes3d.expectation import Expectation
from cryosnake.volumes3d.model import Model, VolumeSums
from cryosnake.volumes3d.neighbours import Neighbours
from cryosnake.volumes3d.orientations import random_rotation, view_grid
from cryosnake.volumes3d.particles import Particles
from cryosnake.volumes3d.search import Level, Prior

_RATIO = 2.0  # of resolutions, at most, from one look to the next
_MARGINS = 7.0, 4.0  # of the log-likelihood, at the coarse and at the middle level


@dataclass(frozen=True)
class SearchSettings:
    """How finely poses are sampled; the defaults serve every particle size.

    Parameters
    ----------
    coarse : of the diameter, the resolution at which all views are searched and added up.
    view_step : angle between views, times diameter over resolution, in radians.
    shift_range : of the diameter, how far particles may be off the centre; shift_sigma : of that
        range, standard deviation along each axis; shift_step : of the resolution.
    first, middle : of the diameter, resolutions at which all views are looked at before a finer
        search, and the best `kept` of each volume again.
    parents : of these, views that are searched, at most, per volume.
    near : radius about a known view that is searched again, in steps of the grid.
    """

    coarse: float = 1 / 6.0
    view_step: float = 1.5
    shift_range: float = 0.08
    shift_sigma: float = 0.5
    shift_step: float = 0.33
    first: float = 1 / 7.5
    middle: float = 1 / 10.0
    kept: int = 16
    parents: int = 5
    near: float = 1.6


class Passes:
    """Particles with what is needed to search them.

    Parameters
    ----------
    finest_angst : resolution that is never exceeded.
    volumes : number of volumes.
    """

    def __init__(
        self,
        particles: Particles,
        geometry: Geometry,
        settings: SearchSettings,
        *,
        finest_angst: float,
        volumes: int,
        budget_mb: float,
        rng: np.random.Generator,
    ):
        self.particles, self.geometry, self.settings = particles, geometry, settings
        self.volumes, self.rng = volumes, rng
        self.finest_angst = finest_angst
        self.expectation = Expectation(particles, budget_mb)
        self.shift_angst = settings.shift_range * geometry.diameter_angst
        self.finest = geometry.band(finest_angst, shift_angst=self.shift_angst)
        limit = self.finest.rings * self.finest.spacing_per_px
        self.grid = SliceGrid(geometry.window.side_px, limit, geometry.device)
        self.coarse_angst = max(settings.coarse * geometry.diameter_angst, finest_angst)

    def empty_sums(self) -> VolumeSums:
        """Sums of nothing."""
        return VolumeSums(self.grid, self.volumes, self.finest.rings)

    def view_step_deg(self, resolution_angst: float) -> float:
        """Angle between views that suits a resolution."""
        return math.degrees(
            self.settings.view_step * resolution_angst / self.geometry.diameter_angst
        )

    def level(self, resolution_angst: float, reach_angst: float) -> Level:
        """The band to a resolution, and shifts as far as `reach_angst`, one step at least."""
        geometry = self.geometry
        band = geometry.band(resolution_angst, shift_angst=self.shift_angst)
        step = max(self.settings.shift_step * resolution_angst, 0.5 * geometry.pixel)
        return Level(
            geometry.transform(band),
            geometry.shifts_px(step, max(step, reach_angst)),
            geometry.area_step_px(step),
        )

    def prior(
        self, views: int, *, volumes: torch.Tensor | None = None, nothing: float = -math.inf
    ) -> Prior:
        """What is known before: `volumes` (K,) log weights, even ones if not given."""
        if volumes is None:
            volumes = torch.zeros(self.volumes, device=self.geometry.device)
        reach_px = self.shift_angst / self.geometry.pixel
        return Prior(volumes, self.settings.shift_sigma * reach_px, reach_px, nothing, views)

    def everywhere(self, chosen, half: int, model: Model, sums: VolumeSums, **known) -> None:
        """Search all views in the coarse band, and add up."""
        level = self.level(self.coarse_angst, self.shift_angst)
        views = self._views(self.coarse_angst)
        prior = self.prior(len(views), **known)
        self.expectation.everywhere(chosen, half, model, views, level, prior, sums)

    def finer(
        self, chosen, half: int, model: Model, resolution_angst: float, sums: VolumeSums, **known
    ) -> None:
        """Search all views in the coarse band, then next to the best of them up to a resolution,
        and add up."""
        settings, search = self.settings, self.expectation
        first_angst = max(settings.first * self.geometry.diameter_angst, resolution_angst)
        middle_angst = max(settings.middle * self.geometry.diameter_angst, resolution_angst)
        steps = [middle_angst] if middle_angst < first_angst else []
        while middle_angst > _RATIO * resolution_angst:
            middle_angst /= _RATIO
            steps.append(middle_angst)
        views = self._views(first_angst)
        parents = search.parents(
            chosen,
            model,
            views,
            self.level(first_angst, self.shift_angst),
            self.prior(len(views), **known),
            most=settings.kept if steps else settings.parents,
            margin=_MARGINS[0] if steps else _MARGINS[1],
        )
        from_angst = first_angst
        for to_angst in steps:
            next_to, level, prior = self._next_to(from_angst, to_angst, known)
            most, margin = settings.parents, _MARGINS[1]
            parents = search.closer(
                chosen, model, next_to, level, prior, parents, most=most, margin=margin
            )
            from_angst = to_angst
        next_to, level, prior = self._next_to(from_angst, resolution_angst, known)
        search.near(chosen, half, model, next_to, level, prior, sums, parents)

    def _next_to(
        self, from_angst: float, to_angst: float, known: dict
    ) -> tuple[Neighbours, Level, Prior]:
        """What a search next to poses that are known to one resolution takes, up to another."""
        grid = self._views(to_angst)
        radius = max(1.0, 0.65 * from_angst / to_angst)
        reach = 0.6 * self.settings.shift_step * from_angst
        return (
            Neighbours(grid, radius, self.view_step_deg(to_angst)),
            self.level(to_angst, reach),
            self.prior(len(grid), **known),
        )

    def local(
        self, chosen, half: int, model: Model, resolution_angst: float, sums: VolumeSums, **known
    ) -> None:
        """Search next to each particle's last pose up to a resolution, and add up."""
        grid = self._views(resolution_angst)
        step = self.view_step_deg(resolution_angst)
        neighbours = Neighbours(grid, self.settings.near, step)
        prior = self.prior(len(grid), **known)
        level = self.level(resolution_angst, 0.0)
        self.expectation.near(chosen, half, model, neighbours, level, prior, sums)

    def _views(self, resolution_angst: float) -> torch.Tensor:
        grid = view_grid(self.view_step_deg(resolution_angst), random_rotation(self.rng))
        return grid.to(self.geometry.device)


def passes_for(
    source,
    optics: Optics,
    settings: SearchSettings,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    finest_angst: float,
    volumes: int,
    seed: int,
    device: torch.device | str,
    budget_mb: float,
    particles: int | None = None,
) -> Passes:
    """Read a stack and make it ready to be searched.

    Parameters
    ----------
    particles : use so many usable ones, drawn at random; all if None.

    Raises
    ------
    BadInputError : as `classify2d`.
    """
    device = torch.device(device)
    stack = ParticleStack(source)
    check_particles(stack, optics)
    window = window_for(
        stack.box_px, pixel_size_angst, diameter_angst, finest_angst, path=stack.path
    )
    finest_angst = max(finest_angst, 2.1 * pixel_size_angst)
    coarsest_angst = settings.coarse * diameter_angst
    if finest_angst > coarsest_angst:
        raise BadInputError(
            stack.path,
            f"a resolution of {finest_angst:g} A for particles of {diameter_angst:g} A and "
            f"pixels of {pixel_size_angst:g} A",
            f"at most {coarsest_angst:.1f} A",
        )
    rng = np.random.default_rng(seed)
    mine = Particles(
        prepare(stack, window, device), optics, volumes, rng.permutation(len(stack)) % 2, device
    )
    if particles is not None and particles < len(mine.usable):
        mine.usable = np.sort(rng.choice(mine.usable, particles, replace=False))
    least = 10 * volumes
    if len(mine.usable) < least:
        raise BadInputError(
            stack.path, f"{len(mine.usable)} usable particles", f"at least {least}, ten a volume"
        )
    return Passes(
        mine,
        Geometry(window, diameter_angst, device),
        settings,
        finest_angst=finest_angst,
        volumes=volumes,
        budget_mb=budget_mb,
        rng=rng,
    )
