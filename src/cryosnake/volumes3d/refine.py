"""Refinement of one volume with two half sets that never see each other."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.volumes3d.cubes import in_box, in_window
from cryosnake.volumes3d.learning import agreement_per_px, apart, together
from cryosnake.volumes3d.model import Model
from cryosnake.volumes3d.passes import Passes, SearchSettings, passes_for
from cryosnake.volumes3d.references import checked, low_passed
from cryosnake.volumes3d.result import Refined, VolumePoses
from cryosnake.volumes3d.start import blank, scaled
from cryosnake.volumes3d.symmetrised import raise_threshold, symmetric_grid
from cryosnake.volumes3d.warm import posed_sums, take_over


@dataclass(frozen=True)
class RefineSchedule:
    """How a refinement proceeds.

    Parameters
    ----------
    search : how poses are sampled.
    iterations : at most so many passes over all particles.
    wide : at most so many passes in which all views are searched, before; `few` : with so many
        particles, drawn once; `finest` : of the diameter, where their band ends at most.
    joined : in so many passes the half sets share what lies below the low-pass; after that nothing.
    rise : wide passes end when neither the band nor, by this fraction, the mean log evidence has
        grown.
    growth : the next band ends at this times the last one where the halves agree in all of it.
    beyond : else a shell beyond this times the frequency where they cease to agree (0.143).
    settled : the refinement ends when so many passes have not gained a shell.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    iterations: int = 10
    wide: int = 8
    few: int = 4000
    finest: float = 1 / 12
    joined: int = 3
    rise: float = 0.03
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
    initial_poses: VolumePoses | None = None,
    symmetry: str = "C1",
    seed: int = 1,
    device: torch.device | str = "cpu",
    budget_mb: float = 2000.0,
    schedule: RefineSchedule | None = None,
    report: Callable[[str], None] | None = None,
) -> Refined:
    """Refine a volume against particles, with a point group if one is named.

    Where particles are more probable empty than showing the volume, by the mean of their log
    evidence, no resolution is claimed: noise that was aligned to one reference agrees beyond it.

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device, budget_mb : as in `classify2d`.
    reference : (n, n, n) in the box and at the pixel size of the particles, white, on any scale.
    low_pass_angst : the half sets share nothing of the reference beyond this; a fifth of the
        diameter if not given.
    resolution_angst : finest resolution that is used; never beyond 2.1 pixels.
    initial_poses : (N) of an earlier refinement. Half sets begin from their own particles at these
        poses, and not from the reference. Particles of which `rot_deg` is NaN, or the class -1,
        are searched in all views. Half sets stay; where `half` is -1 one is drawn.
    symmetry : point group of the volume; the reference has its axes where RELION has them.

    Raises
    ------
    BadInputError : as `classify2d`, a reference of another box, or as many poses as there are not
        particles.
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
    passes.grid = symmetric_grid(passes, symmetry)
    low_pass_angst = low_pass_angst or 0.2 * diameter_angst
    model = blank(passes)
    volume = in_window(checked(reference, geometry.window), geometry) * model.mask
    start = scaled(passes, model, low_passed(volume, pixel / low_pass_angst))[None]
    halves = [Model(geometry, passes.grid, start, model.noise) for _ in (0, 1)]
    raise_threshold(halves, symmetry)
    run = _Refinement(passes, halves, schedule, low_pass_angst, report)
    if initial_poses is None:
        run.wide()
    else:
        run.go_on(initial_poses)
    return run.settle()


class _Refinement:
    """Two half sets on their way.

    Attributes
    ----------
    known : (N,) bool particles with a pose that was found in a wide pass over them, or given.
    """

    def __init__(self, passes: Passes, halves: list[Model], schedule, low_pass_angst, report):
        self.passes, self.halves, self.schedule = passes, halves, schedule
        self.low_pass_angst, self.report = low_pass_angst, report
        self.shell = 1.0 / passes.grid.side_px
        self.band_angst = max(low_pass_angst, passes.finest_angst)
        self.done = 0
        self.known = np.zeros(len(passes.particles), bool)

    @property
    def pixel(self) -> float:
        """Of the window's small pixels, in angstrom."""
        return self.passes.geometry.pixel

    def wide(self) -> None:
        """Search all views, with few particles, as long as that teaches anything."""
        passes, schedule = self.passes, self.schedule
        usable = passes.particles.usable
        few = usable
        if len(usable) > schedule.few:
            few = np.sort(passes.rng.choice(usable, schedule.few, replace=False))
        finest_angst = max(passes.finest_angst, schedule.finest * passes.geometry.diameter_angst)
        best_band, best_evidence = math.inf, -math.inf
        for _ in range(schedule.wide):
            band_angst = self.band_angst = max(self.band_angst, finest_angst)
            evidence = self._pass(few)
            risen = evidence > best_evidence + schedule.rise * abs(best_evidence)
            finer = self.pixel / band_angst > self.pixel / best_band + 0.5 * self.shell
            self._learn()
            if not risen and not finer:
                break
            best_band, best_evidence = min(band_angst, best_band), max(evidence, best_evidence)
        if few is usable:
            self.known[usable] = True
        else:
            self.band_angst = max(self.band_angst, finest_angst)

    def go_on(self, poses: VolumePoses) -> None:
        """Begin from half volumes of particles at known poses."""
        self.known = take_over(self.passes, poses)
        self.band_angst = self.passes.finest_angst
        self.done = self.schedule.joined  # the half sets are in register
        self.sums = posed_sums(self.passes, self.halves[0], self.known)
        self._learn()

    def settle(self) -> Refined:
        """Search each particle next to its pose, those without one everywhere, to the end.

        When that has settled, the less probable half of the particles is searched everywhere once
        more: those in a pose that the finer volumes contradict are among them.
        """
        particles = self.passes.particles
        usable, again = particles.usable, False
        best, waited = 0.0, 0
        for _ in range(self.schedule.iterations):
            evidence = self._pass(usable)
            self.known[usable] = True
            found = self._learn()
            waited = 0 if found > best + 0.5 * self.shell else waited + 1
            best = max(best, found)
            if waited >= self.schedule.settled or evidence <= 0:
                break
            if waited and not again:
                own = particles.poses.log_evidence[usable]
                self.known[usable[own < np.median(own)]] = False
                again, waited = True, 0
        return self._result(found if evidence > 0 else 0.0)

    def _pass(self, chosen: np.ndarray) -> float:
        """One pass over particles; their mean log evidence, which is that of the volume against an
        empty image."""
        passes = self.passes
        self.sums = passes.empty_sums()
        for half in (0, 1):
            mine, model = passes.particles.half(half, chosen), self.halves[half]
            near, rest = mine[self.known[mine]], mine[~self.known[mine]]
            if len(near):
                passes.local(near, half, model, self.band_angst, self.sums)
            if len(rest) and self.band_angst >= passes.coarse_angst:
                passes.everywhere(rest, half, model, self.sums)
            elif len(rest):
                passes.finer(rest, half, model, self.band_angst, self.sums)
        passes.particles.level_contrast()
        self.done += 1
        return float(passes.particles.poses.log_evidence[chosen].mean())

    def _learn(self) -> float:
        """New half volumes, noise and band; the frequency per pixel to which the halves agree."""
        first, schedule = self.halves[0], self.schedule
        searched, low = self.pixel / self.band_angst, self.pixel / self.low_pass_angst
        self.learnt = apart(
            first, self.sums, searched, low if self.done <= schedule.joined else 0.0
        )
        self.searched = searched
        found = min(searched, agreement_per_px(self.learnt.fsc[0], first))
        if found == searched:
            limit = schedule.growth * searched
        else:
            limit = max(schedule.beyond * found + self.shell, low)
        if self.report is not None:
            self.report(
                f"pass {self.done}: searched to {self.band_angst:.1f} A, halves agree to "
                f"{self.pixel / found if found else math.inf:.1f} A"
            )
        for half, model in enumerate(self.halves):
            model.volumes = self.learnt.volumes[half : half + 1]
            model.learn_noise(self.sums)
        self.band_angst = max(self.passes.finest_angst, self.pixel / limit)
        return found

    def _result(self, found: float) -> Refined:
        passes, first = self.passes, self.halves[0]
        geometry = passes.geometry
        whole = together(first, self.sums, self.searched)
        poses = passes.particles.poses
        poses.class_index[passes.particles.usable] = 0
        return Refined(
            volume=in_box(whole.volumes[0], geometry),
            halves=np.stack([in_box(one, geometry) for one in first.means(self.sums, 0)]),
            poses=poses,
            fsc=self.learnt.fsc[0].cpu().numpy(),
            frequency_per_angst=first.shells.frequency_per_px() / self.pixel,
            resolution_angst=self.pixel / found if found else math.inf,
        )
