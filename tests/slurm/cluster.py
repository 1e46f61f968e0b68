"""A SLURM cluster of one node with fake GPUs, from Debian's packages; no systemd, nothing in /etc.

As a context manager, `with temporary_cluster() as cluster:`, or from the command line:

    python tests/slurm/cluster.py up      # prints what a shell must export
    python tests/slurm/cluster.py down

Everything of it lies in one folder. It needs root (slurmd starts jobs as their users) and the
packages slurm-wlm, slurm-wlm-basic-plugins and munge.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from cluster_files import which, write_files

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")


class ClusterError(RuntimeError):
    """The cluster does not come up, or does not do what it is told."""


def missing() -> str | None:
    """Why there can be no cluster on this machine; None where there can."""
    absent = [name for name in PROGRAMS if which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge)"
    if os.geteuid():
        return "a cluster of one's own needs root"
    return None


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Wait until something is so.

    Raises
    ------
    ClusterError : it is not in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Cluster:
    """One node that claims more CPUs than it has, so that jobs run beside each other.

    `folder` must have a short path (those of sockets may have 107 characters), and must be within
    reach of all users, or munge refuses.
    """

    folder: Path
    cpus: int = 8
    gpus: int = 2
    memory_mb: int = 32000

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this cluster."""
        return {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin",
        }

    @contextlib.contextmanager
    def running(self) -> Iterator["Cluster"]:
        """Up within, down after."""
        try:
            self.up()
            yield self
        finally:
            self.down()

    def up(self) -> None:
        """Set up and start; returns once jobs can run.

        Raises
        ------
        ClusterError : it does not come up, with the ends of its logs.
        """
        write_files(self.folder, cpus=self.cpus, gpus=self.gpus, memory_mb=self.memory_mb)
        try:
            self._start_munge()
            self.start_controller(fresh=True)
            self._start("slurmd", ["-f", str(self.folder / "slurm.conf")])
            wait_until(lambda: self.node_state().startswith("idle"), "the node is not idle")
        except (ClusterError, subprocess.SubprocessError) as error:
            logs = [
                f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}"
                for path in sorted(self.folder.glob("*.log"))
            ]
            self.down()
            raise ClusterError("\n".join([str(error), *logs])) from error

    def down(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        if self._process("slurmctld"):
            with contextlib.suppress(ClusterError):
                self.command("scancel", "--me", "--signal=KILL", "--full", check=False)
                self.command("scancel", "--me", check=False)
                wait_until(lambda: not self.command("squeue", "--noheader"), "jobs do not end", 20)
        for daemon in ("slurmd", "slurmctld", "munged"):
            self.stop(daemon)
        for process in self._of_the_folder():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *words: str, check: bool = True) -> str:
        """What a SLURM command says.

        Raises
        ------
        ClusterError : it fails.
        """
        done = subprocess.run(
            words,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def node_state(self) -> str:
        """In SLURM's words: idle, mixed, drained ..."""
        return self.command("sinfo", "--noheader", "--format=%T", "--partition=cpu", check=False)

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that SLURM remembers, as `scontrol show job` tells of them."""
        lines = self.command("scontrol", "show", "job", "--detail", "--oneliner").splitlines()
        return [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in lines
            if line.startswith("JobId=")
        ]

    def start_controller(self, *, fresh: bool = False) -> None:
        """Start slurmctld; not fresh: it goes on with the jobs that it knew."""
        self._start("slurmctld", ["-f", str(self.folder / "slurm.conf"), *(["-c"] * fresh)])
        wait_until(lambda: "UP" in self.command("scontrol", "ping", check=False), "no slurmctld")

    def stop(self, daemon: str, number: int = signal.SIGTERM) -> None:
        """End a daemon of this cluster, by a signal and at last by SIGKILL."""
        process = self._process(daemon)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        self._start(
            "munged",
            [
                f"--key-file={folder / 'key'}",
                f"--socket={folder / 'socket'}",
                f"--pid-file={self.folder / 'munged.pid'}",
                f"--log-file={self.folder / 'munged.log'}",
                f"--seed-file={folder / 'seed'}",
            ],
        )
        wait_until((folder / "socket").is_socket, "munged makes no socket")

    def _start(self, daemon: str, arguments: list[str]) -> None:
        """Start what puts itself into the background."""
        subprocess.run(
            [which(daemon), *arguments],
            env=os.environ | self.environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    def _process(self, daemon: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self.folder / f"{daemon}.pid").read_text()))
            return process if process.name() == daemon else None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def _of_the_folder(self) -> list[psutil.Process]:
        """What still runs by this cluster's configuration: job steps and what they started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]
                if mine and ("SLURM_JOB_ID" in process.environ() or "slurm" in process.name()):
                    found.append(process)
        return [process for process in found if process.pid != os.getpid()]


@contextlib.contextmanager
def temporary_cluster(**options: int) -> Iterator[Cluster]:
    """A cluster in a folder of its own; both are gone afterwards."""
    with Cluster(Path(tempfile.mkdtemp(prefix="slurm-")), **options).running() as cluster:
        yield cluster


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/cryosnake-slurm"))
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=2)
    options = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    cluster = Cluster(options.folder.resolve(), cpus=options.cpus, gpus=options.gpus)
    if options.what == "down":
        cluster.down()
        return 0
    if cluster.folder.exists():
        print(f"{cluster.folder} is there already: take it down first", file=sys.stderr)
        return 1
    cluster.up()
    for name, value in cluster.environment.items():
        print(f"export {name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
