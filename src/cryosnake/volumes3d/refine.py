"""Refinement of one volume with two half sets that never see each other."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.volumes3d.cubes import in_box, in_window
from cryosnake.volumes3d.learning import agreement_per_px, apart, together
from cryosnake.volumes3d.model import Model, VolumeSums
from cryosnake.volumes3d.passes import Passes, SearchSettings, passes_for
from cryosnake.volumes3d.references import checked, low_passed
from cryosnake.volumes3d.result import Refined
from cryosnake.volumes3d.start import blank, scaled


@dataclass(frozen=True)
class RefineSchedule:
    """How a refinement proceeds.

    Parameters
    ----------
    search : how poses are sampled.
    iterations : at most so many.
    everywhere : so many of them search all views, while the half sets share what lies below the
        low-pass; after that each particle is searched next to where it was, and they share nothing.
    growth : the next band ends at this times the last one where the halves agree in all of it.
    beyond : else a shell beyond this times the frequency where they cease to agree (0.143).
    settled : the refinement ends when so many iterations have not gained a shell.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    iterations: int = 12
    everywhere: int = 3
    growth: float = 1.6
    beyond: float = 1.2
    settled: int = 2


def refine(
    source,
    optics: Optics,
    reference: np.ndarray,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    low_pass_angst: float | None = None,
    resolution_angst: float = 2.0,
    seed: int = 1,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    schedule: RefineSchedule | None = None,
    report: Callable[[str], None] | None = None,
) -> Refined:
    """Refine a volume against particles, without symmetry.

    Where particles are more probable empty than showing the volume, by the mean of their log
    evidence, no resolution is claimed: noise that was aligned to one reference agrees beyond it.

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device, budget_mb : as in `classify2d`.
    reference : (n, n, n) in the box and at the pixel size of the particles, white, on any scale.
    low_pass_angst : the half sets share nothing of the reference beyond this; a fifth of the
        diameter if not given.
    resolution_angst : finest resolution that is used; never beyond 2.1 pixels.

    Raises
    ------
    BadInputError : as `classify2d`, or a reference of another box.
    """
    schedule = schedule or RefineSchedule()
    passes = passes_for(
        source,
        optics,
        schedule.search,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        finest_angst=resolution_angst,
        volumes=1,
        seed=seed,
        device=device,
        budget_mb=budget_mb,
    )
    geometry, pixel = passes.geometry, passes.geometry.pixel
    low_pass_angst = low_pass_angst or 0.2 * diameter_angst
    model = blank(passes)
    volume = in_window(checked(reference, geometry.window), geometry) * model.mask
    start = scaled(passes, model, low_passed(volume, pixel / low_pass_angst))[None]
    halves = [Model(geometry, passes.grid, start, model.noise) for _ in (0, 1)]
    band_angst = max(low_pass_angst, passes.finest_angst)
    shell = 1.0 / passes.grid.side_px
    best, waited = 0.0, 0
    for step in range(schedule.iterations):
        sums = _pass(passes, halves, step, band_angst, schedule)
        searched = pixel / band_angst
        join = pixel / low_pass_angst if step < schedule.everywhere else 0.0
        learnt = apart(halves[0], sums, searched, join)
        found = min(searched, agreement_per_px(learnt.fsc[0], halves[0]))
        if found == searched:
            limit = schedule.growth * searched
        else:
            limit = max(schedule.beyond * found + shell, pixel / low_pass_angst)
        if report is not None:
            report(
                f"iteration {step + 1}: searched to {band_angst:.1f} A, halves agree to "
                f"{pixel / found if found else math.inf:.1f} A"
            )
        waited = 0 if found > best + 0.5 * shell else waited + 1
        best = max(best, found)
        shown = _evidence(passes) > 0
        if step >= schedule.everywhere and (waited >= schedule.settled or not shown):
            break
        for half in (0, 1):
            halves[half].volumes = learnt.volumes[half : half + 1]
            halves[half].learn_noise(sums)
        band_angst = max(passes.finest_angst, pixel / limit)
    means = halves[0].means(sums, 0)
    whole = together(halves[0], sums, searched)
    if not shown:
        found = 0.0
    poses = passes.particles.poses
    poses.class_index[passes.particles.usable] = 0
    frequency = halves[0].shells.frequency_per_px() / pixel
    return Refined(
        volume=in_box(whole.volumes[0], geometry),
        halves=np.stack([in_box(one, geometry) for one in means]),
        poses=poses,
        fsc=learnt.fsc[0].cpu().numpy(),
        frequency_per_angst=frequency,
        resolution_angst=pixel / found if found else math.inf,
    )


def _evidence(passes: Passes) -> float:
    """Mean log-likelihood ratio of the volume against an empty image."""
    return float(passes.particles.poses.log_evidence[passes.particles.usable].mean())


def _pass(
    passes: Passes, halves: list[Model], step: int, band_angst: float, schedule: RefineSchedule
) -> VolumeSums:
    sums = passes.empty_sums()
    for half in (0, 1):
        mine = passes.particles.half(half)
        model = halves[half]
        if step >= schedule.everywhere:
            passes.local(mine, half, model, band_angst, sums)
        elif band_angst >= passes.coarse_angst:
            passes.everywhere(mine, half, model, sums)
        else:
            passes.finer(mine, half, model, band_angst, sums)
    passes.particles.level_contrast()
    return sums
