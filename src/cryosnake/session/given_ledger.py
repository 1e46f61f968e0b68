"""Taking in a table of particles: its rows become batches, like movies, and nothing is copied.

A batch is a file with the particles themselves, written once and never changed. Rows that the table
gains later are taken in by a later run.
"""

import json
import os
from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.given import GivenParticles, read_given_particles
from cryosnake.tables import read_star, write_star


def table_state(session: Path, config: Config) -> dict:
    """Size and modification time of the given table.

    Raises
    ------
    BadInputError : it is not there.
    """
    path = Path(session) / config.input.path
    try:
        state = path.stat()
    except OSError as error:
        raise BadInputError(path, f"cannot be read ({error.strerror})", "a STAR file") from error
    return {"size_bytes": state.st_size, "mtime_ns": state.st_mtime_ns}


def noted_table(session: Path) -> dict:
    """The table as it was when all of it had been taken in: `size_bytes`, `mtime_ns`, `particles`;
    empty before that."""
    try:
        return json.loads((Path(session) / layout.GIVEN_TABLE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def particles_pending(session: Path, config: Config) -> bool:
    """Whether the table has changed since it was taken in."""
    noted = noted_table(session)
    return any(noted.get(key) != value for key, value in table_state(session, config).items())


def take_in_particles(session: Path, config: Config) -> int:
    """Close batches of all rows that are not taken in yet; returns the number of particles.

    The caller holds the ledger's lock. A run that was killed goes on after the last batch.

    Raises
    ------
    BadInputError : the table cannot be used, or rows that were taken in are not in it any more.
    """
    session = Path(session)
    state = table_state(session, config)
    path = session / config.input.path
    given = read_given_particles(path, ctf=config.ctf.fit)
    taken = _taken(session, path, given)
    size, total = config.ingest.batch_particles, len(given.particles)
    for start in range(taken, total, size):
        _close(session, given, start, min(start + size, total))
    write_text(session / layout.GIVEN_TABLE, json.dumps(state | {"particles": total}) + "\n")
    return total


def _taken(session: Path, path: Path, given: GivenParticles) -> int:
    """Rows in batches, if they are still those of the table."""
    batches = layout.closed_batches(session)
    if not batches:
        return 0
    blocks = read_star(session / layout.batch_star(batches[-1]))
    taken = int(blocks["general"]["csnTakenIn"])
    last = blocks["particles"]["rlnImageName"].iloc[-1]
    names = given.particles["rlnImageName"]
    if taken > len(names) or names.iloc[taken - 1] != last:
        raise BadInputError(
            path,
            f"is not the table whose first {taken} particles were taken in",
            "the same table, or with more rows at its end; another table wants a new session",
        )
    return taken


def _close(session: Path, given: GivenParticles, start: int, end: int) -> None:
    batch = layout.batch_name(len(layout.closed_batches(session)))
    particles = given.particles.iloc[start:end].assign(csnBatch=batch)
    optics = given.optics[given.optics["rlnOpticsGroup"].isin(particles["rlnOpticsGroup"])]
    path = session / layout.batch_star(batch)
    temporary = path.with_name(f".closing-{os.getpid()}.star")
    try:
        general = {"csnTakenIn": end}
        write_star(temporary, {"general": general, "optics": optics, "particles": particles})
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
