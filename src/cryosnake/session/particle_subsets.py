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
from cryosnake.session.milestones import accepted, judged
from cryosnake.session.tables import micrograph_blocks, read_movies
from cryosnake.session.tallies import Tallies, read_tally


def extracted_particles(session: Path, batch: str) -> int:
    """The number of particles that were extracted of a batch."""
    return int(pd.read_csv(session / layout.extracted_counts(batch))["extracted"].sum())


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
    movie came again) are left out.

    Returns
    -------
    The number of particles in it.

    Raises
    ------
    BadInputError : none of the batches has a particle.
    """
    session = Path(session)
    movies = judged(read_movies(session, batches), config)
    blocks = micrograph_blocks(movies[accepted(movies, config)], config)
    tables = [read_particles(session / layout.particles_star(batch)) for batch in batches]
    optics, table = merge_particles([one for one in tables if len(one[1])])
    table = table[table["rlnMicrographName"].isin(blocks["micrographs"]["rlnMicrographName"])]
    path = session / layout.particle_subset(particles)
    if table.empty:
        raise BadInputError(path, f"no particle in {len(batches)} batches", f"{particles}")
    optics, table = regroup_particles(optics, table, blocks["micrographs"], blocks["optics"])
    write_particles(path, optics, table)
    return len(table)
