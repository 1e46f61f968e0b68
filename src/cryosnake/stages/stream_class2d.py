"""Particles of a batch assigned to the classes of the last round, until the next one."""

import logging
from pathlib import Path

import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d import assign, load_classification
from cryosnake.classes2d.particle_table import assignment_columns, particle_input
from cryosnake.config.model import Config
from cryosnake.errors import CryosnakeError
from cryosnake.particles import read_particles
from cryosnake.tables import star_text, write_star

log = logging.getLogger("cryosnake")

_COLUMNS = ["rlnImageName", "rlnMicrographName"]
_ASSIGNED = ["rlnClassNumber", "csnLogEvidence"]


def stream(
    session: Path, particles: int, batch: str, config: Config, device: torch.device | str
) -> int:
    """Assign the particles of a batch to the classes of a round; returns how many.

    Writes the assignments and what the particles add to the averages. Where the round has no
    classes, or the batch no particles, the table is empty and there are no sums. What cannot be
    assigned is told in the table, and costs this batch only.
    """
    session = Path(session)
    path = session / layout.particles_star(batch)
    sums = session / layout.class2d_stream(particles, batch, "pt")
    sums.unlink(missing_ok=True)
    model = session / layout.class2d_file(particles, "model.pt")
    assigned, problem = pd.DataFrame(columns=[*_COLUMNS, *_ASSIGNED]), "-"
    try:
        groups, table = read_particles(path)
        if model.exists() and not table.empty:
            given = particle_input(path, groups, table, session)
            found = assign(
                given.source,
                given.optics,
                load_classification(model, device),
                device=device,
                budget_mb=config.compute.memory_mb / 2,
            )
            found.contribution.save(sums)
            columns = [c for c in (*_COLUMNS, "csnBatch") if c in table]
            assigned = table[columns].assign(**assignment_columns(found.poses))
    except (CryosnakeError, RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        log.exception("%s cannot be assigned", batch)
        problem = star_text(str(error) or type(error).__name__)
    write_star(
        session / layout.class2d_stream(particles, batch, "star"),
        {"general": {"csnProblem": problem}, "particles": assigned},
    )
    return len(assigned)
