"""STAR tables: reading, and writing whole or not at all.

Standard quantities use RELION's `rln` labels; own columns begin with `csn` and are described in
`cryosnake.columns`, which this module enforces when it writes.
"""

import os
from pathlib import Path

import pandas as pd
import starfile

from cryosnake.columns import COLUMNS, STRING_COLUMNS
from cryosnake.errors import BadInputError
from cryosnake.files import written_whole

Block = pd.DataFrame | dict


def read_star(path: str | os.PathLike) -> dict[str, Block]:
    """Read all blocks of a STAR file: loops as data frames, simple blocks as dictionaries.

    Raises
    ------
    BadInputError : the file is missing, empty or not STAR.
    """
    path = Path(path)
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=STRING_COLUMNS)
    except FileNotFoundError as error:
        raise BadInputError(path, "no such file", "a STAR file") from error
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise BadInputError(path, f"cannot be parsed ({error})", "a STAR file") from error
    if not blocks:
        raise BadInputError(path, "holds no data block", "a STAR file")
    return blocks


def read_table(path: str | os.PathLike, block: str) -> pd.DataFrame:
    """Read one loop of a STAR file; an empty loop gives a frame with no rows.

    Raises
    ------
    BadInputError : the file or the block is missing.
    """
    blocks = read_star(path)
    if block not in blocks:
        raise BadInputError(path, f"no block data_{block} among {sorted(blocks)}", f"data_{block}")
    found = blocks[block]
    if isinstance(found, dict):
        found = pd.DataFrame([found])
    return found


def write_star(path: str | os.PathLike, blocks: dict[str, Block]) -> None:
    """Write a STAR file whole or not at all; missing values are written as `nan`.

    A frame without rows becomes a loop without rows, which the readers here give back as such.

    Raises
    ------
    KeyError : a `csn` column is not described in `cryosnake.columns`.
    ValueError : a frame without columns, or a string that STAR cannot hold.
    """
    for name, block in blocks.items():
        columns = block.columns if isinstance(block, pd.DataFrame) else block.keys()
        unknown = [c for c in columns if c.startswith("csn") and c not in COLUMNS]
        if unknown:
            raise KeyError(f"columns {unknown} are not described in cryosnake.columns")
        if isinstance(block, pd.DataFrame):
            if not len(block.columns):
                raise ValueError(f"{path}: block data_{name} has no columns; leave it out")
            for column in block.select_dtypes(include=["object", "string"]).columns:
                bad = block[column].astype(str).str.contains("[\"'#\n\r]|^$", regex=True)
                if bad.any():
                    value = block.loc[bad, column].iloc[0]
                    raise ValueError(
                        f"{path}: {column} = {value!r} has a character that STAR cannot hold"
                    )
    with written_whole(path) as temporary:
        starfile.write(blocks, temporary, float_format="%.6f", na_rep="nan")


def star_text(text: str) -> str:
    """Make any text storable in a STAR value: quotes, hashes and line breaks replaced; never
    empty."""
    cleaned = " ".join(str(text).replace('"', "`").replace("'", "`").replace("#", "no.").split())
    return cleaned or "-"
