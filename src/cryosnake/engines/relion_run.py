"""How every program of RELION is run: in a clean folder, and believed only after a look at what it
left."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cryosnake.engines.command import EngineError, full_disk, log_tail, run_program
from cryosnake.errors import BadInputError

Read = TypeVar("Read")


def prepared(folder: Path, root: str = "run_") -> None:
    """Make a folder, and remove what an earlier attempt left there: files named `root`..."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{root}*"):
        stale.unlink()


def run_relion(
    line: Sequence[str],
    read: Callable[[], Read],
    *,
    folder: Path,
    work_dir: Path,
    environment: Mapping[str, str],
) -> Read:
    """Run a program of RELION to its end, and give what `read` makes of its output.

    Parameters
    ----------
    line : the command; paths in it are relative to `work_dir`, where it runs.
    read : raises BadInputError where the output does not fit.
    folder : of its output, with `relion.log`.

    Raises
    ------
    EngineError : it fails, or its output does not fit.
    """
    log = folder / "relion.log"
    run_program(line, folder=work_dir, log=log, environment=environment)
    try:
        return read()
    except BadInputError as error:
        problem = f"RELION ended, but its output does not fit: {error}{full_disk(folder)}"
        raise EngineError(problem, shlex.join(line), 0, log_tail(log)) from error


def keep_iteration(folder: Path, last: str) -> None:
    """Remove the files `run_it...` of all iterations but one, such as `run_it025`."""
    for file in folder.glob("run_it*"):
        if not file.name.startswith(f"{last}_"):
            file.unlink()
