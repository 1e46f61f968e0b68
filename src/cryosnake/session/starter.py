"""Starting Snakemake on a session: one starter at a time, nothing left of an earlier one.

Snakemake's own lock does not keep two runs of a growing DAG apart, and knows nothing of jobs that
outlived the run that started them. The starter holds a file lock for as long as it lives, ends
orphans of an earlier run, here and on a cluster, and only then clears Snakemake's locks.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from cryosnake.config import load_config
from cryosnake.config.model import Config
from cryosnake.decisions import now
from cryosnake.errors import BadInputError, CryosnakeError, SessionStopError
from cryosnake.session.cluster import cancel_jobs
from cryosnake.session.forwarding import Forwarding
from cryosnake.session.leftovers import clear_leftovers, forget_deleted
from cryosnake.session.lock import RunRecord, new_record, session_lock
from cryosnake.session.orphans import end_orphans, local_orphans, marked
from cryosnake.session.profiles import profile_folder
from cryosnake.session.progress import Counting, progress_line
from cryosnake.session.run_log import RUN_LOG, RunLog
from cryosnake.session.scan import check_input

ROOT = Path(__file__).resolve().parents[3]


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
    mode = "watch" if order.watch else "rerun"
    record = new_record(mode, order.profile, slurm=uses_slurm(profile))

    replaced = threading.Event()

    def lost(other: RunRecord | None) -> None:
        replaced.set()
        who = other.in_words() if other else "another process"
        say(f"{who} has taken over {order.session}; this run ends")
        os.kill(os.getpid(), signal.SIGTERM)

    with session_lock(order.session, record, say=say, lost=lost) as hold:
        clear_leftovers(order.session, say, before=hold.before, slurm=hold.slurm)
        forget_deleted(order.session)
        hold.exit_code, log = _snakemake(order, config, profile, mode, say)
        rounds = 0
        # a watched session is finished when a plain run finds nothing to do
        while order.watch and hold.exit_code == 0 and not log.nothing_to_do and rounds < 3:
            hold.exit_code, log = _snakemake(order, config, profile, "rerun", say)
            rounds += 1
        if replaced.is_set():
            return hold.exit_code  # jobs in the queue are the other's
        if hold.exit_code:
            end_orphans(local_orphans(order.session))  # a Snakemake that died left its jobs
        if hold.exit_code == 0 or _no_jobs_left(order.session, say, slurm=uses_slurm(profile)):
            hold.slurm = False
    return hold.exit_code


def _no_jobs_left(session: Path, say: Callable[[str], None], *, slurm: bool) -> bool:
    """Cancel what a Snakemake that was interrupted, or died, forgot in the queue."""
    try:
        if slurm:
            cancel_jobs(session, say)
    except SessionStopError as error:
        say(f"{error}; the next run, or `cryosnake stop {session}`, ends jobs that are left")
        return False
    return True


def find_profile(name: str) -> Path:
    """The folder of a profile: a path, or the name of an installed one or of one in `profiles/`.

    Raises
    ------
    BadInputError : there is none.
    """
    for folder in (Path(name), profile_folder() / name, ROOT / "profiles" / name):
        if (folder / "config.yaml").is_file():
            return folder.resolve()
    known = sorted(p.parent.name for p in (ROOT / "profiles").glob("*/config.yaml"))
    raise BadInputError(
        None, f"profile = {name} is neither a folder with a config.yaml nor known", ", ".join(known)
    )


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
) -> tuple[int, RunLog]:
    words = command(order, config, profile, mode)
    log_path = order.session / RUN_LOG
    jobs = RunLog()
    tail: deque[str] = deque(maxlen=30)
    with _opened_log(log_path) as log, Forwarding() as forwarding:
        _keep(log, f"\n{now()} {shlex.join(words)}\n")
        child = subprocess.Popen(
            words,
            cwd=order.session,
            env=marked(order.session),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        forwarding.child = child
        # in threads: whatever a file system does to them, this one hears signals
        reader = threading.Thread(target=_follow, args=(child.stdout, log, jobs, tail), daemon=True)
        reader.start()
        shown = threading.Thread(
            target=_show_progress, args=(child, order.session, config, jobs, say), daemon=True
        )
        shown.start()
        code = child.wait()
        for thread in (reader, shown):
            thread.join(timeout=10)
    if forwarding.received:
        return 128 + forwarding.received[0], jobs
    if code:
        say(f"Snakemake ended with exit code {code}; the end of {log_path}:")
        say("".join(tail).rstrip())
        say(f"what failed and why: cryosnake status {order.session}")
    return code, jobs


def _opened_log(path: Path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise SessionStopError(f"{path} cannot be written: {error.strerror}") from error


def _follow(stream, log, jobs: RunLog, tail: deque) -> None:
    """Keep what Snakemake prints; it must be read even where it cannot be kept, or it stops."""
    for line in stream:
        jobs.read(line)
        tail.append(line)
        _keep(log, line)


def _keep(log, text: str) -> None:
    """Write to the log; where the disk is full, jobs end with a message about that, not this."""
    with contextlib.suppress(OSError):
        log.write(text)
        log.flush()


def _show_progress(
    child: subprocess.Popen,
    session: Path,
    config: Config,
    jobs: RunLog,
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
        try:
            line = progress_line(counting.now(), jobs.running_line())
        except (CryosnakeError, OSError) as error:  # of the moment, or a file system that is away
            line = f"how far it is cannot be told: {error}"
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
    end = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    return child.returncode is not None
