"""How a running session is doing, in one line, from what is on disk and what Snakemake says."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.quick_star import read_columns
from cryosnake.session.dag import STAGES
from cryosnake.session.extracted import extracted_particles
from cryosnake.session.given_ledger import noted_table
from cryosnake.session.names import star_can_hold
from cryosnake.session.scan import list_movies
from cryosnake.session.tallies import read_tally


@dataclass(frozen=True)
class Progress:
    """Movies (`what`) seen in the folder, processed, accepted; and the next threshold (or None).

    Of a session that starts from particles, particles; those that are processed are accepted.
    """

    seen: int
    processed: int
    accepted: int
    threshold: tuple[str, int, int] | None
    what: str = "movies"

    @property
    def behind(self) -> int:
        """Movies that are there and not processed yet."""
        return max(0, self.seen - self.processed)


class Counting:
    """Counts a session again and again; tables that were read are not read twice."""

    def __init__(self, session: Path, config: Config):
        self.session = Path(session)
        self.config = config
        self._accepted: dict[str, bool] = {}
        self._read: set[str] = set()
        self._ready: dict[str, int] = {}

    def now(self) -> Progress:
        """Count what is there now."""
        if self.config.input.kind == "particles":
            return self._particles_now()
        for batch in layout.closed_batches(self.session):
            if batch in self._read:
                continue
            path = self.session / layout.batch_table(batch)
            columns = ("rlnMicrographMovieName", "csnAccepted")
            try:
                rows = read_columns(path, "micrographs", columns)
            except BadInputError:
                continue  # not there yet
            self._read.add(batch)
            for movie, accepted in rows:
                self._accepted[movie] = accepted == "1"
        movies = list_movies(self.session, self.config).movies
        seen = {movie for movie in movies if star_can_hold(movie)}
        return Progress(
            seen=len(seen | set(self._accepted)),
            processed=len(self._accepted),
            accepted=sum(self._accepted.values()),
            threshold=self._next_threshold(),
            what=self.config.input.kind,
        )

    def _particles_now(self) -> Progress:
        for batch in layout.closed_batches(self.session):
            path = self.session / layout.extracted_counts(batch)
            if batch not in self._ready and path.exists():
                self._ready[batch] = extracted_particles(self.session, batch)
        ready = sum(self._ready.values())
        seen = noted_table(self.session).get("particles", ready)
        return Progress(seen, ready, ready, self._next_round(), "particles")

    def _next_threshold(self) -> tuple[str, int, int] | None:
        done = layout.numbered(self.session, layout.TALLY)
        if not done:
            wanted = self.config.milestones.size_micrographs
            return "size", 0, wanted
        milestones = read_tally(self.session, layout.tally_file(done[-1]))["milestones"]
        for name, state in milestones.items():
            if state["batches"] is None:
                return name, state["count"], state["threshold"]
        last = STAGES.index(self.config.workflow.until)
        return self._next_round() if last >= STAGES.index("class2d") else None

    def _next_round(self) -> tuple[str, int, int] | None:
        """The next round of 2D classification: particles that are there, and needed."""
        folder = layout.particle_tallies(self.config.picking.model_version)
        done = layout.numbered(self.session, folder)
        have = 0
        if done:
            have = read_tally(self.session, f"{folder}/{done[-1]:05d}.json")["so_far"][-1][1]
        for one in self.config.class2d.rounds:
            if one.particles > have:
                return "2D", have, one.particles
        return None


class Jobs:
    """Which jobs run, from the lines that Snakemake prints."""

    _STARTED = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
    _NUMBER = re.compile(r"^\s+jobid: (\d+)$")
    _FINISHED = re.compile(r"^Finished jobid: (\d+)")
    _FAILED = re.compile(r"^Error in rule (\w+), jobid: (\d+)|^Error in rule (\w+):")

    def __init__(self):
        self._running: dict[str, str] = {}
        self._rule: str | None = None
        self._failing = False
        self.failed: list[str] = []
        self.nothing_to_do = False

    def read(self, line: str) -> None:
        """Take in one line."""
        line = line.rstrip("\n")
        if match := self._STARTED.match(line):
            self._rule, self._failing = match[1], False
        elif match := self._FAILED.match(line):
            self._rule, self._failing = match[1] or match[3], True
            self.failed.append(self._rule)
            if match[2]:
                self._running.pop(match[2], None)
        elif match := self._NUMBER.match(line):
            if self._failing:
                self._running.pop(match[1], None)
            elif self._rule:
                self._running[match[1]] = self._rule
        elif match := self._FINISHED.match(line):
            self._running.pop(match[1], None)
        elif line.startswith("Nothing to be done"):
            self.nothing_to_do = True

    def running(self) -> str:
        """The running jobs, as `preprocess 2, tally`."""
        # the wait for movies always runs in watch mode, and the target runs nothing
        counts = Counter(r for r in self._running.values() if r not in ("ingest", "session"))
        return ", ".join(f"{rule} {n}" if n > 1 else rule for rule, n in sorted(counts.items()))


def progress_line(progress: Progress, jobs: str) -> str:
    """The line."""
    parts = [
        f"{progress.what} {progress.seen} seen, {progress.processed} processed, "
        f"{progress.accepted} accepted, {progress.behind} behind",
        f"running: {jobs or 'nothing'}",
    ]
    if progress.threshold is not None:
        name, have, need = progress.threshold
        parts.append(f"next: {name} {have}/{need}")
    return " | ".join(parts)
