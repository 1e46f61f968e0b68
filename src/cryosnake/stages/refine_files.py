"""What the stages of refinement read of one another, and how a problem is passed on."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.images import read_mrc
from cryosnake.particles import read_particles
from cryosnake.tables import read_star

#: The maps of a refinement.
MAPS = ("half1", "half2", "map", "mask", "sharpened", "local_resolution")


def stack_file(session: Path, particles: int, name: str) -> Path:
    """A file of the particles that were extracted again for a refinement."""
    return Path(session) / layout.refine_file(particles, f"stack/{name}")


def told(error: BaseException) -> str:
    """An error in words."""
    return str(error) or type(error).__name__


def problem_of(path: Path) -> str | None:
    """The problem that a stage wrote in place of its result (`csnProblem` of the block `general`),
    or None.

    Raises
    ------
    BadInputError : the file is missing or damaged.
    """
    about = read_star(path).get("general", {})
    problem = str(about.get("csnProblem", "-")) if isinstance(about, dict) else "-"
    return None if problem == "-" else problem


def as_json(content: dict) -> str:
    """JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(value):
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_finite(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def write_json(path: Path, content: dict) -> None:
    """Write a result whole or not at all."""
    write_text(path, as_json(content))


def read_json(path: Path) -> dict:
    """A result that `write_json` wrote.

    Raises
    ------
    BadInputError : missing, or not a JSON object.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "a JSON object") from error
    if not isinstance(content, dict):
        raise BadInputError(path, f"holds a {type(content).__name__}", "a JSON object")
    return content


@dataclass(frozen=True)
class Refinement:
    """A refinement as its stage left it.

    Parameters
    ----------
    result : content of `result.json`.
    """

    session: Path
    particles: int
    result: dict

    @property
    def problem(self) -> str | None:
        return self.result["problem"]

    def map(self, name: str) -> np.ndarray:
        """One of `MAPS`, (n, n, n) float32."""
        path = self.session / layout.refine_file(self.particles, f"{name}.mrc")
        return read_mrc(path)[0].astype(np.float32)

    def particle_blocks(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Optics groups and particles, with their poses."""
        return read_particles(self.session / layout.refine_file(self.particles, "particles.star"))


def read_refinement(session: Path, particles: int) -> Refinement:
    """Read what is known of a refinement.

    Raises
    ------
    BadInputError : there is none, or it is damaged.
    """
    path = Path(session) / layout.refine_file(particles, "result.json")
    result = read_json(path)
    missing = {"problem", "particles", "resolution_angst"} - set(result)
    if missing:
        raise BadInputError(path, f"no key {min(missing)}", "the result of a refinement")
    return Refinement(Path(session), particles, result)
