"""2D classification of a particle stack, and the assignment of more particles to its classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cryosnake.alignment.update import Sums
from cryosnake.classes2d.averages import class_averages
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.full_pass import full_pass
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.online import Schedule, classify_online, random_model, renewed
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ClassAverages, ParticlePoses
from cryosnake.classes2d.stack import ParticleStack, images_as_parts, prepare
from cryosnake.errors import BadInputError


@dataclass(frozen=True)
class Classification:
    """Classes of a stack, with what is needed to assign more particles to them.

    Parameters
    ----------
    classes : what is known of the classes; the last one is of particles that show nothing.
    poses : of the particles, in their order.
    model : averages, noise and sums in the engine's form.
    pixel_size_angst, diameter_angst, resolution_angst, box_px : of the particles.
    """

    classes: ClassAverages
    poses: ParticlePoses
    model: Model
    pixel_size_angst: float
    diameter_angst: float
    resolution_angst: float
    box_px: int


def classify2d(
    source,
    optics: Optics,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    classes: int,
    seed: int = 1,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    resolution_angst: float = 8.0,
    initial: np.ndarray | None = None,
    schedule: Schedule | None = None,
    report: Callable[[str], None] | None = None,
) -> Classification:
    """Classify particles in 2D, from nothing or from earlier class averages.

    Parameters
    ----------
    source : (N, n, n) array, path of an MRC stack, or list of (path, indices from 0). Particles are
        white; each is normalised by its own background.
    optics : CTF parameters of the N particles.
    diameter_angst : of the circular mask, about 1.1 times the longest axis of the particle.
    classes : number of classes K; the last one takes particles that show nothing.
    budget_mb : memory for buffers, beside the stack itself, which is kept as 16-bit numbers in the
        band of the classification (2 kB to 10 kB a particle).
    resolution_angst : finest resolution that is used; never beyond 2.1 pixels.
    initial : (K', n, n) averages to start from, of the same box, pixel size and scale
        (`Classification.classes.averages`); the last one, of empty particles, is ignored. Classes
        that are missing, and the least populated, start anew.
    report : called with a line of progress.

    Raises
    ------
    BadInputError : no particles, fewer than the classes, no usable particle, numbers of particles
        that differ, or a diameter without background around it in the box.
    """
    device, schedule = torch.device(device), schedule or Schedule()
    stack = ParticleStack(source)
    _check(stack, optics, pixel_size_angst, classes)
    prepared = prepare(stack, pixel_size_angst, diameter_angst, resolution_angst, device)
    usable = int(prepared.usable.sum())
    if usable < classes:
        raise BadInputError(
            None, f"{usable} of {len(stack)} particles are usable", f"at least {classes} classes"
        )
    resolution_angst = max(resolution_angst, 2.1 * pixel_size_angst)
    geometry = Geometry(prepared.window, diameter_angst, device)
    rng = np.random.default_rng(seed)
    expectation = Expectation(
        prepared,
        optics,
        rng.permutation(len(stack)) % 2,
        empty_class=classes - 1,
        device=device,
        budget_mb=budget_mb,
    )
    model = random_model(expectation, geometry, classes - 1, schedule, resolution_angst, rng)
    if initial is not None:
        parts = images_as_parts(torch.as_tensor(initial[:-1]).to(device), prepared.window)
        schedule = renewed(model, parts, schedule)
    classify_online(
        expectation,
        geometry,
        model,
        schedule,
        resolution_angst=resolution_angst,
        rng=rng,
        report=report,
    )
    for _ in range(schedule.full_passes):
        full_pass(expectation, geometry, model, schedule, resolution_angst, report=report)
    return Classification(
        classes=class_averages(expectation, geometry, model, classes),
        poses=expectation.poses,
        model=model,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        resolution_angst=resolution_angst,
        box_px=stack.box_px,
    )


def assign(
    source,
    optics: Optics,
    to: Classification,
    *,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    schedule: Schedule | None = None,
) -> Classification:
    """Assign new particles to the classes of `to` and add them to the averages.

    Returns
    -------
    The poses of the new particles alone, and classes whose averages hold old and new ones; the
    populations are summed. `to` is not changed.
    """
    device, schedule = torch.device(device), schedule or Schedule()
    stack = ParticleStack(source)
    number = len(to.classes)
    _check(stack, optics, to.pixel_size_angst, 1)
    if stack.box_px != to.box_px:
        raise BadInputError(None, f"boxes of {stack.box_px} px", f"{to.box_px} px, as the classes")
    prepared = prepare(stack, to.pixel_size_angst, to.diameter_angst, to.resolution_angst, device)
    geometry = Geometry(prepared.window, to.diameter_angst, device)
    old = to.model.sums
    model = Model(
        to.model.parts.to(device).clone(),
        to.model.noise.to(device).clone(),
        Sums(*(getattr(old, name).to(device).clone() for name in old.__dataclass_fields__)),
        to.model.band,
        to.model.empty,
    )
    expectation = Expectation(
        prepared,
        optics,
        np.arange(len(stack)) % 2,
        empty_class=number - 1,
        device=device,
        budget_mb=budget_mb,
    )
    full_pass(expectation, geometry, model, schedule, to.resolution_angst, keep=1.0)
    found = class_averages(expectation, geometry, model, number)
    before, now = to.classes.population, found.population
    weight = now[-1] / max(now[-1] + before[-1], 1)
    averages, halves = found.averages.copy(), found.halves.copy()
    averages[-1] = weight * averages[-1] + (1 - weight) * to.classes.averages[-1]
    halves[:, -1] = weight * halves[:, -1] + (1 - weight) * to.classes.halves[:, -1]
    classes = replace(found, averages=averages, halves=halves, population=before + now)
    return replace(to, classes=classes, poses=expectation.poses, model=model)


def _check(stack: ParticleStack, optics: Optics, pixel_size_angst: float, classes: int) -> None:
    if len(stack) != len(optics):
        raise BadInputError(
            None, f"{len(stack)} images but CTF parameters of {len(optics)}", "one an image"
        )
    if classes < 1 or len(stack) < classes:
        raise BadInputError(None, f"{len(stack)} particles for {classes} classes", "enough of them")
    if not pixel_size_angst > 0:
        raise BadInputError(None, f"a pixel size of {pixel_size_angst} A", "a positive number")
