"""2D classification, with the native engine or with RELION's: a round of the session, or any other
table of particles."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d import Schedule, classify2d
from cryosnake.classes2d.particle_table import (
    CLASS_COLUMNS,
    ParticleInput,
    assignment_columns,
    class_table,
    mask_diameter_angst,
    read_input,
    reference_images,
)
from cryosnake.compute import device_number
from cryosnake.config.model import Config
from cryosnake.engines.relion_class2d import classify as relion_classify
from cryosnake.errors import CryosnakeError
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import write_no_particles, write_particles
from cryosnake.picking.size_model import read_size
from cryosnake.session.rounds import Rounds
from cryosnake.tables import star_text, write_star

log = logging.getLogger("cryosnake")

#: The mask is so much wider than the particle's long axis: room for its corners.
MASK_MARGIN = 1.25
#: Classes with fewer particles on average show little: fewer classes are made then.
LEAST_PER_CLASS = 10
#: What prevents a result, and is written in its place.
PROBLEMS = (
    CryosnakeError,
    RuntimeError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
)
#: Of a pose in three dimensions; in a table of 2D classes they would say nothing.
_OF_VOLUMES = ("rlnAngleRot", "rlnAngleTilt", "rlnRandomSubset")


@dataclass(frozen=True)
class Classification:
    """A 2D classification to be done.

    Parameters
    ----------
    session : its folder.
    table : the particles, below the session; folder : for what comes of them, likewise.
    particles : number of the round.
    classes : at most; fewer where particles are few.
    earlier : folder of a classification whose averages this one starts from.
    schedule : how the native engine proceeds; slowly : so much longer RELION goes on.
    """

    session: Path
    table: str
    folder: str
    particles: int
    classes: int
    earlier: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    slowly: float = 1.0

    def file(self, name: str) -> Path:
        """A file of the result."""
        return self.session / self.folder / name


def classify(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> pd.DataFrame:
    """Classify the frozen particles of a round; see `run`."""
    rounds = Rounds(session, config.class2d)
    before = rounds.before(particles)
    task = Classification(
        session=Path(session),
        table=layout.particle_subset(particles),
        folder=layout.class2d_folder(particles),
        particles=particles,
        classes=rounds.classes(particles),
        earlier=str(Path(before[0]).parent) if before else None,
    )
    return run(task, config, device, threads)


def run(
    task: Classification, config: Config, device: torch.device | str, threads: int
) -> pd.DataFrame:
    """Classify particles; returns the table of the classes.

    What prevents a classification (particles that cannot be used, an engine that fails, memory) is
    written in place of its result, and does not end the session.
    """
    for name in ("classes.mrcs", "model.pt"):
        task.file(name).unlink(missing_ok=True)
    about = {
        "csnClassEngine": config.class2d.engine,
        "csnRoundParticles": task.particles,
        "csnProblem": "-",
    }
    try:
        given = read_input(task.session / task.table, task.session)
        mask_angst = mask_diameter(task.session, config, given)
        about |= {
            "csnMaskDiameter_angst": mask_angst,
            "rlnPixelSize": given.pixel_size_angst,
            "rlnImageSize": given.box_px,
        }
        engine = _relion if config.class2d.engine == "relion" else _native
        averages, classes, columns = engine(task, config, given, mask_angst, device, threads)
    except PROBLEMS as error:
        log.exception("the classification failed")
        about["csnProblem"] = star_text(str(error) or type(error).__name__)
        _write_failure(task, about)
        return pd.DataFrame(columns=CLASS_COLUMNS)
    write_mrc(task.file("classes.mrcs"), averages.astype(np.float32), given.pixel_size_angst)
    table = given.table.drop(columns=[c for c in _OF_VOLUMES if c in given.table])
    write_particles(task.file("particles.star"), given.groups, table.assign(**columns))
    write_star(task.file("averages.star"), {"general": about, "classes": classes})
    return classes


def mask_diameter(session: Path, config: Config, given: ParticleInput) -> float:
    """Diameter of the circular mask in angstrom, as far as the box has room for it."""
    size = read_size(session / layout.SIZE)[0]
    wanted_angst = config.class2d.mask_diameter_angst or MASK_MARGIN * size.long_axis_angst
    return mask_diameter_angst(wanted_angst, given.box_px, given.pixel_size_angst)


def _classes(task: Classification, given: ParticleInput) -> int:
    return min(task.classes, max(2, len(given.table) // LEAST_PER_CLASS))


def _native(task: Classification, config, given: ParticleInput, mask_angst, device, threads):
    earlier = _earlier(task, given)
    found = classify2d(
        given.source,
        given.optics,
        pixel_size_angst=given.pixel_size_angst,
        diameter_angst=mask_angst,
        classes=_classes(task, given),
        seed=config.compute.seed,
        device=device,
        budget_mb=config.compute.memory_mb / 2,
        resolution_angst=config.class2d.resolution_angst,
        initial=earlier[1] if earlier else None,
        schedule=task.schedule,
        report=log.info,
    )
    found.save(task.file("model.pt"))
    columns = assignment_columns(found.poses)
    stack_name = f"{task.folder}/classes.mrcs"
    return (
        found.classes.averages,
        class_table(found.classes, pd.DataFrame(columns), stack_name),
        columns,
    )


def _earlier(task: Classification, given: ParticleInput) -> tuple[Path, np.ndarray] | None:
    """The averages that are started from, and their file, where they have these images' box and
    pixel size."""
    stack = task.session / task.earlier / "classes.mrcs" if task.earlier else None
    if stack is None or not stack.exists():
        return None
    averages, pixel_size_angst = read_mrc(stack)
    same = averages.shape[-1] == given.box_px and np.isclose(
        pixel_size_angst, given.pixel_size_angst, rtol=1e-3
    )
    if not same:
        log.warning("%s has images of another box or pixel size; starting anew", stack)
    return (stack, averages) if same else None


def _relion(task: Classification, config, given: ParticleInput, mask_angst, device, threads):
    settings, classes = config.class2d, _classes(task, given)
    earlier = _earlier(task, given)
    # RELION takes as many references as there are classes
    initial = earlier[0] if earlier and len(earlier[1]) == classes else None
    found = relion_classify(
        task.session / task.table,
        task.file("relion"),
        work_dir=task.session,
        classes=classes,
        diameter_angst=mask_angst,
        seed=config.compute.seed,
        threads=threads,
        iterations=round(task.slowly * settings.relion_iterations),
        gpu=device_number(device),
        command=settings.relion_command,
        initial=initial,
    )
    log.info("RELION %s: %s", found.version, found.command)
    names = reference_images(f"{task.folder}/classes.mrcs", classes)
    return found.averages, found.classes.assign(rlnReferenceImage=names), dict(found.particles)


def _write_failure(task: Classification, about: dict) -> None:
    """No classes, and why."""
    write_no_particles(task.file("particles.star"))
    write_star(
        task.file("averages.star"),
        {"general": about, "classes": pd.DataFrame(columns=CLASS_COLUMNS)},
    )
