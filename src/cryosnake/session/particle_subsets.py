"""When enough particles are there for a round of 2D classification, and which ones it gets.

As with micrographs, the subset is the smallest prefix of batches, in ledger order, whose particles
reach the number: it depends on the data, not on timing, and is never changed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.files import write_text, written_whole
from cryosnake.particles import merge_particles, regroup_particles
from cryosnake.quick_star import read_lines, read_tables, split_line
from cryosnake.session.extracted import extracted_particles
from cryosnake.session.milestones import accepted, judged
from cryosnake.session.tables import micrograph_blocks, read_movies
from cryosnake.session.tallies import Tallies, read_tally
from cryosnake.tables import write_star

_GROUP, _MICROGRAPH = "rlnOpticsGroup", "rlnMicrographName"


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
    The lines of the batches are copied, one batch at a time: the last subset of a session may have
    millions.

    Returns
    -------
    The number of particles in it.

    Raises
    ------
    BadInputError : none of the batches has a particle, or a table is damaged.
    """
    session = Path(session)
    parts = [_read_part(session / layout.particles_star(batch)) for batch in batches]
    parts = [part for part in parts if part.rows]
    path = session / layout.particle_subset(particles)
    nothing = BadInputError(path, f"no particle in {len(batches)} batches", f"{particles}")
    if not parts:
        raise nothing
    given = config.input.kind == "particles"
    find = _given_groups if given else _groups_of_accepted
    optics, groups = find(session, config, batches, parts)
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    number = 0
    with written_whole(path) as temporary:
        write_star(temporary, {"optics": optics, "particles": pd.DataFrame(columns=columns)})
        # the loop of particles is the last one: its rows follow its labels
        head = temporary.read_text(encoding="utf-8").rstrip("\n")
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(head + "\n")
            for part, group_of in zip(parts, groups, strict=True):
                lines = _regrouped(part, columns, group_of)
                number += len(lines)
                file.writelines(line + "\n" for line in lines)
            file.write("\n\n")
        if not number:
            raise nothing
    return number


@dataclass(frozen=True)
class _Part:
    """What is known of the particles of a batch before their lines are copied."""

    path: Path
    optics: pd.DataFrame
    columns: list[str]
    micrographs: frozenset[str]
    rows: int


def _read_part(path: Path) -> _Part:
    columns, lines = read_lines(path, "particles")
    names = set()
    if _MICROGRAPH in columns:
        place = columns.index(_MICROGRAPH)
        names = {split_line(path, line, len(columns))[place] for line in lines}
    return _Part(path, read_tables([path], "optics"), columns, frozenset(names), len(lines))


#: Gives the new group of a particle from the old one and its micrograph; None leaves it out.
_Group = Callable[[str, str], int | None]


def _merged(parts: list[_Part]) -> tuple[pd.DataFrame, list[dict[str, int]]]:
    """The groups of all parts together, and of each part the number that its groups get."""
    optics, numbers = merge_particles([(part.optics, part.optics[[_GROUP]]) for part in parts])
    new = iter(numbers[_GROUP])
    return optics, [{str(old): int(next(new)) for old in part.optics[_GROUP]} for part in parts]


def _given_groups(session, config, batches, parts: list[_Part]) -> tuple[pd.DataFrame, list]:
    """The groups as they were given."""
    optics, numbers = _merged(parts)
    return optics, [lambda old, _name, own=own: own[old] for own in numbers]


def _groups_of_accepted(session, config, batches, parts: list[_Part]) -> tuple[pd.DataFrame, list]:
    """The groups of micrographs that are accepted over the prefix; others have none."""
    optics, _ = _merged(parts)
    movies = judged(read_movies(session, batches), config)
    blocks = micrograph_blocks(movies[accepted(movies, config)], config)
    number = dict(
        zip(blocks["micrographs"][_MICROGRAPH], blocks["micrographs"][_GROUP], strict=True)
    )
    seen = [name for part in parts for name in sorted(part.micrographs) if name in number]
    if seen:
        optics, _ = regroup_particles(
            optics, pd.DataFrame({_MICROGRAPH: seen}), blocks["micrographs"], blocks["optics"]
        )
    return optics, [lambda _old, name: number.get(name)] * len(parts)


def _regrouped(part: _Part, columns: list[str], group_of: _Group) -> list[str]:
    """The lines of a part with their new groups, in the columns of the subset."""
    labels, lines = read_lines(part.path, "particles")
    group = labels.index(_GROUP)
    micrograph = labels.index(_MICROGRAPH) if _MICROGRAPH in labels else None
    order = [labels.index(c) if c in labels else None for c in columns]
    found = []
    for line in lines:
        values = line.split("\t")
        name = "" if micrograph is None else values[micrograph].strip('"')
        new = group_of(values[group], name)
        if new is None:
            continue
        values[group] = str(new)
        if labels != columns:
            values = ["nan" if i is None else values[i] for i in order]
        found.append("\t".join(values))
    return found
