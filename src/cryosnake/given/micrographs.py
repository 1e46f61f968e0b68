"""Micrographs that a STAR file lists, with what it says of their optics and their CTF."""

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.given.files import is_table, project_folder
from cryosnake.tables import read_star

_FACTS = {
    "pixel_size_angst": "rlnMicrographPixelSize",
    "voltage_kv": "rlnVoltage",
    "cs_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}


@dataclass(frozen=True)
class GivenCtf:
    """The CTF of a micrograph, as its table has it; the names are those of a fit.

    Parameters
    ----------
    max_resolution_angst, figure_of_merit : NaN where the table does not say.
    """

    defocus_u_angst: float
    defocus_v_angst: float
    defocus_angle_deg: float
    phase_shift_deg: float
    max_resolution_angst: float
    figure_of_merit: float


@dataclass(frozen=True)
class GivenMicrograph:
    """A micrograph of a table.

    Parameters
    ----------
    facts : what its optics group tells of `pixel_size_angst`, `voltage_kv`, `cs_mm` and
        `amplitude_contrast`.
    """

    facts: dict[str, float]
    ctf: GivenCtf | None


def given_micrographs(session: Path, config: Config) -> dict[str, GivenMicrograph]:
    """The micrographs of `input.path` by their absolute path; none where it is no STAR file.

    Raises
    ------
    BadInputError : the table is missing or damaged, or its files are not found.
    """
    if not is_table(config.input.path):
        return {}
    return read_micrographs(Path(session) / config.input.path)


def read_micrographs(path: Path) -> dict[str, GivenMicrograph]:
    """The micrographs of a STAR file by their absolute path, in order.

    Raises
    ------
    BadInputError : see `given_micrographs`.
    """
    path = Path(os.path.abspath(path))
    try:
        state = path.stat()
    except OSError as error:
        raise BadInputError(path, f"cannot be read ({error.strerror})", "a STAR file") from error
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, _mtime_ns: int, _size_bytes: int) -> dict[str, GivenMicrograph]:
    blocks = read_star(path)
    if "micrographs" not in blocks:
        raise BadInputError(path, "has no block data_micrographs", "a table of micrographs")
    table = _rows(blocks["micrographs"])
    if "rlnMicrographName" not in table or table.empty:
        raise BadInputError(path, "names no micrograph", "a column rlnMicrographName, with rows")
    if "optics" in blocks and "rlnOpticsGroup" in table:
        groups = _rows(blocks["optics"])
        own = [c for c in groups if c not in table or c == "rlnOpticsGroup"]
        table = table.merge(groups[own], on="rlnOpticsGroup", how="left")
    folder = project_folder(path, list(table["rlnMicrographName"]))
    return {
        os.path.normpath(folder / row["rlnMicrographName"]): GivenMicrograph(_facts(row), _ctf(row))
        for row in table.to_dict("records")
    }


def _rows(block: pd.DataFrame | dict) -> pd.DataFrame:
    return pd.DataFrame([block]) if isinstance(block, dict) else block


def _number(row: dict, column: str, missing: float = math.nan) -> float:
    try:
        value = float(row.get(column, missing))
    except (TypeError, ValueError):
        return missing
    return value if math.isfinite(value) else missing


def _facts(row: dict) -> dict[str, float]:
    values = {name: _number(row, column) for name, column in _FACTS.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _ctf(row: dict) -> GivenCtf | None:
    """None unless both defoci are known and other than zero."""
    u, v = _number(row, "rlnDefocusU"), _number(row, "rlnDefocusV")
    if not (math.isfinite(u) and math.isfinite(v)) or u == v == 0:
        return None
    return GivenCtf(
        u,
        v,
        _number(row, "rlnDefocusAngle", 0.0),
        _number(row, "rlnPhaseShift", 0.0),
        _number(row, "rlnCtfMaxResolution"),
        _number(row, "rlnCtfFigureOfMerit"),
    )
