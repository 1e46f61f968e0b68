"""Labels given by hand: a file `round,class,label[,note]`.

    round,class,label,note
    25000,7,noise,ice
    *,12,good,looks blurred but is the side view

`*` stands for every round; a line with the round's own number wins over it.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from cryosnake.assessment.labels import LABELS
from cryosnake.errors import BadInputError

_HEADERS = (["round", "class", "label"], ["round", "class", "label", "note"])


@dataclass(frozen=True)
class Override:
    """A label given by hand; `source` is where, as file:line."""

    label: str
    note: str
    source: str


def read_overrides(path: str | os.PathLike, round_particles: int) -> dict[int, Override]:
    """The labels that a file gives to classes (numbered from 1) of the round of so many particles.

    A file that does not exist gives none. Blank lines and lines that begin with # are skipped.

    Raises
    ------
    BadInputError : not such a file; a round, class or label that cannot be; a class named twice.
        The message names the file and the line.
    """
    path = Path(path)
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "a CSV file") from error
    lines = [
        (number, [cell.strip() for cell in next(csv.reader([line]))])
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return {}
    number, header = lines[0]
    if [name.lower() for name in header] not in _HEADERS:
        raise BadInputError(
            f"{path}:{number}", f"begins with {','.join(header)!r}", "round,class,label[,note]"
        )
    every: dict[int, Override] = {}
    own: dict[int, Override] = {}
    for number, cells in lines[1:]:
        where = f"{path}:{number}"
        wanted, index, override = _read_line(where, cells, len(header))
        if wanted not in ("*", round_particles):
            continue
        chosen = every if wanted == "*" else own
        if index in chosen:
            raise BadInputError(
                where,
                f"class {index} is named again",
                f"once a round (first {chosen[index].source})",
            )
        chosen[index] = override
    return every | own


def _read_line(where: str, cells: list[str], columns: int) -> tuple[int | str, int, Override]:
    """Round, class and label of one line."""
    if not 3 <= len(cells) <= columns:
        raise BadInputError(where, f"has {len(cells)} values", f"{columns} as the first line")
    wanted: int | str = cells[0]
    if wanted != "*":
        wanted = _whole(where, "round", cells[0], "the round's number of particles, or *")
    index = _whole(where, "class", cells[1], "a class number from 1")
    label = cells[2].lower()
    if label not in LABELS:
        raise BadInputError(where, f"label = {cells[2]!r}", f"one of {', '.join(LABELS)}")
    note = cells[3] if len(cells) > 3 else ""
    return wanted, index, Override(label, note, where)


def _whole(where: str, name: str, text: str, expected: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise BadInputError(where, f"{name} = {text!r}", expected)
    return int(text)
