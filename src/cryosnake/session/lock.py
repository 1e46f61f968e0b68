"""Who runs a session: a file lock, and a record beside it that other machines can read.

The lock cannot be seen from another machine on every file system. So the record is touched every
few seconds for as long as its starter lives, and a starter on another machine watches whether it
still is. Only times of the same file server are compared: clocks differ.
"""

import contextlib
import fcntl
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cryosnake import layout
from cryosnake.decisions import now
from cryosnake.errors import SessionStopError
from cryosnake.files import write_text

#: How often a starter gives a sign of life, and after how long without one it counts as gone.
BEAT_S, SILENT_S = 10.0, 60.0


@dataclass(frozen=True)
class RunRecord:
    """A run of a session: who started it where, how, and how it ended (None while it runs).

    `boot` tells one start of one machine from all others; `process_s` is when the process began
    (a number may be given to another one later). `slurm` says that jobs may be in SLURM's queue.
    """

    host: str
    boot: str
    pid: int
    process_s: float
    user: str
    since: str
    mode: str
    profile: str
    slurm: bool
    ended: str | None = None
    exit_code: int | None = None

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine since this machine was started."""
        return self.boot == boot_id()

    def in_words(self) -> str:
        """Who it is."""
        return f"process {self.pid} on {self.host} since {self.since} ({self.mode} mode)"

    def process(self) -> psutil.Process | None:
        """Its process; None where that is gone or on another machine."""
        if not self.here:
            return None
        try:
            process = psutil.Process(self.pid)
            return process if abs(process.create_time() - self.process_s) < 1 else None
        except psutil.Error:
            return None


def new_record(mode: str, profile: str, *, slurm: bool) -> RunRecord:
    """The record of a run that this process starts now."""
    return RunRecord(
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        process_s=psutil.Process().create_time(),
        user=getpass.getuser(),
        since=now(),
        mode=mode,
        profile=profile,
        slurm=slurm,
    )


def boot_id() -> str:
    """What the kernel calls this start of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record_path(session: Path) -> Path:
    """Where the record of the latest run lies."""
    return session / f"{layout.RUN_LOCK}.owner"


def read_record(session: Path) -> RunRecord | None:
    """The latest run that was started; None where there was none."""
    try:
        return RunRecord(**json.loads(record_path(session).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # never run, or by an earlier version


def write_record(session: Path, record: RunRecord) -> None:
    """Put it on disk."""
    write_text(record_path(session), json.dumps(asdict(record), indent=1) + "\n")


def is_held(session: Path) -> bool:
    """Whether a starter of this machine (or one whose locks are seen here) holds the session."""
    try:
        with open(session / layout.RUN_LOCK, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def gives_signs(session: Path, within_s: float) -> bool:
    """Whether the latest run gives a sign of life; it is watched, for clocks differ."""
    first_s = _beat_s(session)
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        time.sleep(min(0.5, within_s / 10))
        if _beat_s(session) != first_s:
            return True
    return False


def _beat_s(session: Path) -> float:
    """When the last sign of life was given, by the file server's clock."""
    with open(record_path(session), "rb") as stream:  # opening makes a network share look again
        return os.fstat(stream.fileno()).st_mtime


@dataclass
class Hold:
    """A held session: the run before, and what is noted at the end of this one.

    `slurm` says that jobs may be in SLURM's queue: those of this run, or of an earlier one that did
    not see them go.
    """

    before: RunRecord | None
    slurm: bool
    exit_code: int = 1


@contextlib.contextmanager
def session_lock(
    session: Path,
    record: RunRecord,
    *,
    say: Callable[[str], None] = print,
    lost: Callable[[RunRecord | None], None] = lambda other: None,
) -> Iterator[Hold]:
    """Hold the session; tells who holds it where it is held.

    Parameters
    ----------
    lost : called when another starter has taken the session over, which thought this one dead.

    Raises
    ------
    SessionStopError : another starter holds it, or the folder cannot be written.
    """
    lock = FileLock(session / layout.RUN_LOCK)
    try:
        lock.acquire(timeout=1)  # whoever looks whether it is held holds it for a moment
    except Timeout as error:
        other = read_record(session)
        known = other is not None and other.ended is None
        words = other.in_words() if known else "another process that has just started"
        raise SessionStopError(f"{session} is already run by {words}") from error
    except NotImplementedError as error:
        raise SessionStopError(
            f"the file system of {session} has no file locks; mount it with them (Lustre: flock)"
        ) from error
    except OSError as error:
        raise SessionStopError(f"{session} cannot be written: {error.strerror}") from error
    try:
        before = read_record(session)
        if before is not None and before.ended is None and not before.here:
            _wait_for_a_sign_of_life(session, before, say)
        if before is not None and before.slurm:
            record = replace(record, slurm=True)
        try:
            write_record(session, record)
        except OSError as error:
            raise SessionStopError(f"{session} cannot be written: {error.strerror}") from error
        hold = Hold(before, record.slurm)
        try:
            with _Beating(session, record, lost):
                yield hold
        finally:
            if read_record(session) == record:
                end = {"ended": now(), "exit_code": hold.exit_code, "slurm": hold.slurm}
                with contextlib.suppress(OSError):  # the disk is full: the next run looks closely
                    write_record(session, replace(record, **end))
    finally:
        lock.release()


def _wait_for_a_sign_of_life(session: Path, other: RunRecord, say: Callable[[str], None]) -> None:
    """The lock is ours, but a starter on another machine may hold it, too, and not see this one.

    Raises
    ------
    SessionStopError : it is alive.
    """
    os.utime(session / layout.RUN_LOCK)
    silent_s = (session / layout.RUN_LOCK).stat().st_mtime - _beat_s(session)
    if silent_s < SILENT_S:
        say(f"{other.in_words()} ran this session; waiting up to a minute for a sign of life")
        if gives_signs(session, min(SILENT_S, SILENT_S - silent_s)):
            raise SessionStopError(f"{session} is already run by {other.in_words()}")
    say(f"{other.in_words()} is gone; taking over")


class _Beating:
    """Signs of life in a thread; and a look whether the session is still this starter's."""

    def __init__(self, session: Path, record: RunRecord, lost: Callable):
        self.session, self.record, self.lost = session, record, lost
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "_Beating":
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._end.set()

    def _beat(self) -> None:
        pause_s = 1.0  # two starters that began at one moment must not both go on for long
        while not self._end.wait(pause_s):
            pause_s = BEAT_S
            try:
                text = record_path(self.session).read_text(encoding="utf-8")
                if RunRecord(**json.loads(text)) != self.record:
                    self.lost(read_record(self.session))
                    return
                os.utime(record_path(self.session))
            except (OSError, ValueError, TypeError):
                continue  # the file system is slow, or stale for a moment
