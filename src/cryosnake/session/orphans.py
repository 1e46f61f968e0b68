"""Processes of a session on this machine that no starter looks after."""

import os
from pathlib import Path

import psutil

from cryosnake.errors import SessionStopError

#: Set in the environment of everything that a starter starts, to the session's folder; and the
#: SLURM job that the starter itself runs in, or nothing: what has another one is a cluster job.
MARK, ALLOCATION = "CRYOSNAKE_SESSION", "CRYOSNAKE_ALLOCATION"


def marked(session: Path) -> dict[str, str]:
    """The environment of what a starter of this session starts."""
    own = os.environ.get("SLURM_JOB_ID", "")
    return os.environ | {MARK: os.path.realpath(session), ALLOCATION: own}


def local_orphans(session: Path) -> list[psutil.Process]:
    """Processes on this machine that an earlier starter of this session left behind."""
    wanted = os.path.realpath(session)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(MARK) != wanted or _in_cluster_job(environment):
                continue
            if process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def _in_cluster_job(environment: dict[str, str]) -> bool:
    """Whether SLURM runs a process, on this machine as it happens; `scancel` ends it."""
    job = environment.get("SLURM_JOB_ID", "")
    return bool(job) and job != environment.get(ALLOCATION, "")


def foreign_runs(session: Path) -> list[psutil.Process]:
    """Snakemake processes that work in this session's folder without a starter."""
    wanted = os.path.realpath(session)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            here = any("snakemake" in part for part in command) and process.cwd() == wanted
            if not here or process.pid in own:
                continue
            # the jobs of a run that was started by hand; on a cluster, `scancel` ends them
            job = "--mode" in command and "SLURM_JOB_ID" in process.environ()
            if MARK not in process.environ() and not job:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_orphans(processes: list[psutil.Process], *, grace_s: float = 10.0) -> None:
    """End processes, first politely. Their work is not lost: what they finished is on disk.

    Raises
    ------
    SessionStopError : some cannot be ended.
    """
    for process in processes:
        with_nothing_lost(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with_nothing_lost(process.kill)
    _, alive = psutil.wait_procs(alive, timeout=grace_s)
    if alive:
        numbers = ", ".join(str(p.pid) for p in alive)
        raise SessionStopError(f"processes {numbers} of an earlier run cannot be ended")


def with_nothing_lost(action) -> None:
    """Do something to a process that may be gone already."""
    try:
        action()
    except psutil.NoSuchProcess:
        return
