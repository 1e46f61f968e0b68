"""A session's status as lines for a terminal."""

from collections.abc import Iterator

from cryosnake.session.job_failures import Failure
from cryosnake.session.status import Status, Task

_STATES = {
    "never": "no run of it is known",
    "running": "runs",
    "by_hand": "a Snakemake that was started by hand works in its folder",
    "elsewhere": "runs on another machine",
    "ended": "ended; all that was there is done",
    "interrupted": "was stopped",
    "failed": "ended with failures",
    "killed": "does not run: it was killed, or its machine stopped",
}
_VERDICTS = {"go": "go on", "change": "change something", "stop": "stop", "unsure": "unsure"}
_MOST = 20


def status_text(status: Status) -> str:
    """All that a person wants to know, the most important first."""
    return "\n".join(_lines(status))


def _lines(status: Status) -> Iterator[str]:
    yield _line("session", f"{status.session}: {_STATES[status.state]}")
    run = status.run
    if run is not None:
        end = f", ended {run.ended} with exit code {run.exit_code}" if run.ended else ""
        yield _line("run", f"{run.in_words()}, profile {run.profile}, user {run.user}{end}")
    if status.progress:
        yield _line("progress", status.progress)
    yield from _tasks("runs", status.runs, " on ")
    yield from _tasks("waits", status.waits, " for ")
    for failure in status.failed[:_MOST]:
        yield from _failure(failure)
    if len(status.failed) > _MOST:
        yield _line("", f"and {len(status.failed) - _MOST} more failed jobs")
    for left in status.left:
        yield _line("left", left)
    for problem in status.problems:
        yield _line("problem", problem)
    if status.verdict:
        yield _line("verdict", _VERDICTS.get(status.verdict, status.verdict))
        for reason in status.verdict_reasons:
            yield _line("", reason)
    for sentence in status.to_do:
        yield _line("to do", sentence)


def _line(title: str, text: str) -> str:
    return f"{title:<9} {text}"


def _tasks(title: str, tasks: list[Task], joint: str) -> Iterator[str]:
    for task in tasks[:_MOST]:
        parts = [f"{task.what}{joint}{task.where}"]
        parts += [task.resources] if task.resources else []
        parts += [f"SLURM job {task.slurm_id}"] if task.slurm_id else []
        parts += [f"since {task.since}"] if task.since else []
        yield _line(title, ", ".join(parts))
        title = ""
    if len(tasks) > _MOST:
        yield _line("", f"and {len(tasks) - _MOST} more")


def _failure(failure: Failure) -> Iterator[str]:
    tried = f" (tried {failure.attempts} times)" if failure.attempts > 1 else ""
    yield _line("failed", f"{failure.what}{tried}: {failure.why}")
    if failure.said and failure.said not in failure.why:
        yield _line("", failure.said)
    if failure.log_end:
        yield _line("", f"{failure.log} ends with:")
        for line in failure.log_end:
            yield _line("", f"  {line}")
    yield _line("", failure.advice)
