"""2D classification of a particle stack."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cryosnake.classes2d.classification import Classification, classification_from
from cryosnake.classes2d.contribution import contribution_of, fingerprint
from cryosnake.classes2d.expectation import Expectation
from cryosnake.classes2d.full_pass import full_pass
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.online import classify_online, random_model, renewed
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.schedule import Schedule
from cryosnake.classes2d.stack import (
    ParticleStack,
    check_particles,
    images_as_parts,
    prepare,
)
from cryosnake.classes2d.window import window_for
from cryosnake.errors import BadInputError

_LEAST_CLASSES = 2  # one of particles, one of what shows nothing


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
    diameter_angst : of the circular mask, 1.1 to 1.25 times the longest axis of the particle.
    classes : number of classes K, at least 2; the last one takes particles that show nothing.
    budget_mb : memory for buffers, beside the stack itself, which is kept as 16-bit numbers in the
        band of the classification (2 kB to 10 kB a particle).
    resolution_angst : finest resolution that is used; never beyond 2.1 pixels.
    initial : (K', n, n) averages to start from, of the same box, pixel size and scale
        (`Classification.classes.averages`), K' as large as it may be; the last one, of empty
        particles, is ignored. Classes that are missing, and the weakest, start anew.
    report : called with a line of progress.

    Raises
    ------
    BadInputError : no particles, fewer than the classes, no usable particle, numbers of particles
        that differ, sizes that are not positive, a diameter without background around it in the
        box, initial averages of another box, or files that cannot be read.
    """
    device, schedule = torch.device(device), schedule or Schedule()
    stack = ParticleStack(source)
    check_particles(stack, optics)
    _check(stack, classes, initial)
    window = window_for(
        stack.box_px, pixel_size_angst, diameter_angst, resolution_angst, path=stack.path
    )
    resolution_angst = max(resolution_angst, 2.1 * pixel_size_angst)
    coarsest_angst = schedule.first_resolution * diameter_angst
    if resolution_angst > coarsest_angst:
        raise BadInputError(
            stack.path,
            f"a resolution of {resolution_angst:g} A for particles of {diameter_angst:g} A and "
            f"pixels of {pixel_size_angst:g} A",
            f"at most {coarsest_angst:.1f} A",
        )
    prepared = prepare(stack, window, device)
    usable = int(prepared.usable.sum())
    if usable < classes:
        raise BadInputError(
            stack.path,
            f"{usable} of {len(stack)} particles are usable",
            f"at least {classes}, as many as classes",
        )
    geometry = Geometry(window, diameter_angst, device)
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
    online = schedule
    if initial is not None:
        parts = images_as_parts(torch.as_tensor(initial[:-1]).to(device), window)
        online = renewed(model, parts, schedule)
    classify_online(
        expectation,
        geometry,
        model,
        online,
        resolution_angst=resolution_angst,
        rng=rng,
        report=report,
    )
    for _ in range(schedule.full_passes):
        transform, sums = full_pass(expectation, geometry, model, schedule, resolution_angst)
        model = Model(model.parts, model.noise, empty=model.empty)
        model.learn_empty(1.0 - float(sums.counts.sum() / sums.seen), 1.0)
        model.learn(geometry, transform, sums, 0.0, schedule.trust)
        if report is not None:
            report(f"full pass: {usable} particles at {resolution_angst:.1f} A")
    model = replace(model, sums=None)
    return classification_from(
        model,
        contribution_of(expectation, sums, transform.band, fingerprint(model)),
        expectation.poses,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        resolution_angst=resolution_angst,
        box_px=stack.box_px,
        schedule=schedule,
    )


def _check(stack: ParticleStack, classes: int, initial: np.ndarray | None) -> None:
    if classes < _LEAST_CLASSES:
        raise BadInputError(
            None, f"{classes} classes", f"at least {_LEAST_CLASSES}: the last takes what is empty"
        )
    if len(stack) < classes:
        raise BadInputError(
            stack.path, f"{len(stack)} particles for {classes} classes", "as many as classes"
        )
    if initial is not None:
        box = (stack.box_px, stack.box_px)
        if initial.ndim != 3 or initial.shape[1:] != box or len(initial) < _LEAST_CLASSES:
            raise BadInputError(
                None,
                f"initial averages of shape {initial.shape}",
                f"({_LEAST_CLASSES} or more, {box[0]}, {box[1]}), as the particles of {stack.path}",
            )
        if not np.all(np.isfinite(initial)):
            raise BadInputError(None, "initial averages are not finite everywhere", "numbers")
