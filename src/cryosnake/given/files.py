"""Which kind of table a STAR file holds, and what its paths are relative to."""

import os
from collections.abc import Sequence
from pathlib import Path

from cryosnake.errors import BadInputError
from cryosnake.tables import read_star

_KINDS = ("particles", "micrographs")
_EXPECTED = "a table of micrographs or particles of RELION 3.1 or later"


def is_table(path: str | os.PathLike) -> bool:
    """Whether an input is a STAR file, by its name."""
    return str(path).lower().endswith(".star")


def table_kind(path: Path) -> str:
    """What a STAR file holds: `micrographs` or `particles`.

    Raises
    ------
    BadInputError : missing, not STAR, or neither of the two.
    """
    blocks = read_star(path)
    for kind in _KINDS:
        if kind in blocks:
            return kind
    raise BadInputError(
        path, f"holds the blocks {', '.join(f'data_{name}' for name in sorted(blocks))}", _EXPECTED
    )


def project_folder(table: Path, names: Sequence[str]) -> Path:
    """The folder that the paths of a table are relative to.

    RELION writes paths relative to its project folder, and tables somewhere below it: the folder is
    the table's own or the nearest one above in which the first and the last path lead to a file.

    Parameters
    ----------
    names : paths as they stand in the table, at least one.

    Raises
    ------
    BadInputError : there is none.
    """
    table = Path(os.path.abspath(table))
    ends = (names[0], names[-1])
    for folder in table.parents:
        if all((folder / name).exists() for name in ends):
            return folder
    missing = next(name for name in ends if not (table.parent / name).exists())
    raise BadInputError(
        table,
        f"names {missing}, which is neither below its own folder nor below one above it",
        "paths of files that exist, relative to the table's project folder, or absolute",
    )
