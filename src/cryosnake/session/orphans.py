"""What a killed run leaves behind: processes and cluster jobs that still work on its session."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil

from cryosnake.errors import SessionStopError, ToolError

#: Set in the environment of everything that a starter starts, to the session's folder.
MARK = "CRYOSNAKE_SESSION"


def local_orphans(session: Path) -> list[psutil.Process]:
    """Processes on this machine that an earlier starter of this session left behind."""
    wanted = os.path.realpath(session)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == wanted
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
        if marked and process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def foreign_runs(session: Path) -> list[psutil.Process]:
    """Snakemake processes that work in this session's folder without a starter."""
    wanted = os.path.realpath(session)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            here = any("snakemake" in part for part in command) and process.cwd() == wanted
            if here and process.pid not in own and MARK not in process.environ():
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


def cluster_jobs(session: Path) -> list[str]:
    """Ids of SLURM jobs of this user that run or wait in this session's folder.

    Raises
    ------
    ToolError : `squeue` fails.
    """
    if shutil.which("squeue") is None:
        return []
    command = ["squeue", "--me", "--noheader", "--format", "%i|%Z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(" ".join(command), done.returncode, done.stderr[-2000:])
    wanted = os.path.realpath(session)
    jobs = (line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)
    return [job for job, folder in jobs if os.path.realpath(folder) == wanted]
