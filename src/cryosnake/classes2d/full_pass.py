"""A full expectation pass: every particle is searched coarsely, then finely, and counts once."""

import numpy as np
import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.update import Sums
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.levels import Level, Priors
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.schedule import Schedule

_FINE_STEP = 0.3  # of the resolution
_FINE_REACH = 0.5  # of the coarse step, how far the fine shifts go


def full_pass(
    expectation: Expectation,
    geometry: Geometry,
    model: Model,
    schedule: Schedule,
    resolution_angst: float,
) -> tuple[PolarTransform, Sums]:
    """Score all usable particles against a model, which is not changed.

    Returns
    -------
    The transform of the finest band, and the sums of the particles in it.
    """
    usable = np.flatnonzero(expectation.stack.usable)
    coarse_angst = max(schedule.search_resolution * geometry.diameter_angst, resolution_angst)
    shift_range = schedule.shift_range * geometry.diameter_angst
    coarse = geometry.transform(geometry.band(coarse_angst, shift_angst=shift_range))
    fine = geometry.transform(
        geometry.band(min(coarse_angst, resolution_angst), shift_angst=shift_range)
    )
    step = max(schedule.shift_step * coarse_angst, 0.5 * geometry.pixel)
    fine_step = max(_FINE_STEP * resolution_angst, 0.5 * geometry.pixel)
    levels = []
    for transform, grid_step, reach in (
        (coarse, step, shift_range),
        (fine, fine_step, max(_FINE_REACH * step, fine_step)),
    ):
        levels.append(
            Level(
                transform,
                model.references(transform),
                geometry.shifts_px(grid_step, reach),
                geometry.area_step_px(grid_step),
            )
        )
    number = len(model)
    priors = Priors(
        torch.zeros(number, device=expectation.device),
        schedule.shift_sigma * shift_range / geometry.pixel,
        shift_range / geometry.pixel,
        Priors.of_nothing(model.empty, number),
    )
    return fine, expectation.run(usable, *levels, priors)
