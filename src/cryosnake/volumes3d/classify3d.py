"""Particles sorted among several volumes, which are refined with them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.volumes3d.cubes import in_window
from cryosnake.volumes3d.learning import Learnt, agreement_per_px, result_of, together
from cryosnake.volumes3d.model import Model
from cryosnake.volumes3d.passes import Passes, SearchSettings, passes_for
from cryosnake.volumes3d.references import checked, low_passed
from cryosnake.volumes3d.result import Classified3D
from cryosnake.volumes3d.start import blank, scaled

_EMPTY_LIMITS = (0.01, 0.7)
_FIRST_EMPTY = 0.1


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
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    batches: int = 6
    particles: int = 2000
    finest: float = 1 / 15
    beyond: float = 1.2
    empty_from: int = 2


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

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device, budget_mb : as in `classify2d`.
    references : K volumes (n, n, n) in the box and at the pixel size of the particles, white; each
        is scaled to the particles. The same volume K times stays the same: start from different
        ones.
    low_pass_angst : of the references; a sixth of the diameter if not given.
    resolution_angst : finest resolution that is used; a fifteenth of the diameter if not given.
    empty : particles may show nothing; they get the class index K.

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
    state = _State(model, torch.full((number,), 1.0 / number, device=geometry.device))
    band_angst = passes.coarse_angst
    steps = schedule.batches + 2
    for step in range(steps):
        full = steps - step <= 2
        chosen = passes.particles.usable
        if not full:
            take = min(len(chosen), schedule.particles * number)
            chosen = np.sort(passes.rng.choice(chosen, take, replace=False))
        nothing = empty and (full or step >= schedule.empty_from)
        learnt = _iterate(
            passes, state, chosen, band_angst, nothing=nothing, local=step == steps - 1
        )
        if report is not None:
            shares = ", ".join(f"{value:.3f}" for value in state.share.tolist())
            report(
                f"pass {step + 1} of {steps}: {len(chosen)} particles to {band_angst:.1f} A, "
                f"shares {shares}, empty {state.empty:.3f}"
            )
        side = passes.grid.side_px
        best = max(agreement_per_px(curve, model) for curve in learnt.fsc)
        limit = schedule.beyond * min(best, geometry.pixel / band_angst) + 1.0 / side
        band_angst = max(passes.finest_angst, min(passes.coarse_angst, geometry.pixel / limit))
    poses = passes.particles.poses
    population = np.bincount(poses.class_index[poses.class_index >= 0], minlength=number)
    return Classified3D(
        volumes=[
            result_of(state.model, learnt, k, float(state.share[k]), int(population[k]))
            for k in range(number)
        ],
        poses=poses,
        empty_share=state.empty if empty else 0.0,
    )


@dataclass
class _State:
    """Volumes, their shares (K,) and the share of empty particles, adding up to 1 with it once
    that has been estimated."""

    model: Model
    share: torch.Tensor
    empty: float = _FIRST_EMPTY


def _iterate(
    passes: Passes, state: _State, chosen, band_angst: float, *, nothing: bool, local: bool
) -> Learnt:
    """One pass and the update after it."""
    share = state.share.clamp_min(1e-4)
    known = {"volumes": torch.log(share / share.sum())}
    if nothing:
        known = {
            "volumes": known["volumes"] + math.log(1.0 - state.empty),
            "nothing": math.log(state.empty),
        }
    sums = passes.empty_sums()
    for half in (0, 1):
        mine = passes.particles.half(half, chosen)
        if local:
            passes.local(mine, half, state.model, band_angst, sums, **known)
        elif band_angst >= passes.coarse_angst:
            passes.everywhere(mine, half, state.model, sums, **known)
        else:
            passes.finer(mine, half, state.model, band_angst, sums, **known)
    passes.particles.level_contrast()
    learnt = together(state.model, sums, passes.geometry.pixel / band_angst)
    state.model.volumes = learnt.volumes
    state.model.learn_noise(sums)
    counts = sums.counts.sum(0)
    state.share = counts / len(chosen)
    if nothing:
        low, high = _EMPTY_LIMITS
        state.empty = min(max(1.0 - float(state.share.sum()), low), high)
    return learnt
