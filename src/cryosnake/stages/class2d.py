"""A round of 2D classification: with the native engine, or with RELION's."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d import classify2d
from cryosnake.classes2d.particle_table import (
    CLASS_COLUMNS,
    ParticleInput,
    assignment_columns,
    class_table,
    mask_diameter_angst,
    read_input,
    reference_images,
)
from cryosnake.config.model import Config
from cryosnake.engines.relion_class2d import classify as relion_classify
from cryosnake.errors import CryosnakeError
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import write_particles
from cryosnake.picking.size_model import read_size
from cryosnake.session.rounds import Rounds
from cryosnake.tables import star_text, write_star

log = logging.getLogger("cryosnake")

#: The mask is so much wider than the particle's long axis: room for its corners.
MASK_MARGIN = 1.25


def classify(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> pd.DataFrame:
    """Classify the frozen particles of a round; returns the table of its classes.

    What prevents a classification (particles that cannot be used, an engine that fails, memory) is
    written in place of its result, and does not end the session.
    """
    session = Path(session)
    for name in ("classes.mrcs", "model.pt"):
        (session / layout.class2d_file(particles, name)).unlink(missing_ok=True)
    about = {
        "csnClassEngine": config.class2d.engine,
        "csnRoundParticles": particles,
        "csnProblem": "-",
    }
    try:
        given = read_input(session / layout.particle_subset(particles), session)
        mask_angst = mask_diameter(session, config, given)
        about |= {
            "csnMaskDiameter_angst": mask_angst,
            "rlnPixelSize": given.pixel_size_angst,
            "rlnImageSize": given.box_px,
        }
        engine = _relion if config.class2d.engine == "relion" else _native
        averages, classes, columns = engine(
            session, particles, config, given, mask_angst, device, threads
        )
    except (CryosnakeError, RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        log.exception("the classification failed")
        about["csnProblem"] = star_text(str(error) or type(error).__name__)
        _write_failure(session, particles, about)
        return pd.DataFrame(columns=CLASS_COLUMNS)
    stack = session / layout.class2d_file(particles, "classes.mrcs")
    write_mrc(stack, averages.astype(np.float32), given.pixel_size_angst)
    write_particles(
        session / layout.class2d_file(particles, "particles.star"),
        given.groups,
        given.table.assign(**columns),
    )
    write_star(
        session / layout.class2d_file(particles, "averages.star"),
        {"general": about, "classes": classes},
    )
    return classes


def mask_diameter(session: Path, config: Config, given: ParticleInput) -> float:
    """Diameter of the circular mask in angstrom, as far as the box has room for it."""
    size = read_size(session / layout.SIZE)[0]
    wanted_angst = config.class2d.mask_diameter_angst or MASK_MARGIN * size.long_axis_angst
    return mask_diameter_angst(wanted_angst, given.box_px, given.pixel_size_angst)


def _native(session, particles, config, given: ParticleInput, mask_angst, device, threads):
    rounds = Rounds(session, config.class2d)
    stack_name = layout.class2d_file(particles, "classes.mrcs")
    earlier = _earlier(session, rounds.before(particles), given)
    found = classify2d(
        given.source,
        given.optics,
        pixel_size_angst=given.pixel_size_angst,
        diameter_angst=mask_angst,
        classes=rounds.classes(particles),
        seed=config.compute.seed,
        device=device,
        budget_mb=config.compute.memory_mb / 2,
        resolution_angst=config.class2d.resolution_angst,
        initial=earlier[1] if earlier else None,
        report=log.info,
    )
    found.save(session / layout.class2d_file(particles, "model.pt"))
    columns = assignment_columns(found.poses)
    return (
        found.classes.averages,
        class_table(found.classes, pd.DataFrame(columns), stack_name),
        columns,
    )


def _earlier(
    session: Path, before: list[str], given: ParticleInput
) -> tuple[Path, np.ndarray] | None:
    """The averages of the round before, and their file, where they have these images' box and
    pixel size."""
    stack = (session / before[0]).with_name("classes.mrcs") if before else None
    if stack is None or not stack.exists():
        return None
    averages, pixel_size_angst = read_mrc(stack)
    same = averages.shape[-1] == given.box_px and np.isclose(
        pixel_size_angst, given.pixel_size_angst, rtol=1e-3
    )
    if not same:
        log.warning("%s has images of another box or pixel size; starting anew", stack)
    return (stack, averages) if same else None


def _relion(session, particles, config, given: ParticleInput, mask_angst, device, threads):
    settings, rounds = config.class2d, Rounds(session, config.class2d)
    classes = rounds.classes(particles)
    earlier = _earlier(session, rounds.before(particles), given)
    # RELION takes as many references as there are classes
    initial = earlier[0] if earlier and len(earlier[1]) == classes else None
    on_gpu = torch.device(device).type == "cuda"
    found = relion_classify(
        session / layout.particle_subset(particles),
        session / layout.class2d_file(particles, "relion"),
        work_dir=session,
        classes=classes,
        diameter_angst=mask_angst,
        seed=config.compute.seed,
        threads=threads,
        iterations=settings.relion_iterations,
        gpu=str(torch.device(device).index or 0) if on_gpu else None,
        command=settings.relion_command,
        initial=initial,
    )
    log.info("RELION %s: %s", found.version, found.command)
    stack_name = layout.class2d_file(particles, "classes.mrcs")
    table = found.classes.assign(rlnReferenceImage=reference_images(stack_name, classes))
    return found.averages, table, dict(found.particles)


def _write_failure(session: Path, particles: int, about: dict) -> None:
    """No classes, and why."""
    nothing = pd.DataFrame({"rlnImageName": [], "rlnClassNumber": []})
    write_star(session / layout.class2d_file(particles, "particles.star"), {"particles": nothing})
    write_star(
        session / layout.class2d_file(particles, "averages.star"),
        {"general": about, "classes": pd.DataFrame(columns=CLASS_COLUMNS)},
    )
