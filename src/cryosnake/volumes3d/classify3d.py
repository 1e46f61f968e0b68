"""Particles sorted among several volumes, which are refined with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.volumes3d.cubes import in_window
from cryosnake.volumes3d.learning import agreement_per_px, result_of
from cryosnake.volumes3d.outliers import Outliers
from cryosnake.volumes3d.passes import SearchSettings, passes_for
from cryosnake.volumes3d.references import checked, low_passed
from cryosnake.volumes3d.result import Classified3D
from cryosnake.volumes3d.sorting import Sorting
from cryosnake.volumes3d.start import blank, scaled, typical_power


@dataclass(frozen=True)
class ClassifySchedule:
    """How a 3D classification proceeds.

    Parameters
    ----------
    search : how poses are sampled.
    batches : passes over at most `particles` particles a volume, before two over all of them.
    finest : of the diameter, the resolution that is not exceeded.
    beyond : the next band ends a shell beyond this times the best volume's resolution.
    empty_from : batches after which particles may show nothing, if that is allowed.
    after_split : batches at least after a volume was made anew from particles of another.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    batches: int = 6
    particles: int = 2000
    finest: float = 1 / 15
    beyond: float = 1.2
    empty_from: int = 2
    after_split: int = 4


def classify3d(
    source,
    optics: Optics,
    references: Sequence[np.ndarray],
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    low_pass_angst: float | None = None,
    resolution_angst: float | None = None,
    empty: bool = True,
    seed: int = 1,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    schedule: ClassifySchedule | None = None,
    report: Callable[[str], None] | None = None,
) -> Classified3D:
    """Sort particles among volumes, without symmetry, and refine every volume.

    A volume that loses its particles is made anew from those that the most populous one fits worst,
    once; it is given up before the passes over all particles if it comes to show the same.

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device, budget_mb : as in `classify2d`.
    references : K volumes (n, n, n) in the box and at the pixel size of the particles, white; each
        is scaled to the particles. The same volume K times stays the same: start from different
        ones.
    low_pass_angst : of the references; a sixth of the diameter if not given.
    resolution_angst : finest resolution that is used; a fifteenth of the diameter if not given.
    empty : particles may show nothing, or something else; they get the class index K. The latter
        are not added to any volume from the pass on in which they are found.

    Raises
    ------
    BadInputError : as `classify2d`, or a reference of another box.
    """
    schedule = schedule or ClassifySchedule()
    number = len(references)
    if number < 1:
        raise ValueError("no reference")
    passes = passes_for(
        source,
        optics,
        schedule.search,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        finest_angst=resolution_angst or schedule.finest * diameter_angst,
        volumes=number,
        seed=seed,
        device=device,
        budget_mb=budget_mb,
    )
    geometry = passes.geometry
    low_pass_angst = low_pass_angst or passes.coarse_angst
    model = blank(passes)
    volumes = []
    for one in references:
        volume = in_window(checked(one, geometry.window), geometry)
        volume = low_passed(volume, geometry.pixel / low_pass_angst)
        volumes.append(scaled(passes, model, volume * model.mask))
    model.volumes = torch.stack(volumes)
    outliers = Outliers(
        len(passes.particles), number, typical_power(passes), 2.0 * geometry.radius_px
    )
    if empty:
        passes.expectation.outliers = outliers
    sorting = Sorting(passes, model)
    band_angst = passes.coarse_angst
    batches, step = schedule.batches, 0
    while step < batches + 2:
        full, local = step >= batches, step == batches + 1
        nothing = empty and (full or step >= schedule.empty_from)
        take = schedule.particles * number
        pair = sorting.to_split() if nothing and not full and step > schedule.empty_from else None
        if pair is not None:
            chosen, learnt = sorting.split(*pair, take, band_angst)
            batches = max(batches, step + 1 + schedule.after_split)
        else:
            chosen = passes.particles.usable
            if not full and take < len(chosen):
                chosen = np.sort(passes.rng.choice(chosen, take, replace=False))
            learnt = sorting.once(chosen, band_angst, nothing=nothing, local=local)
        step += 1
        if step == batches:
            sorting.drop_twins()
        strange = float(outliers.outlier[chosen].mean())
        outliers.learn()
        if report is not None:
            shares = ", ".join(f"{value:.3f}" for value in sorting.share.tolist())
            report(
                f"pass {step} of {batches + 2}: {len(chosen)} particles to {band_angst:.1f} A, "
                f"shares {shares}, empty {sorting.empty:.3f}, outliers {strange:.3f}"
                + (f", volume {pair[1] + 1} from {pair[0] + 1}" if pair is not None else "")
            )
        side = passes.grid.side_px
        best = max(agreement_per_px(curve, model) for curve in learnt.fsc)
        limit = schedule.beyond * min(best, geometry.pixel / band_angst) + 1.0 / side
        band_angst = max(passes.finest_angst, min(passes.coarse_angst, geometry.pixel / limit))
        if pair is not None:
            # in a fine band particles stay where they were: each volume fits their noise
            band_angst = passes.coarse_angst
    poses = passes.particles.poses
    population = np.bincount(poses.class_index[poses.class_index >= 0], minlength=number)
    return Classified3D(
        volumes=[
            result_of(model, learnt, k, float(sorting.share[k]), int(population[k]))
            for k in range(number)
        ],
        poses=poses,
        empty_share=sorting.empty if empty else 0.0,
        outlier=outliers.outlier,
        residual_sigma=outliers.sigma,
    )
