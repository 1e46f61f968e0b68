"""When enough particles are there for a round of 2D classification, and which ones it gets.

As with micrographs, the subset is the smallest prefix of batches, in ledger order, whose particles
reach the number: it depends on the data, not on timing, and is never changed.
"""

import json
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.particles import (
    merge_particles,
    read_particles,
    regroup_particles,
    write_particles,
)
from cryosnake.session.extracted import extracted_particles
from cryosnake.session.milestones import accepted, judged
from cryosnake.session.tables import micrograph_blocks, read_movies
from cryosnake.session.tallies import Tallies, read_tally


def write_particle_tally(session: Path, tallies: Tallies, covered: int) -> dict:
    """Count the particles of the first `covered` batches, from the count before.

    Returns
    -------
    dict with `batches`, and `so_far`: pairs of a number of batches and of the particles in them,
    for each number since the count before.
    """
    session, before = Path(session), tallies.before(covered)
    number = read_tally(session, tallies.file(before))["so_far"][-1][1] if before else 0
    so_far = []
    for index in range(before, covered):
        number += extracted_particles(session, layout.batch_name(index))
        so_far.append([index + 1, number])
    result = {"batches": covered, "so_far": so_far}
    write_text(session / tallies.file(covered), json.dumps(result) + "\n")
    return result


def freeze_particles(session: Path, config: Config, particles: int, batches: list[str]) -> int:
    """Write the subset of a round, with the optics groups that its micrographs have together.

    Particles of a micrograph that is rejected over the whole prefix (by its dose, or because its
    movie came again) are left out. Particles that were given to the session keep their groups.

    Returns
    -------
    The number of particles in it.

    Raises
    ------
    BadInputError : none of the batches has a particle.
    """
    session = Path(session)
    tables = [read_particles(session / layout.particles_star(batch)) for batch in batches]
    optics, table = merge_particles([one for one in tables if len(one[1])])
    if config.input.kind != "particles":
        optics, table = _of_accepted(session, config, batches, optics, table)
    path = session / layout.particle_subset(particles)
    if table.empty:
        raise BadInputError(path, f"no particle in {len(batches)} batches", f"{particles}")
    write_particles(path, optics, table)
    return len(table)


def _of_accepted(
    session: Path, config: Config, batches: list[str], optics: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The particles of micrographs that are accepted over the prefix, in their optics groups."""
    movies = judged(read_movies(session, batches), config)
    blocks = micrograph_blocks(movies[accepted(movies, config)], config)
    table = table[table["rlnMicrographName"].isin(blocks["micrographs"]["rlnMicrographName"])]
    if table.empty:
        return optics, table
    return regroup_particles(optics, table, blocks["micrographs"], blocks["optics"])
