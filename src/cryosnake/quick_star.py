"""A fast reader of the loops that this project writes (thousands of small tables a session).

`tables.read_star` reads any STAR file; at 3-10 ms a file it would cost a no-op run on a thousand
batches its time limit. This one knows that the file was written by `tables.write_star`: one row a
line, tabs between values, double quotes only around values with blanks.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.columns import STRING_COLUMNS
from cryosnake.errors import BadInputError


def read_lines(path: Path, block: str) -> tuple[list[str], list[str]]:
    """Labels and lines of one loop, as they stand in the file.

    Raises
    ------
    BadInputError : missing, or no such loop.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "a STAR table") from error
    try:
        start = lines.index(f"data_{block}")
    except ValueError:
        raise BadInputError(path, f"no block data_{block}", "a STAR table") from None
    labels: list[str] = []
    rows: list[str] = []
    for line in lines[start + 1 :]:
        if line.startswith("data_"):
            break
        if not line.strip() or line.startswith("loop_"):
            continue
        if line.startswith("_"):
            labels.append(line.split()[0][1:])
            continue
        rows.append(line)
    return labels, rows


def split_line(path: Path, line: str, columns: int) -> list[str]:
    """The values of a line.

    Raises
    ------
    BadInputError : there are not as many as columns (the file is damaged).
    """
    values = line.split("\t")
    if '"' in line:
        values = [value.strip('"') for value in values]
    if len(values) != columns:
        raise BadInputError(path, f"a row has {len(values)} values", f"{columns}")
    return values


def read_rows(path: Path, block: str) -> tuple[list[str], list[list[str]]]:
    """Labels and values (as text) of one loop.

    Raises
    ------
    BadInputError : missing, no such loop, or a row of the wrong length (a damaged file).
    """
    labels, lines = read_lines(path, block)
    return labels, [split_line(path, line, len(labels)) for line in lines]


def read_columns(path: Path, block: str, columns: Iterable[str]) -> list[tuple[str, ...]]:
    """The named columns of one loop, as text, a tuple a row; `-` where a column is absent."""
    labels, rows = read_rows(path, block)
    indices = [labels.index(c) if c in labels else None for c in columns]
    return [tuple("-" if i is None else row[i] for i in indices) for row in rows]


def read_tables(paths: Iterable[Path], block: str) -> pd.DataFrame:
    """Many tables below one another, in the order given; columns that some lack are NaN or `-`."""
    collected: dict[tuple[str, ...], list] = {}
    position = 0
    for path in paths:
        labels, rows = read_rows(path, block)
        group = collected.setdefault(tuple(labels), [])
        for row in rows:
            group.append((position, row))
            position += 1
    frames = [
        pd.DataFrame([r for _, r in group], columns=list(labels), index=[p for p, _ in group])
        for labels, group in collected.items()
    ]
    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames).sort_index()
    for column in table.columns:
        if column in STRING_COLUMNS:
            table[column] = table[column].fillna("-")
        else:
            table[column] = _numbers(table[column])
    return table


def _numbers(values: pd.Series) -> pd.Series:
    texts = ["nan" if text is None or text != text else text for text in values.tolist()]
    try:
        numbers = np.array(texts, dtype=float)
    except ValueError:
        return values.fillna("-")
    if all(text.lstrip("-").isdigit() for text in texts):
        numbers = numbers.astype(np.int64)
    return pd.Series(numbers, index=values.index, name=values.name)
