"""Waiting for movies and closing batches: the work of the `ingest` checkpoint.

Rerun mode takes in what is there (and waits a moment for files still being written). Watch mode
waits until there is a batch to close, and ends at the END marker or after the idle time-out.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import Timeout

from cryosnake.config.model import Config
from cryosnake.errors import SessionStopError
from cryosnake.files import write_text
from cryosnake.layout import closed_batches, tick_file
from cryosnake.session.batch_size import note_size
from cryosnake.session.given_ledger import take_in_particles
from cryosnake.session.ledger import Arrival, Ledger, LeftOut, Look, batches_lock
from cryosnake.session.scan import input_root

#: A file that keeps growing is waited for this many times `settle_s` when nothing else is to do.
_PATIENCE = 5


@dataclass(frozen=True)
class Tick:
    """How one wait ended: `closed` (batches were closed; in watch mode more may come), or `end`."""

    outcome: str
    why: str
    batches: int
    movies: int
    growing: int


def read_tick(session: Path, number: int) -> Tick | None:
    """The outcome of a wait, or None where it is not on disk."""
    try:
        return Tick(**json.loads((session / tick_file(number)).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write_tick(session: Path, number: int, tick: Tick) -> None:
    """Put the outcome of a wait on disk."""
    write_text(session / tick_file(number), json.dumps(asdict(tick), indent=1) + "\n")


def take_in(session: Path, config: Config, owner_pid: int | None = None) -> Tick:
    """Wait as the mode asks for, close the batches that are due, and say how it ended.

    Parameters
    ----------
    owner_pid : the process that this wait serves; it must not go on waiting without it.

    Raises
    ------
    SessionStopError : another process closes batches of this session, or the owner is gone.
    """
    try:
        with batches_lock(session).acquire(timeout=30):
            if config.input.kind == "particles":
                return _given(session, config)
            ledger = Ledger(session, config)
            if config.ingest.mode == "watch":
                return _watch(ledger, owner_pid)
            return _rerun(ledger)
    except Timeout as error:
        raise SessionStopError(f"another process takes in the input of {session}") from error


def _given(session: Path, config: Config) -> Tick:
    """A table of particles is complete as it is: there is nothing to wait for."""
    particles = take_in_particles(session, config)
    batches = len(closed_batches(session))
    return Tick("end", f"all {particles} particles of the table are taken in", batches, 0, 0)


def _tick(ledger: Ledger, found: Look, outcome: str, why: str) -> Tick:
    return Tick(outcome, why, len(ledger.batches), len(ledger.movies), len(found.growing))


def _rerun(ledger: Ledger) -> Tick:
    patience_s = _PATIENCE * ledger.config.ingest.settle_s
    started = time.monotonic()
    found = ledger.look()
    awaited = {arrival.path for arrival in found.growing}
    while awaited and time.monotonic() - started < patience_s:
        time.sleep(min(1.0, ledger.config.ingest.poll_s))
        found = ledger.look()
        awaited &= {arrival.path for arrival in found.growing}
    _close(ledger, found.settled, partial=True)
    _note(ledger, found, final=True)
    return _tick(ledger, found, "end", "all that was there is taken in")


def _watch(ledger: Ledger, owner_pid: int | None) -> Tick:
    settings = ledger.config.ingest
    last_news = time.monotonic()
    ended_since = None
    state = None
    while True:
        if owner_pid is not None and not psutil.pid_exists(owner_pid):
            raise SessionStopError(f"process {owner_pid}, which waits for these movies, is gone")
        found = ledger.look()
        # any new file, or one that grows, is a sign of life
        news = [(a.path, a.size_bytes, a.changed_s) for a in found.settled + found.growing]
        clock = time.monotonic()
        if news != state:
            state, last_news = news, clock
        if marker(ledger.session, ledger.config) is not None:
            ended_since = ended_since or clock
            over = clock - ended_since >= _PATIENCE * settings.settle_s
            if not found.growing or over:
                _close(ledger, found.settled, partial=True)
                _note(ledger, found, final=True)
                return _tick(ledger, found, "end", f"end marker {settings.end_marker}")
        if _close(ledger, found.settled, partial=_timed_out(found.settled, settings)):
            _note(ledger, found, final=False)
            return _tick(ledger, found, "closed", "a batch is complete, or waited long enough")
        _note(ledger, found, final=False)
        if clock - last_news >= settings.idle_timeout_s:
            _close(ledger, found.settled, partial=True)
            _note(ledger, found, final=True)
            return _tick(ledger, found, "end", f"no new movie for {settings.idle_timeout_s:g} s")
        time.sleep(settings.poll_s)


def marker(session: Path, config: Config) -> Path | None:
    """The END marker, in the session's folder or the movies', or None."""
    for folder in (session, input_root(session, config)):
        if (folder / config.ingest.end_marker).exists():
            return folder / config.ingest.end_marker
    return None


def _timed_out(settled: list[Arrival], settings) -> bool:
    if not settled:
        return False
    waited_s = time.time() - min(a.changed_s for a in settled) - settings.settle_s
    return waited_s >= settings.batch_timeout_s


def _close(ledger: Ledger, settled: list[Arrival], *, partial: bool) -> int:
    closed = start = 0
    while start < len(settled):
        size = ledger.next_size()
        movies = settled[start : start + size.movies]
        if len(movies) < size.movies and not partial:
            break
        ledger.close(movies)
        note_size(ledger.session, ledger.batches[-1], size, ledger.config.ingest)
        start += len(movies)
        closed += 1
    return closed


def _note(ledger: Ledger, found: Look, *, final: bool) -> None:
    growing = [
        LeftOut(
            a.path, "growing", "still growing", "no change for a while; taken in by a later run"
        )
        for a in found.growing
        if final
    ]
    ledger.note_left_out(found.left_out + growing)
