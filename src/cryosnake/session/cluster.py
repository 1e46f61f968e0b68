"""A session's jobs in a SLURM queue: which there are, what they wait for, how to cancel them.

Only `squeue` and `scancel` are used: accounting (`sacct`) may be off. A scheduler may be away for a
while (it is restarted, or overloaded), so every question is asked again for a minute.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryosnake.errors import SessionStopError

#: For how long a scheduler that does not answer is asked again, how long one answer may take, and
#: for how long cancelled jobs may take to go (SLURM itself waits 30 s between TERM and KILL).
PATIENCE_S, _ANSWER_S, _GONE_S = 60.0, 30.0, 180.0
#: Job numbers on one command line.
_CHUNK = 500

#: What is asked of squeue: field, and width in bytes; the folder is last, for it may hold anything.
_FIELDS = {
    "JobArrayID": 64,
    "State": 32,
    "Reason": 128,
    "TimeUsed": 32,
    "NodeList": 256,
    "tres-alloc": 256,
    "tres-per-job": 128,
    "tres-per-node": 128,
    "Name": 256,
    "Comment": 512,
    "WorkDir": 4096,
}
_COMMENT = re.compile(r"^rule_(?P<rule>\w+?)(?:_wildcards_(?P<wildcards>.*))?$")
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(frozen=True)
class ClusterJob:
    """A job in the queue: its number, state and reason as SLURM says them, and what it is for.

    `elapsed` is the time it has run (`1-02:03:04`), `resources` what it holds or asks for (`cpu=1,
    mem=4G, gpu=1`), `wildcards` their values as the scheduler was told them.
    """

    number: str
    state: str
    reason: str
    elapsed: str
    nodes: str
    resources: str
    rule: str
    wildcards: str

    @property
    def waits(self) -> bool:
        """Whether it has not started."""
        return self.state == "PENDING"


class SchedulerAwayError(SessionStopError):
    """The scheduler does not answer."""


def session_jobs(session: Path, *, patience_s: float | None = None) -> list[ClusterJob]:
    """The jobs of this user that a run of this session submitted and that are still in the queue.

    Jobs that the user submitted from the same folder by other means are not among them (the starter
    itself may be one).

    Raises
    ------
    SchedulerAwayError : `squeue` is not there, or does not answer for `patience_s`.
    """
    fields = ",".join(f"{name}:{width}" for name, width in _FIELDS.items())
    answer = _ask(["squeue", f"--user={os.getuid()}", "--noheader", "-O", fields], patience_s)
    wanted = os.path.realpath(session)
    jobs = []
    for line in answer.split(b"\n"):
        folder, job = _parsed(line)
        if job is not None and os.path.realpath(folder) == wanted:
            jobs.append(job)
    return jobs


def _parsed(line: bytes) -> tuple[str, ClusterJob | None]:
    """The folder and the job of a line; no job where Snakemake did not submit it."""
    values, start = [], 0
    for width in _FIELDS.values():
        values.append(os.fsdecode(line[start : start + width].rstrip()))
        start += width
    number, state, reason, elapsed, nodes, *asked, name, comment, folder = values
    about = _COMMENT.match(comment)
    if not folder or not (about or _RUN_ID.search(name)):
        return folder, None
    rule, wildcards = (about["rule"], about["wildcards"] or "") if about else ("?", "")
    nodes = "" if nodes == "n/a" else nodes
    resources = _resources(*asked)
    return folder, ClusterJob(number, state, reason, elapsed, nodes, resources, rule, wildcards)


def _resources(allocated: str, per_job: str, per_node: str) -> str:
    """What matters of what SLURM tracks; GPUs are tracked on some clusters only."""
    kept = [part for part in allocated.split(",") if part.startswith(("cpu=", "mem="))]
    for asked in (per_job, per_node):
        for part in asked.replace("gres/", "gres:").split(","):
            if part.startswith("gres:gpu"):
                kept.append("gpu=" + re.split("[:=]", part)[-1])
    return ", ".join(kept)


def cancel_jobs(
    session: Path,
    say: Callable[[str], None],
    *,
    patience_s: float | None = None,
    gone_s: float = _GONE_S,
) -> int:
    """Cancel all jobs of a session, and wait until they have left the queue.

    Returns
    -------
    How many there were.

    Raises
    ------
    SchedulerAwayError : the scheduler does not answer.
    SessionStopError : jobs do not go.
    """
    jobs = first = session_jobs(session, patience_s=patience_s)
    if not jobs:
        return 0
    say(f"cancelling {len(jobs)} SLURM jobs of an earlier run: {_named(jobs)}")
    end, pause_s = time.monotonic() + gone_s, 0.5
    asked: set[str] = set()
    while jobs:
        # one that was being submitted when its run was killed may come up later
        new = [job.number for job in jobs if job.number not in asked]
        for start in range(0, len(new), _CHUNK):
            _cancel(new[start : start + _CHUNK], patience_s)
        asked |= set(new)
        if time.monotonic() > end:
            raise SessionStopError(
                f"SLURM jobs of {session} were cancelled and do not go: {_named(jobs)}; look at "
                "their nodes (`scontrol show job`), and run again when they are gone"
            )
        time.sleep(pause_s)
        pause_s = min(5.0, 1.5 * pause_s)
        jobs = session_jobs(session, patience_s=patience_s)
    return len(first)


def _named(jobs: list[ClusterJob], most: int = 5) -> str:
    told = [
        f"{job.number} ({job.state.lower()}{' on ' + job.nodes if job.nodes else ''})"
        for job in jobs[:most]
    ]
    return ", ".join(told) + (f" and {len(jobs) - most} more" if len(jobs) > most else "")


def _cancel(numbers: list[str], patience_s: float | None) -> None:
    """`scancel`; that a job is gone already is no error (it says so and goes on with the rest)."""
    _ask(["scancel", *numbers], patience_s, harmless=("Invalid job id", "already completing"))


def _ask(command: list[str], patience_s: float | None, *, harmless: tuple[str, ...] = ()) -> bytes:
    """What a command of SLURM prints; it is tried again for a while.

    `harmless` : errors that mean there is nothing left to do.
    """
    program = command[0]
    if shutil.which(program) is None:
        raise SchedulerAwayError(
            f"there is no {program} on this machine; start where SLURM's commands are"
        )
    # a user's own settings must not filter or format the answer
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SQUEUE_")}
    patience_s = PATIENCE_S if patience_s is None else patience_s
    end, pause_s, why = time.monotonic() + patience_s, 1.0, ""
    while True:
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=_ANSWER_S, env=environment
            )
            errors = done.stderr.decode(errors="replace").strip()
            if done.returncode == 0 or (harmless and any(part in errors for part in harmless)):
                return done.stdout
            why = errors.splitlines()[-1] if errors else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            why = f"no answer within {_ANSWER_S:.0f} s"
        if time.monotonic() + pause_s > end:
            raise SchedulerAwayError(f"the scheduler does not answer ({program}: {why})")
        time.sleep(pause_s)
        pause_s = min(10.0, 2 * pause_s)


#: Beginnings of SLURM's reasons for which a job waits, in words.
_REASONS = {
    "Priority": "its turn: jobs of higher priority come first",
    "Resources": "free CPUs, memory or GPUs",
    "Dependency": "another job to end",
    "BeginTime": "its time to begin (SLURM queued it again)",
    "ReqNodeNotAvail": "a node: the only ones that fit are down, drained or reserved",
    "Nodes_required": "a node: the only ones that fit are down, drained or reserved",
    "Reservation": "its reservation to begin",
    "PartitionDown": "its partition, which is down: ask the administrator",
    "PartitionInactive": "its partition, which is inactive: ask the administrator",
    "PartitionNodeLimit": "for ever: it asks for more than its partition has; change the profile",
    "PartitionTimeLimit": "for ever: it asks for more time than its partition allows; change the"
    " profile",
    "PartitionConfig": "for ever: its partition does not take such jobs; change the profile",
    "BadConstraints": "for ever: no node has what it asks for; change the profile",
    "JobHeldUser": "somebody to release it: it was held (scontrol release)",
    "JobHeldAdmin": "the administrator to release it",
    "JobHoldMaxRequeue": "somebody to release it: it was queued again too often",
    "launch_failed": "somebody to release it: it could not be started on its node",
    "Licenses": "a licence",
    "AccountNotAllowed": "for ever: its account may not use the partition; change the profile",
    "InvalidAccount": "for ever: its account is not valid; change the profile",
    "InvalidQOS": "for ever: its QOS is not valid; change the profile",
    "QOS": "other jobs under the same limit (QOS) to end",
    "Assoc": "other jobs under the same limit (account or user) to end",
    "MaxJobs": "other jobs under the same limit to end",
    "MaxCpu": "other jobs under the same limit to end",
    "None": "the scheduler to look at it",
}


def waits_for(job: ClusterJob) -> str:
    """What a pending job waits for, in words; SLURM's own word where none are known."""
    reason = job.reason.strip("()").replace(" ", "_")
    for beginning, words in _REASONS.items():
        if reason.startswith(beginning):
            return words
    return job.reason or "the scheduler to look at it"
