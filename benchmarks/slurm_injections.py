"""What clusters do to a session while it runs; each kind of failure is a function."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
from live_common import kill_all, start, wait_for
from slurm_common import Cluster, in_queue, same

#: For how long a session may take to get to where something is done to it.
PATIENCE_S = 600.0


def script_of(number: str, session: Path) -> psutil.Process | None:
    """The process of a job that does its work (around it are three that look after it).

    Another cluster on this machine may have a job of that number, of another session.
    """
    scripts = f"{os.path.realpath(session)}/.snakemake/scripts/"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            script = any(word.startswith(scripts) for word in process.cmdline())
            if script and process.environ().get("SLURM_JOB_ID") == number:
                return process
    return None


def working_job(
    cluster: Cluster, session: Path, *, anew: bool = False
) -> tuple[str, psutil.Process]:
    """A job that is at work, once there is one; its process is held where it is.

    `anew`: it may be one that is done again, after it failed.
    """

    def look() -> bool:
        jobs = [job for job in cluster.jobs() if same(job["WorkDir"], session)]
        # a run's jobs have its name
        asked = Counter((job["JobName"], job["Comment"]) for job in jobs)
        for job in jobs:
            first = asked[job["JobName"], job["Comment"]] == 1
            if (first or anew) and job["JobState"] == "RUNNING":
                process = script_of(job["JobId"], session)
                if process is not None and process.status() != psutil.STATUS_STOPPED:
                    process.suspend()
                    found.append((job["JobId"], process))
                    return True
        return False

    found: list[tuple[str, psutil.Process]] = []
    wait_for(look, timeout_s=PATIENCE_S)
    return found[0]


def state_of(cluster: Cluster, number: str) -> str:
    """What SLURM says of a job."""
    return next(job["JobState"] for job in cluster.jobs() if job["JobId"] == number)


def wait_state(cluster: Cluster, number: str, state: str) -> None:
    """Wait until a job is in a state."""
    wait_for(lambda: state_of(cluster, number) == state, timeout_s=PATIENCE_S, every_s=1)


def cancel_a_job(cluster: Cluster, session: Path) -> None:
    """As an administrator does, or the user by mistake."""
    number, _ = working_job(cluster, session)
    cluster.command("scancel", number)


def kill_a_process(cluster: Cluster, session: Path) -> None:
    """SIGKILL to the process of a job, as the kernel does when memory is short."""
    _, process = working_job(cluster, session)
    process.kill()


def starve_a_job(cluster: Cluster, session: Path) -> None:
    """One of the jobs that wait for their turn gets less memory than it takes."""

    def waiting() -> list[str]:
        jobs = [job for job in cluster.jobs() if same(job["WorkDir"], session)]
        return [
            job["JobId"]
            for job in jobs
            if job["Reason"] in ("Resources", "Priority") and job["MinMemoryNode"] != "100M"
        ]

    wait_for(waiting, timeout_s=PATIENCE_S)
    cluster.command("scontrol", "update", f"JobId={waiting()[-1]}", "MinMemoryNode=100")


def hang_a_job(cluster: Cluster, session: Path) -> None:
    """A job stops working, and SLURM ends it when its time is over: after a minute."""
    number, _ = working_job(cluster, session)
    cluster.command("scontrol", "update", f"JobId={number}", "TimeLimit=1")


def drain_the_node(cluster: Cluster, session: Path) -> None:
    """No new job starts for a while; what runs, runs on to its end."""
    number, process = working_job(cluster, session, anew=True)
    cluster.command("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test")
    process.resume()
    wait_state(cluster, number, "COMPLETED")
    time.sleep(5)
    take_the_node_back(cluster)


def fail_the_node(cluster: Cluster, session: Path) -> None:
    """All jobs on the node end at once."""
    number, _ = working_job(cluster, session)
    cluster.command("scontrol", "update", "NodeName=ALL", "State=DOWN", "Reason=test")
    wait_state(cluster, number, "NODE_FAIL")
    take_the_node_back(cluster)


def take_the_node_back(cluster: Cluster) -> None:
    """Jobs start on it again; it may have come back by itself, and SLURM refuses to resume it."""
    cluster.command("scontrol", "update", "NodeName=ALL", "State=RESUME", check=False)
    wait_for(lambda: cluster.node_state() in ("idle", "mixed", "allocated"), timeout_s=60)


def restart_the_controller(cluster: Cluster, session: Path) -> None:
    """SIGKILL to slurmctld while a job is at work; it is back at once."""
    _, process = working_job(cluster, session, anew=True)
    cluster.stop("slurmctld", signal.SIGKILL)
    cluster.start_controller()
    process.resume()


def take_the_controller_away(cluster: Cluster, session: Path, away_s: float = 60.0) -> None:
    """Nobody answers for a minute, while jobs work and end."""
    _, process = working_job(cluster, session, anew=True)
    cluster.stop("slurmctld")
    process.resume()
    time.sleep(away_s)
    cluster.start_controller()


#: What can happen while a session runs. Each does its harm, and takes back what must be.
INJECTIONS: dict[str, Callable[[Cluster, Path], None]] = {
    "job cancelled": cancel_a_job,
    "process killed": kill_a_process,
    "out of memory": starve_a_job,
    "over its time": hang_a_job,
    "node drained": drain_the_node,
    "node failed": fail_the_node,
    "controller restarted": restart_the_controller,
    "controller away": take_the_controller_away,
}


def run_disturbed(
    cluster: Cluster,
    session: Path,
    profile: Path,
    injections: Sequence[Callable[[Cluster, Path], None]],
    *,
    timeout_s: float = 900,
) -> None:
    """Run a session to its end while things happen, one after the other.

    Raises
    ------
    RuntimeError : it ends with an error; with the end of its output.
    """
    with started(session, profile) as starter:
        for inject in injections:
            inject(cluster, session)
        finish(starter, session, timeout_s)


def run_with_a_killed_starter(
    cluster: Cluster,
    session: Path,
    profile: Path,
    injections: Sequence[Callable[[Cluster, Path], None]] = (),
    *,
    times: int = 1,
    timeout_s: float = 900,
) -> list[str]:
    """Kill a starter and its Snakemake while jobs run, and start again; then more may happen.

    Returns
    -------
    The numbers of the jobs that were left behind.

    Raises
    ------
    RuntimeError : the last run ends with an error; with the end of its output.
    """
    left = []
    for _ in range(times):
        with started(session, profile):
            working_job(cluster, session, anew=True)
        left += in_queue(cluster, session)
    with started(session, profile) as starter:
        for inject in injections:
            wait_for(lambda: not {*left} & {*in_queue(cluster, session)}, timeout_s=PATIENCE_S)
            inject(cluster, session)
        finish(starter, session, timeout_s)
    return left


@contextlib.contextmanager
def started(session: Path, profile: Path) -> Iterator[subprocess.Popen]:
    """A starter; if it still runs at the end, it and what it started are killed."""
    starter = start(session, "--profile", str(profile))
    try:
        yield starter
    finally:
        if starter.poll() is None:
            kill_all(starter)


def finish(starter: subprocess.Popen, session: Path, timeout_s: float) -> None:
    """Wait for a starter's good end."""
    if starter.wait(timeout=timeout_s):
        raise RuntimeError((session / "starter.log").read_text()[-6000:])
