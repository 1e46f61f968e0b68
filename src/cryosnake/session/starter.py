"""Starting Snakemake on a session: one starter at a time, nothing left of an earlier one.

Snakemake's own lock does not keep two runs of a growing DAG apart, and knows nothing of jobs that
outlived the run that started them. The starter holds a file lock for as long as it lives, ends
orphans of an earlier run (or refuses, where they are on a cluster), and only then clears
Snakemake's locks.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.config.model import Config
from cryosnake.decisions import now
from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.session.orphans import (
    MARK,
    cluster_jobs,
    end_orphans,
    foreign_runs,
    local_orphans,
)
from cryosnake.session.progress import Counting, Jobs, progress_line
from cryosnake.session.scan import check_input

ROOT = Path(__file__).resolve().parents[3]
_GRACE_S = 20.0


@dataclass(frozen=True)
class Order:
    """What a starter was asked to do."""

    session: Path
    watch: bool = False
    cores: int | None = None
    profile: str = "local"
    until: str | None = None
    finish: bool = False


def run_session(order: Order, say: Callable[[str], None] = print) -> int:
    """Run a session; returns Snakemake's exit code (128 + signal where one ended it).

    Raises
    ------
    BadInputError : the session has no valid config.yaml, or the profile does not exist.
    SessionStopError : another starter runs this session, or an earlier run's jobs still do.
    """
    config = load_config(order.session / "config.yaml")
    check_input(order.session, config)
    profile = find_profile(order.profile)
    with session_lock(order.session, order):
        clear_leftovers(order.session, profile, say)
        code, jobs = _snakemake(order, config, profile, "watch" if order.watch else "rerun", say)
        rounds = 0
        # a watched session is finished when a plain run finds nothing to do
        while order.watch and code == 0 and not jobs.nothing_to_do and rounds < 3:
            code, jobs = _snakemake(order, config, profile, "rerun", say)
            rounds += 1
    return code


def find_profile(name: str) -> Path:
    """The folder of a profile: a path, or the name of one in `profiles/`.

    Raises
    ------
    BadInputError : there is none.
    """
    for folder in (Path(name), ROOT / "profiles" / name):
        if (folder / "config.yaml").is_file():
            return folder.resolve()
    known = sorted(p.parent.name for p in (ROOT / "profiles").glob("*/config.yaml"))
    raise BadInputError(
        None, f"profile = {name} is neither a folder with a config.yaml nor known", ", ".join(known)
    )


@contextmanager
def session_lock(session: Path, order: Order):
    """Hold the session; tells who holds it where it is held.

    Raises
    ------
    SessionStopError : another starter holds it.
    """
    lock = FileLock(session / layout.RUN_LOCK)
    owner = session / f"{layout.RUN_LOCK}.owner"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SessionStopError(f"{session} is already run by {_owner_in_words(owner)}") from error
    try:
        owner.write_text(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": now(),
                    "mode": "watch" if order.watch else "rerun",
                }
            )
        )
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner_in_words(owner: Path) -> str:
    try:
        who = json.loads(owner.read_text())
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['mode']} mode)"
    except (OSError, ValueError, KeyError):
        return "another process that has just started"


def clear_leftovers(session: Path, profile: Path, say: Callable[[str], None]) -> None:
    """Make sure that nothing works on the session, then remove Snakemake's stale locks.

    Raises
    ------
    SessionStopError : a Snakemake that was started by hand, or cluster jobs, are still at work.
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
    if uses_slurm(profile) and (left := cluster_jobs(session)):
        raise SessionStopError(
            f"SLURM jobs {', '.join(left)} of an earlier run of {session} are not finished; wait "
            "for them, or end them with scancel, and run again"
        )
    for path in (session / ".snakemake" / "locks").glob("*"):
        path.unlink(missing_ok=True)


def uses_slurm(profile: Path) -> bool:
    """Whether a profile submits jobs to SLURM."""
    content = yaml.safe_load((profile / "config.yaml").read_text(encoding="utf-8")) or {}
    return str(content.get("executor", "")) == "slurm"


def command(order: Order, config: Config, profile: Path, mode: str) -> list[str]:
    """Snakemake's command line."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    words += ["--profile", str(profile), "--directory", str(order.session.resolve())]
    words += ["--configfile", str((order.session / "config.yaml").resolve())]
    finish = ", finish: true" if order.finish or order.watch else ""
    words += ["--config", f"ingest={{mode: {mode}{finish}}}"]
    if order.until:
        words += [f"workflow={{until: {order.until}}}"]
    if not uses_slurm(profile):
        words += ["--cores", str(order.cores or os.cpu_count() or 1)]
        gpus = visible_gpus() if config.compute.device != "cpu" else 0
        if gpus:
            words += ["--resources", f"gpu={gpus}"]
    elif order.cores:
        words += ["--cores", str(order.cores)]
    return words


def visible_gpus() -> int:
    """GPUs of this machine that jobs may use (no CUDA is loaded to find out)."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in chosen.split(",") if name.strip() and name != "-1"])
    return len([p for p in Path("/dev").glob("nvidia*") if p.name[6:].isdigit()])


def _snakemake(
    order: Order, config: Config, profile: Path, mode: str, say: Callable[[str], None]
) -> tuple[int, Jobs]:
    words = command(order, config, profile, mode)
    log_path = order.session / layout.RESULTS / "logs" / "run.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    jobs = Jobs()
    environment = os.environ | {MARK: os.path.realpath(order.session)}
    with open(log_path, "a", encoding="utf-8") as log, _Forwarding() as forwarding:
        log.write(f"\n{now()} {shlex.join(words)}\n")
        log.flush()
        child = subprocess.Popen(
            words,
            cwd=order.session,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        forwarding.child = child
        tail: list[str] = []
        reader = threading.Thread(target=_follow, args=(child.stdout, log, jobs, tail), daemon=True)
        reader.start()
        _show_progress(child, order.session, config, jobs, say)
        code = child.wait()
        reader.join(timeout=10)
    if forwarding.received:
        return 128 + forwarding.received[0], jobs
    if code:
        say(f"Snakemake ended with exit code {code}; the end of {log_path}:")
        say("".join(tail[-30:]).rstrip())
    return code, jobs


def _follow(stream, log, jobs: Jobs, tail: list[str]) -> None:
    for line in stream:
        log.write(line)
        log.flush()
        jobs.read(line)
        tail.append(line)
        del tail[:-100]


class _Forwarding:
    """Pass SIGINT and SIGTERM on to all that runs, politely first, and insist after a while.

    It is entered before the child starts: a signal that has a handler here is back at its default
    in the child, even where this process was started with it ignored (`nohup`, `&` in a script).
    """

    def __init__(self):
        self.child: subprocess.Popen | None = None
        self.received: list[int] = []
        self._before: dict = {}

    def __enter__(self) -> "_Forwarding":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, _frame) -> None:
        self.received.append(number)
        self._send(signal.SIGINT if len(self.received) == 1 else signal.SIGTERM)
        if len(self.received) == 1:
            for delay_s, harder in ((_GRACE_S, signal.SIGTERM), (2 * _GRACE_S, signal.SIGKILL)):
                timer = threading.Timer(delay_s, self._send, (harder,))
                timer.daemon = True
                timer.start()

    def _send(self, number: int) -> None:
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, number)


def _show_progress(
    child: subprocess.Popen,
    session: Path,
    config: Config,
    jobs: Jobs,
    say: Callable[[str], None],
) -> None:
    """One line that is kept up to date: in place on a terminal, else a new one when it changes."""
    terminal = sys.stdout.isatty()
    counting = Counting(session, config)
    every_s = 2.0 if terminal else 10.0
    shown = ""
    while True:
        ended = _ended_within(child, every_s)
        started = time.monotonic()
        line = progress_line(counting.now(), jobs.running())
        # counting a large session on a slow file system must not become its main load
        every_s = max(every_s, 20 * (time.monotonic() - started))
        if terminal:
            sys.stdout.write(f"\r\x1b[2K{line}" + ("\n" if ended else ""))
            sys.stdout.flush()
        elif line != shown or ended:
            say(line)
        shown = line
        if ended:
            return


def _ended_within(child: subprocess.Popen, seconds: float) -> bool:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
