"""What becomes of a movie or micrograph whatever happens to it: a row, and never a failed job."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from cryosnake.curation import FLAG_COLUMNS
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.preprocess.journal import MovieResult
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.tables import star_text

log = logging.getLogger("cryosnake")

#: What a file system says that is away for a moment (a server restarted, a handle went stale), and
#: after how many seconds a movie is tried again.
_AWAY = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV, errno.ENXIO),
}
_AGAIN_S = (2.0, 10.0, 30.0)


def processed_or_rejected(entry: dict, process: Callable[[dict, str], MovieResult]) -> MovieResult:
    """The result of processing a row of a batch; where that fails, the row as rejected, with why.

    A file system that is away for a moment is waited for.

    Parameters
    ----------
    entry : the row of its batch.
    process : takes a row with all columns, which it fills, and the subject of decisions. What is
        known when it fails stays in the row.

    Raises
    ------
    OSError : the disk is full (or over quota): a matter of the machine, not of the movie.
    """
    empty = EMPTY_ROW | {key: entry[key] for key in entry if key in EMPTY_ROW}
    subject = star_text(entry["rlnMicrographMovieName"])
    pauses_s = list(_AGAIN_S)
    while True:
        row = dict(empty)
        try:
            return process(row, subject)
        except Exception as error:
            if disk_is_full(error):
                raise
            if not pauses_s or not is_away(error):
                return _rejected(row, subject, error)
            log.warning("%s; tried again in %g s", error, pauses_s[0])
            time.sleep(pauses_s.pop(0))


def _rejected(row: dict, subject: str, error: Exception) -> MovieResult:
    not_its_fault = _is_the_machines(error, Path(row["rlnMicrographMovieName"]).name)
    if isinstance(error, BadInputError):
        problem = str(error)
        found, expected = _told_by(error)
    else:
        log.error("%s failed", subject, exc_info=error)
        found = problem = f"{type(error).__name__}: {error}"
        expected = "a file that can be processed; the batch's log has the trace"
    log.warning("%s rejected: %s", subject, problem)
    row = row | {
        FLAG_COLUMNS["input"]: 0,
        "csnAccepted": 0,
        "csnReason": "input",
        "csnExplanation": star_text(problem),
        "csnInputProblem": "machine" if not_its_fault else "file",
    }
    decision = Decision(
        subject=subject, rule="input", verdict="fail", value=found, threshold=expected or "-"
    )
    foreseen = isinstance(error, BadInputError) and not not_its_fault
    return MovieResult(row, [decision], foreseen=foreseen)


def _is_the_machines(error: Exception, movie: str) -> bool:
    """Whether a movie failed for what is not its fault, so that it is worth another try as it is.

    Its file was not there (the gain reference's is another matter), its file system did not answer,
    or memory was short.
    """
    number = _errno(error)
    if number == errno.ENOENT:
        return isinstance(error, BadInputError) and Path(str(error.path)).name == movie
    short = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return short or number == errno.ENOMEM or is_away(error)


def _told_by(error: BadInputError) -> tuple[str, str]:
    where = f"{Path(error.path).name}: " if error.path is not None else ""
    return where + error.problem, error.expected


def disk_is_full(error: BaseException) -> bool:
    """Whether a full disk or an exceeded quota is what lies behind an error."""
    return _errno(error) in (errno.ENOSPC, errno.EDQUOT)


def is_away(error: BaseException) -> bool:
    """Whether a file system that did not answer is what lies behind an error."""
    return _errno(error) in _AWAY


def _errno(error: BaseException | None) -> int | None:
    """What the operating system said that lies behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
