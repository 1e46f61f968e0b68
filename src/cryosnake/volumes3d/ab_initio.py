"""Volumes from particles alone: no template, no symmetry, random orientations at the start.

Mini-batches of particles are held against all volumes in all views; old sums fade, so that the
sequence is a stochastic expectation maximisation, in the metric that the difference of half sets
gives (as in VDAM: Kimanius 2021, Biochem J 478, 4169). The band grows in stages.
"""

from collections.abc import Callable

import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.volumes3d.learning import Learnt, result_of, together
from cryosnake.volumes3d.model import Model, VolumeSums
from cryosnake.volumes3d.passes import Passes, passes_for
from cryosnake.volumes3d.result import VolumeResult
from cryosnake.volumes3d.schedule import AbInitioSchedule, Stage
from cryosnake.volumes3d.start import blank, random_sums

_WINDOW = 4  # batches whose mean log evidence is held against that of as many before
_RISE = 0.02  # of it, less is no rise


def ab_initio(
    source,
    optics: Optics,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    volumes: int = 1,
    particles: int | None = None,
    restarts: int = 3,
    seed: int = 1,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    schedule: AbInitioSchedule | None = None,
    report: Callable[[str], None] | None = None,
) -> list[VolumeResult]:
    """Volumes of particles in unknown orientations, the most populous first.

    The hand is arbitrary: projections do not show it.

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device, budget_mb : as in `classify2d`.
    volumes : number K of volumes that compete for the particles.
    particles : use so many, drawn at random; all if None.
    restarts : so many random starts go through the first stage; that under which the particles are
        most probable goes on.
    report : called with a line of progress.

    Raises
    ------
    BadInputError : as `classify2d`.
    """
    schedule = schedule or AbInitioSchedule()
    if volumes < 1 or restarts < 1:
        raise ValueError(f"{volumes = } and {restarts = } must be positive")
    passes = passes_for(
        source,
        optics,
        schedule.search,
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        finest_angst=schedule.stages[-1].resolution * diameter_angst,
        volumes=volumes,
        seed=seed,
        device=device,
        budget_mb=budget_mb,
        particles=particles,
    )
    best = None
    for attempt in range(restarts):
        passes.particles.forget()
        one = _Attempt(passes, schedule)
        one.run(schedule.trial, None)
        if report is not None:
            report(f"start {attempt + 1} of {restarts}: log evidence {one.evidence:.2f}")
        if best is None or one.evidence > best.evidence:
            best = one
    passes.particles.forget()
    for stage in schedule.stages:
        best.run(stage, report)
    found = passes.particles
    counts = best.sums.counts.sum(0)
    share = (counts / counts.sum()).cpu().numpy()
    classes = found.poses.class_index[found.seen]
    population = np.bincount(classes[classes >= 0], minlength=volumes)
    order = np.argsort(-share, kind="stable")
    return [
        result_of(best.model, best.learnt, k, float(share[k]), int(population[k])) for k in order
    ]


class _Attempt:
    """Volumes on their way from random orientations."""

    def __init__(self, passes: Passes, schedule: AbInitioSchedule):
        self.passes, self.schedule = passes, schedule
        self.model: Model = blank(passes)
        self.evidence = -np.inf
        self.learnt: Learnt | None = None
        self.sums: VolumeSums = random_sums(passes, self.model, schedule.start * passes.volumes)
        self._learn(schedule.trial.resolution)
        self.sums.fade(0.0)

    def _learn(self, resolution: float) -> None:
        geometry = self.passes.geometry
        limit = geometry.pixel / (resolution * geometry.diameter_angst)
        self.learnt = together(self.model, self.sums, limit, self.schedule.trust)
        self.model.volumes = self.learnt.volumes

    def run(self, stage: Stage, report: Callable[[str], None] | None) -> None:
        """Go through a stage."""
        passes, rng = self.passes, self.passes.rng
        particles = passes.particles
        resolution_angst = stage.resolution * passes.geometry.diameter_angst
        size = min(stage.particles * passes.volumes, len(particles.usable))
        evidence: list[float] = []
        while len(evidence) < stage.batches or (
            len(evidence) < stage.batches + stage.more and _rising(evidence)
        ):
            progress = len(evidence) / max(stage.batches - 1, 1)
            batch = np.sort(rng.choice(particles.usable, size, replace=False))
            self.sums.fade(1.0 - float(np.interp(progress, [0, 1], stage.forget)))
            for half in (0, 1):
                mine = particles.half(half, batch)
                if stage is self.schedule.trial:
                    passes.everywhere(mine, half, self.model, self.sums)
                else:
                    passes.finer(mine, half, self.model, resolution_angst, self.sums)
            particles.level_contrast()
            self._learn(stage.resolution)
            self.model.learn_noise(self.sums)
            evidence.append(float(particles.poses.log_evidence[batch].mean()))
        self.evidence = float(np.mean(evidence[-self.schedule.judged :]))
        if report is not None:
            counts = self.sums.counts.sum(0)
            shares = ", ".join(f"{value:.2f}" for value in (counts / counts.sum()).tolist())
            report(
                f"{len(evidence)} batches of {size} to {resolution_angst:.1f} A: log evidence "
                f"{self.evidence:.2f}, shares {shares}"
            )


def _rising(evidence: list[float]) -> bool:
    """Whether the mean log evidence of the last batches exceeds that of those before."""
    before = np.mean(evidence[-2 * _WINDOW : -_WINDOW])
    return np.mean(evidence[-_WINDOW:]) > before + _RISE * abs(before)
