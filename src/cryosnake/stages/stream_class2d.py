"""Particles of a batch assigned to the classes of the last round, until the next one."""

from pathlib import Path

import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d import assign, load_classification
from cryosnake.classes2d.particle_table import assignment_columns, read_input
from cryosnake.config.model import Config
from cryosnake.particles import read_particles
from cryosnake.tables import write_star

_COLUMNS = ["rlnImageName", "rlnMicrographName"]


def stream(
    session: Path, particles: int, batch: str, config: Config, device: torch.device | str
) -> int:
    """Assign the particles of a batch to the classes of a round; returns how many.

    Writes the assignments and what the particles add to the averages. Where the round has no
    classes, or the batch no particles, the table is empty and there are no sums.
    """
    session = Path(session)
    table = session / layout.class2d_stream(particles, batch, "star")
    sums = session / layout.class2d_stream(particles, batch, "pt")
    sums.unlink(missing_ok=True)
    model = session / layout.class2d_file(particles, "model.pt")
    extracted = session / layout.particles_star(batch)
    if not model.exists() or read_particles(extracted)[1].empty:
        columns = [*_COLUMNS, "rlnClassNumber", "csnLogEvidence"]
        write_star(table, {"particles": pd.DataFrame(columns=columns)})
        return 0
    given = read_input(extracted, session)
    found = assign(
        given.source,
        given.optics,
        load_classification(model, device),
        device=device,
        budget_mb=config.compute.memory_mb / 2,
    )
    found.contribution.save(sums)
    columns = assignment_columns(found.poses)
    write_star(table, {"particles": given.table[_COLUMNS].assign(**columns)})
    return len(given.table)
