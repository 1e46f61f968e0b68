"""What a refinement starts from, and the engines that do it."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cryosnake import layout
from cryosnake.classes2d.particle_table import (
    ParticleInput,
    mask_diameter_angst,
    read_input,
)
from cryosnake.compute import device_number
from cryosnake.config.model import Config
from cryosnake.engines.relion_refine3d import auto_refine
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.stages.class2d import mask_diameter
from cryosnake.stages.refine_files import problem_of, stack_file
from cryosnake.stages.refine_symmetry import on_axes
from cryosnake.stages.warm_start import earlier_poses, earlier_refinement
from cryosnake.validation.box import BoxCheck
from cryosnake.validation.resize import resized
from cryosnake.volumes3d import VolumePoses, refine
from cryosnake.volumes3d.defocus import find_defocus
from cryosnake.volumes3d.pose_columns import pose_columns, poses_of

log = logging.getLogger("cryosnake")

#: The reference is cut here, in parts of the mask's diameter: below, half sets may share it.
LOW_PASS = 0.2
#: A mask that is not larger by this is not worth another refinement.
LEAST_GAIN = 1.05


@dataclass(frozen=True)
class Task:
    """A refinement to be done.

    Parameters
    ----------
    reference : (n, n, n) in the particles' box and at their pixel size.
    diameter_angst : of the mask.
    start : poses of an earlier refinement that this one goes on from (native engine).
    symmetry : point group that is applied: the configured one, or C1 where the reference does not
        have that.
    """

    session: Path
    particles: int
    config: Config
    given: ParticleInput
    reference: np.ndarray
    diameter_angst: float
    start: VolumePoses | None = None
    symmetry: str = "C1"


@dataclass(frozen=True)
class RefinedHalves:
    """What an engine leaves.

    Parameters
    ----------
    halves : (2, n, n, n) float32, unfiltered.
    columns : what is known of each particle, as columns of its table.
    mean_log_evidence : of the particles that could be used; nan where the engine does not tell.
    shown : whether the particles show the map at all.
    defocus_offset_angst : (N,) what was added to the defocus of each particle; None where nothing.
    """

    halves: np.ndarray
    columns: dict[str, np.ndarray]
    mean_log_evidence: float
    shown: bool
    defocus_offset_angst: np.ndarray | None = None


def refinement_task(session: Path, particles: int, config: Config) -> Task:
    """Read what a refinement starts from.

    Raises
    ------
    RuntimeError : an earlier stage had a problem.
    BadInputError : particles or volume cannot be used.
    """
    path = stack_file(session, particles, "particles.star")
    problem = problem_of(path)
    if problem is not None:
        raise RuntimeError(problem)
    given = read_input(path, session)
    if given.box_px % 2:
        raise BadInputError(path, f"images of {given.box_px} px", "an even size")
    volume, pixel_size_angst = read_mrc(session / layout.validation_file(particles, "chosen.mrc"))
    reference = resized(volume, pixel_size_angst, given.box_px, given.pixel_size_angst)
    diameter_angst = mask_diameter(session, config, given)
    symmetry, turned = config.refine.symmetry, reference
    if symmetry != "C1":
        turned = on_axes(reference, given.pixel_size_angst, diameter_angst, symmetry)
    if turned is None:
        symmetry, turned = "C1", reference
    return Task(session, particles, config, given, turned, diameter_angst, symmetry=symmetry)


def going_on(task: Task) -> Task:
    """The task with the poses that an earlier round has found, where there is one; with a symmetry,
    one that had the same axes."""
    if task.symmetry != "C1" and not _same_axes(task):
        return task
    found = earlier_poses(
        task.session,
        task.particles,
        task.given.groups,
        task.given.table,
        task.reference,
        task.given.pixel_size_angst,
        task.diameter_angst,
    )
    return replace(task, start=found)


def widened(task: Task, refined: RefinedHalves, box: BoxCheck | None) -> Task | None:
    """The refinement once more from its own poses, under a mask that the molecule fits; None where
    it fits, where a mask is configured, where the box has no room, or for another engine."""
    settings = task.config
    if box is None or box.needed_mask_angst is None or settings.refine.engine != "native":
        return None
    given = task.given
    diameter = mask_diameter_angst(box.needed_mask_angst, given.box_px, given.pixel_size_angst)
    configured = settings.class2d.mask_diameter_angst is not None
    if configured or diameter < LEAST_GAIN * task.diameter_angst:
        return None
    poses = poses_of(given.table.assign(**refined.columns))
    return replace(task, diameter_angst=diameter, start=poses)


def _same_axes(task: Task) -> bool:
    try:
        before = earlier_refinement(task.session, task.particles)
    except BadInputError:
        return False
    return before is not None and before.result["symmetry"] == task.symmetry


def engine_of(config: Config) -> Callable[[Task, torch.device | str, int], RefinedHalves]:
    """The engine that the configuration names."""
    return by_relion if config.refine.engine == "relion" else natively


def natively(task: Task, device: torch.device | str, threads: int) -> RefinedHalves:
    """With the engine of this project; with the defocus of each particle where that is asked for,
    and the particles show a map."""
    given, config = task.given, task.config
    sizes = {"pixel_size_angst": given.pixel_size_angst, "diameter_angst": task.diameter_angst}
    again = partial(
        refine,
        given.source,
        reference=task.reference,
        low_pass_angst=LOW_PASS * task.diameter_angst,
        symmetry=task.symmetry,
        seed=config.compute.seed,
        device=device,
        budget_mb=config.compute.memory_mb / 2,
        report=log.info,
        **sizes,
    )
    found, offset_angst, defoci = again(given.optics, initial_poses=task.start), None, {}
    if config.refine.per_particle_defocus and math.isfinite(found.resolution_angst):
        offsets = find_defocus(given.source, given.optics, found, device=device, **sizes)
        optics, offset_angst = offsets.applied(given.optics), offsets.offset_angst
        found = again(optics, initial_poses=found.poses)
        defoci = {"rlnDefocusU": optics.defocus_u_angst, "rlnDefocusV": optics.defocus_v_angst}
    columns = pose_columns(found.poses)
    usable = columns["rlnClassNumber"] > 0
    evidence = float(np.mean(columns["csnLogEvidence"][usable])) if usable.any() else math.nan
    return RefinedHalves(
        halves=found.halves,
        columns={**columns, **defoci},
        mean_log_evidence=evidence,
        shown=math.isfinite(found.resolution_angst),
        defocus_offset_angst=offset_angst,
    )


def by_relion(task: Task, device: torch.device | str, threads: int) -> RefinedHalves:
    """With RELION's auto-refine."""
    found = auto_refine(
        stack_file(task.session, task.particles, "particles.star"),
        task.session / layout.refine_file(task.particles, "relion"),
        work_dir=task.session,
        reference=task.reference,
        low_pass_angst=LOW_PASS * task.diameter_angst,
        diameter_angst=task.diameter_angst,
        seed=task.config.compute.seed,
        threads=max(1, threads // 2),  # two processes share the cores
        symmetry=task.symmetry,
        gpu=device_number(device),
        command=task.config.refine.relion_command,
        mpi=task.config.refine.relion_mpi,
    )
    log.info("RELION %s: %s", found.version, found.command)
    return RefinedHalves(found.halves, dict(found.particles), math.nan, True)
