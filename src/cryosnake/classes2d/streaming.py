"""More particles for the classes of a classification, in parts that do not depend on each other."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cryosnake.classes2d.classification import Classification, classification_from
from cryosnake.classes2d.contribution import Contribution, contribution_of, fingerprint, total
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.full_pass import full_pass
from cryosnake.classes2d.model import Geometry
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ParticlePoses
from cryosnake.classes2d.stack import ParticleStack, check_particles, prepare
from cryosnake.classes2d.window import window_for
from cryosnake.errors import BadInputError


@dataclass(frozen=True)
class Assignment:
    """New particles in old classes.

    Parameters
    ----------
    poses : of the new particles, in their order.
    contribution : what they alone add to the classes.
    """

    poses: ParticlePoses
    contribution: Contribution


def assign(
    source,
    optics: Optics,
    to: Classification,
    *,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
) -> Assignment:
    """Assign new particles to the classes of `to`, which is not changed.

    The references are those that `to` was given by its own particles, whatever has been added
    since: batches can be assigned by jobs that know nothing of each other, in any order.

    Parameters
    ----------
    source, optics, budget_mb : as in `classify2d`; pixel size and diameter are those of `to`.

    Raises
    ------
    BadInputError : no particles, other boxes than the classes', numbers that differ.
    """
    device = torch.device(device)
    stack = ParticleStack(source)
    check_particles(stack, optics)
    if stack.box_px != to.box_px:
        raise BadInputError(
            stack.path, f"boxes of {stack.box_px} px", f"{to.box_px} px, as the classes"
        )
    window = window_for(stack.box_px, to.pixel_size_angst, to.diameter_angst, to.resolution_angst)
    prepared = prepare(stack, window, device)
    geometry = Geometry(window, to.diameter_angst, device)
    model = replace(to.model, parts=to.model.parts.to(device), noise=to.model.noise.to(device))
    expectation = Expectation(
        prepared,
        optics,
        np.arange(len(stack)) % 2,
        empty_class=len(model),
        device=device,
        budget_mb=budget_mb,
    )
    transform, sums = full_pass(expectation, geometry, model, to.schedule, to.resolution_angst)
    contribution = contribution_of(expectation, sums, transform.band, fingerprint(to.model))
    return Assignment(expectation.poses, contribution)


def updated(to: Classification, contributions: Iterable[Contribution]) -> Classification:
    """The classes of `to` with the particles of contributions added; `to` is not changed.

    Averages, halves, correlations and populations are of all particles; poses are those of `to`,
    and so are the references: what was assigned to `to` fits the result, and the other way
    round. The order of the contributions does not matter.

    Raises
    ------
    BadInputError : a contribution was scored against other references.
    """
    return classification_from(
        to.model,
        total(to.contribution, contributions),
        to.poses,
        pixel_size_angst=to.pixel_size_angst,
        diameter_angst=to.diameter_angst,
        resolution_angst=to.resolution_angst,
        box_px=to.box_px,
        schedule=to.schedule,
    )
