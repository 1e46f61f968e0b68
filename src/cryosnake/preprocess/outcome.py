"""What becomes of a movie or micrograph whatever happens to it: a row, and never a failed job."""

import errno
import logging
from collections.abc import Callable
from pathlib import Path

from cryosnake.curation import FLAG_COLUMNS
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.preprocess.journal import MovieResult
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.tables import star_text

log = logging.getLogger("cryosnake")


def processed_or_rejected(entry: dict, process: Callable[[dict, str], MovieResult]) -> MovieResult:
    """The result of processing a row of a batch; where that fails, the row as rejected, with why.

    Parameters
    ----------
    entry : the row of its batch.
    process : takes a row with all columns, which it fills, and the subject of decisions. What is
        known when it fails stays in the row.

    Raises
    ------
    OSError : the disk is full (or over quota): a matter of the machine, not of the movie.
    """
    row = EMPTY_ROW | {key: entry[key] for key in entry if key in EMPTY_ROW}
    subject = star_text(entry["rlnMicrographMovieName"])
    foreseen = True
    try:
        return process(row, subject)
    except BadInputError as error:
        problem = str(error)
        found, expected = _told_by(error)
    except Exception as error:
        if disk_is_full(error):
            raise
        log.exception("%s failed", entry["rlnMicrographMovieName"])
        problem = f"{type(error).__name__}: {error}"
        foreseen = False
        found, expected = problem, "a file that can be processed; the batch's log has the trace"
    log.warning("%s rejected: %s", entry["rlnMicrographMovieName"], problem)
    row = row | {
        FLAG_COLUMNS["input"]: 0,
        "csnAccepted": 0,
        "csnReason": "input",
        "csnExplanation": star_text(problem),
    }
    decision = Decision(
        subject=subject, rule="input", verdict="fail", value=found, threshold=expected or "-"
    )
    return MovieResult(row, [decision], foreseen=foreseen)


def _told_by(error: BadInputError) -> tuple[str, str]:
    where = f"{Path(error.path).name}: " if error.path is not None else ""
    return where + error.problem, error.expected


def disk_is_full(error: BaseException) -> bool:
    """Whether a full disk or an exceeded quota is what lies behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
