"""The ledger: which movies there are, in which batch each was taken in, in order of arrival.

A batch is a file that is written once, complete, under a name that did not exist before
(`os.link` of a finished temporary file), and never changed. Whoever closes batches holds a lock.
"""

import json
import math
import os
import stat
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from filelock import FileLock

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, now
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.quick_star import read_columns
from cryosnake.session.batch_size import BatchSize
from cryosnake.session.names import UniqueNames, star_can_hold
from cryosnake.session.scan import list_movies
from cryosnake.tables import star_text, write_star

_COLUMNS = (
    "rlnMicrographMovieName",
    "rlnMicrographName",
    "csnMovieSize_bytes",
    "csnMovieMtime_s",
    "csnAttempt",
    "csnFileChanged_s",
)
#: An age that a file's times show is believed from here on: clocks of file servers differ.
_BELIEVED_S = 3600.0
#: How often a movie is tried whose file is there, unchanged, and could not be reached each time.
_MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Entry:
    """A movie in the ledger: its latest attempt."""

    batch: str
    name: str
    size_bytes: int
    mtime_s: float
    attempt: int
    changed_s: float


@dataclass(frozen=True)
class Arrival:
    """A movie that is not in the ledger, or changed since its attempt failed.

    `changed_s` is when the file last changed in any way: copying tools set back the modification
    time, but not the change time of the inode.
    """

    path: str
    size_bytes: int
    mtime_s: float
    changed_s: float
    attempt: int


@dataclass(frozen=True)
class LeftOut:
    """A file that was seen and not taken in; `kind` is name, gain, growing or unreadable."""

    path: str
    kind: str
    problem: str
    expected: str
    time: str = field(default_factory=now, compare=False)


@dataclass
class Look:
    """What one look at the movie folder found beyond the ledger."""

    settled: list[Arrival]
    growing: list[Arrival]
    left_out: list[LeftOut]


class Ledger:
    """The ledger of a session, as it is on disk.

    Looking changes nothing on disk; `close` and `note_left_out` do.
    """

    def __init__(self, session: Path, config: Config):
        self.session = Path(session)
        self.config = config
        self.movies: dict[str, Entry] = {}
        self.batches: list[str] = []
        self.references_changed_s = max(
            (_changed_s(self.session / f) for f in self._references()), default=0.0
        )
        self._names = UniqueNames()
        self._observed: dict[str, tuple[int, float, float]] = {}
        self._failed: dict[str, float] = {}
        self._unread: set[str] = set()
        self.reload()

    def _references(self) -> list[str]:
        facts = self.config.acquisition
        return [f for f in (facts.gain, facts.defects) if f]

    def reload(self) -> None:
        """Read the batches that were closed since the last time."""
        for batch in layout.closed_batches(self.session)[len(self.batches) :]:
            path = self.session / layout.batch_star(batch)
            rows = read_columns(path, "movies", _COLUMNS)
            for movie, name, size, mtime, attempt, changed in rows:
                stem = os.path.basename(name)[: -len(".mrc")]
                self._names.reserve(stem)
                changed_s = math.nan if changed == "-" else float(changed)
                self.movies[movie] = Entry(
                    batch, stem, int(size), float(mtime), int(attempt), changed_s
                )
            self.batches.append(batch)
            self._unread.add(batch)

    def failed_on_input(self) -> dict[str, float]:
        """Movies whose latest attempt could not be read, with the Unix time of that verdict.

        The time is 0 where it was not the file's fault: it is tried again as it is.
        """
        for batch in sorted(self._unread):
            path = self.session / layout.batch_table(batch)
            try:
                judged_s = path.stat().st_mtime
            except FileNotFoundError:
                continue  # not preprocessed yet
            columns = ("rlnMicrographMovieName", "csnPassInput", "csnInputProblem")
            try:
                rows = read_columns(path, "micrographs", columns)
            except BadInputError:
                continue  # Snakemake removes the table of an interrupted job at any moment
            self._unread.discard(batch)
            for movie, passed, problem in rows:
                entry = self.movies.get(movie)
                if entry is not None and entry.batch == batch:
                    if passed == "0":
                        away = problem == "machine" and entry.attempt < _MOST_ATTEMPTS
                        self._failed[movie] = 0.0 if away else judged_s
                    else:
                        self._failed.pop(movie, None)
        return self._failed

    def look(self) -> Look:
        """Search the movie folder once; only new and failed movies are asked for their state."""
        listing = list_movies(self.session, self.config)
        failed = self.failed_on_input()
        found = Look([], [], [])
        for folder, problem in listing.unreadable:
            found.left_out.append(LeftOut(folder, "unreadable", problem, "a readable folder"))
        if self.config.acquisition.gain is None:
            found.left_out += [
                LeftOut(
                    path,
                    "gain",
                    "looks like a gain reference, and none is configured",
                    "acquisition.gain to name it; or another name, if it is a movie",
                )
                for path in filter(star_can_hold, listing.gains)
            ]
        for path in listing.movies:
            entry = self.movies.get(path)
            if entry is not None and path not in failed:
                continue
            if not star_can_hold(path):
                found.left_out.append(
                    LeftOut(
                        path.encode("utf-8", "backslashreplace").decode(),
                        "name",
                        "a name that STAR files cannot hold (quotes, #, control characters)",
                        "another name; rename the file and it is taken in",
                    )
                )
                continue
            arrival = self._arrival(path, entry, failed.get(path, 0.0), found.left_out)
            if arrival is not None:
                (found.settled if self._is_settled(arrival) else found.growing).append(arrival)
        found.settled.sort(key=lambda a: (a.mtime_s, a.path))
        found.growing.sort(key=lambda a: (a.mtime_s, a.path))
        return found

    def _arrival(
        self, path: str, entry: Entry | None, judged_s: float, left_out: list[LeftOut]
    ) -> Arrival | None:
        try:
            state = os.stat(self.session / path)
        except OSError as error:
            if entry is None:
                left_out.append(
                    LeftOut(path, "unreadable", f"no such file ({error.strerror})", "a movie file")
                )
            return None
        if not stat.S_ISREG(state.st_mode):
            left_out.append(LeftOut(path, "unreadable", "not a regular file", "a movie file"))
            return None
        changed_s = max(state.st_mtime, state.st_ctime)
        if entry is not None:
            # read permission shows in the change time alone; a gain reference may have come late;
            # times that lie in the future say nothing beside what they were when it was taken in
            unchanged = changed_s <= judged_s or abs(changed_s - entry.changed_s) < 1e-3
            same = (
                judged_s > 0
                and state.st_size == entry.size_bytes
                and abs(state.st_mtime - entry.mtime_s) < 1e-3
                and unchanged
                and self.references_changed_s <= judged_s
            )
            if same:
                return None
        attempt = 1 if entry is None else entry.attempt + 1
        return Arrival(path, state.st_size, state.st_mtime, changed_s, attempt)

    def _is_settled(self, arrival: Arrival) -> bool:
        """No change for `settle_s` as watched here; old files need not be watched."""
        settle_s = self.config.ingest.settle_s
        clock, watch = time.time(), time.monotonic()
        size, changed_s, since = self._observed.get(arrival.path, (None, None, watch))
        if (size, changed_s) != (arrival.size_bytes, arrival.changed_s):
            seen_changing = size is not None
            since = watch
            self._observed[arrival.path] = (arrival.size_bytes, arrival.changed_s, since)
            if seen_changing:
                return settle_s == 0
        old = clock - arrival.changed_s >= max(settle_s, _BELIEVED_S)
        return old or watch - since >= settle_s

    def pending(self) -> bool:
        """Whether a run has something to take in or to report (nothing on disk is changed)."""
        found = self.look()
        if found.settled or found.growing:
            return True
        return found.left_out != self.noted_left_out()

    def next_size(self) -> BatchSize:
        """How many movies the next batch is to hold, from the batches that wait by now."""
        return BatchSize.after(self.waiting(), self.config.ingest)

    def waiting(self) -> int:
        """Closed batches whose preprocessing no job has begun."""
        try:
            begun = set(os.listdir(self.session / layout.PREPROCESS))
        except FileNotFoundError:
            begun = set()
        return sum(batch not in begun for batch in self.batches)

    def close(self, arrivals: list[Arrival]) -> str:
        """Close a batch of these movies, in this order; the caller holds the lock.

        Raises
        ------
        FileExistsError : another process closed a batch of the same number meanwhile.
        """
        batch = layout.batch_name(len(self.batches))
        taken_in_s = time.time()
        rows = []
        for arrival in arrivals:
            earlier = self.movies.get(arrival.path)
            name = earlier.name if earlier else self._names.give(arrival.path)
            rows.append(
                {
                    "rlnMicrographName": f"{layout.PREPROCESS}/{batch}/{name}.mrc",
                    "rlnMicrographMovieName": arrival.path,
                    "csnBatch": batch,
                    "csnMovieSize_bytes": arrival.size_bytes,
                    "csnMovieMtime_s": arrival.mtime_s,
                    "csnAttempt": arrival.attempt,
                    "csnFileChanged_s": arrival.changed_s,
                    "csnArrival_s": taken_in_s,
                }
            )
        path = self.session / layout.batch_star(batch)
        temporary = path.with_name(f".closing-{os.getpid()}.star")
        try:
            write_star(temporary, {"movies": pd.DataFrame(rows)})
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        for arrival in arrivals:
            self._observed.pop(arrival.path, None)
            self._failed.pop(arrival.path, None)
        self.reload()
        return batch

    def noted_left_out(self) -> list[LeftOut]:
        """The files left out, as last noted on disk."""
        return noted_left_out(self.session)

    def note_left_out(self, left_out: list[LeftOut]) -> None:
        """Note the files left out, for the decisions and the report, if anything changed."""
        noted = self.noted_left_out()
        if left_out == noted:
            return
        times = {(item.path, item.problem): item.time for item in noted}
        items = [
            asdict(item) | {"time": times.get((item.path, item.problem), item.time)}
            for item in left_out
        ]
        write_text(self.session / layout.LEFT_OUT, json.dumps(items, indent=1) + "\n")


def batches_lock(session: Path) -> FileLock:
    """The lock under which the batches of a session are closed."""
    folder = Path(session) / layout.BATCHES
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def noted_left_out(session: Path) -> list[LeftOut]:
    """The files that were seen and not taken in, as last noted on disk."""
    try:
        text = (Path(session) / layout.LEFT_OUT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [LeftOut(**item) for item in json.loads(text)]


def left_out_decisions(session: Path) -> list[Decision]:
    """The files left out, as entries of `decisions.star`."""
    return [
        Decision(
            subject=star_text(item.path),
            rule="input",
            verdict="warn" if item.kind == "growing" else "fail",
            value=item.problem,
            threshold=item.expected,
            evidence="seen by ingest, not taken in",
            time=item.time,
        )
        for item in noted_left_out(session)
    ]


def _changed_s(path: Path) -> float:
    try:
        state = path.stat()
    except OSError:
        return 0.0
    return max(state.st_mtime, state.st_ctime)
