"""What an earlier run left behind, and clearing it away before the next one."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from cryosnake import layout
from cryosnake.errors import SessionStopError
from cryosnake.session.cluster import cancel_jobs
from cryosnake.session.lock import RunRecord
from cryosnake.session.orphans import end_orphans, foreign_runs, local_orphans

#: Names of files that were being written: a dot, the name, and what is random or a process number.
_TEMPORARY = re.compile(r"^\..+-([a-z0-9_]{8}|\d+)(\.\w+)?$")


def clear_leftovers(
    session: Path, say: Callable[[str], None], *, before: RunRecord | None, slurm: bool
) -> None:
    """Make sure that nothing works on the session, then remove what says that something does.

    The caller holds the session.

    Parameters
    ----------
    before : the run before, if there was one.
    slurm : this run or an earlier one, which did not end well, submits jobs to SLURM.

    Raises
    ------
    SessionStopError : a Snakemake that was started by hand is at work; jobs cannot be ended; or the
        scheduler does not say whether there are any.
    """
    foreign = foreign_runs(session)
    if foreign:
        numbers = ", ".join(str(p.pid) for p in foreign)
        raise SessionStopError(
            f"Snakemake already works in {session} (process {numbers}), started by hand"
        )
    orphans = local_orphans(session)
    if orphans:
        say(f"ending {len(orphans)} processes that a killed run left behind")
        end_orphans(orphans)
    if slurm:
        cancel_jobs(session, say)
    clear_marks(session)
    if before is None or before.exit_code != 0:
        remove_half_written(session)


def clear_marks(session: Path) -> None:
    """Remove Snakemake's stale locks, and its marks of work that was under way.

    Only when nothing works on the session. Snakemake would delete and repeat whatever is marked,
    a finished refinement too, if its run was killed before it noticed the end. Every output of this
    workflow is written whole or not at all, so what is there is finished, and what is not there is
    made without a mark.
    """
    for name in ("locks", "incomplete"):
        for folder, _, files in os.walk(session / ".snakemake" / name):
            for file in files:
                if file != "migration_underway":
                    Path(folder, file).unlink(missing_ok=True)


def remove_half_written(session: Path) -> int:
    """Remove files that were being written when their process was killed; returns how many.

    Only when nothing works on the session.
    """
    removed = 0
    for folder, _, files in os.walk(session / layout.RESULTS):
        for file in files:
            if file.startswith(".") and _TEMPORARY.match(file):
                Path(folder, file).unlink(missing_ok=True)
                removed += 1
    return removed


def forget_deleted(session: Path) -> None:
    """Tables or a report that somebody took away are made again; Snakemake looks at their marks."""
    made = {
        layout.TABLES_MADE: (layout.MICROGRAPHS, layout.METRICS, layout.DECISIONS),
        layout.REPORT_MADE: (layout.REPORT,),
    }
    for mark, files in made.items():
        if not all((session / file).exists() for file in files):
            (session / mark).unlink(missing_ok=True)
