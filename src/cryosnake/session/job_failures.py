"""The jobs of a run that failed, with why and what helps."""

from dataclasses import dataclass
from pathlib import Path

from cryosnake.session.job_words import purpose, why_failed, wildcards_of
from cryosnake.session.run_log import RunLog

_LOG_LINES = 6


@dataclass(frozen=True)
class Failure:
    """A job that failed: what it was for, why, the end of its log, and what to do."""

    what: str
    rule: str
    why: str
    said: str
    attempts: int
    log: str
    log_end: list[str]
    advice: str


def failures(session: Path, log: RunLog) -> list[Failure]:
    """The failed jobs of a run that have not been done since."""
    found = []
    for job in log.failed.values():
        end = _end_of(session / job.log) if job.log else []
        why, advice = why_failed(job.problem, end)
        what = purpose(job.rule, wildcards_of(job.wildcards))
        said = job.problem.strip()
        found.append(Failure(what, job.rule, why, said, job.attempts, job.log, end, advice))
    return found


def _end_of(path: Path) -> list[str]:
    """The last lines of a job's log."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - 8192))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-_LOG_LINES:]
