"""How a running session is doing, in one line, from what is on disk and what Snakemake says."""

from dataclasses import dataclass
from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.quick_star import read_columns
from cryosnake.session.backlog import Backlog, BacklogCount
from cryosnake.session.dag import STAGES
from cryosnake.session.extracted import extracted_particles
from cryosnake.session.given_ledger import noted_table
from cryosnake.session.names import star_can_hold
from cryosnake.session.scan import list_movies
from cryosnake.session.tallies import read_tally

_COLUMNS = (
    *("rlnMicrographMovieName", "csnAccepted"),
    *("csnFileChanged_s", "csnArrival_s", "csnProcessed_s"),
)


@dataclass(frozen=True)
class Progress:
    """Movies (`what`) seen in the folder, processed, accepted; and the next threshold (or None).

    Of a session that starts from particles, particles; those that are processed are accepted.
    `oldest_s` and `usual_s` are those of its `Backlog`.
    """

    seen: int
    processed: int
    accepted: int
    threshold: tuple[str, int, int] | None
    what: str = "movies"
    oldest_s: float | None = None
    usual_s: float | None = None

    @property
    def behind(self) -> int:
        """Movies that are there and not processed yet."""
        return max(0, self.seen - self.processed)

    @property
    def backlog(self) -> Backlog:
        """The same, and how long they wait."""
        return Backlog(self.behind, self.oldest_s, self.usual_s)


class Counting:
    """Counts a session again and again; tables that were read are not read twice."""

    def __init__(self, session: Path, config: Config):
        self.session = Path(session)
        self.config = config
        self._accepted: dict[str, bool] = {}
        self._read: set[str] = set()
        self._ready: dict[str, int] = {}
        self._backlog = BacklogCount(session)

    def now(self) -> Progress:
        """Count what is there now."""
        if self.config.input.kind == "particles":
            return self._particles_now()
        unprocessed = []
        for batch in layout.closed_batches(self.session):
            if batch in self._read:
                continue
            path = self.session / layout.batch_table(batch)
            try:
                rows = read_columns(path, "micrographs", _COLUMNS)
            except BadInputError:
                unprocessed.append(batch)  # not there yet
                continue
            self._read.add(batch)
            for movie, accepted, *_ in rows:
                self._accepted[movie] = accepted == "1"
            self._backlog.processed(times for _, _, *times in rows)
        movies = list_movies(self.session, self.config).movies
        seen = {movie for movie in movies if star_can_hold(movie)} | set(self._accepted)
        waiting = seen - set(self._accepted)
        found = self._backlog.now(unprocessed, waiting)
        return Progress(
            seen=len(seen),
            processed=len(self._accepted),
            accepted=sum(self._accepted.values()),
            threshold=self._next_threshold(),
            what=self.config.input.kind,
            oldest_s=found.oldest_s,
            usual_s=found.usual_s,
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


def progress_line(progress: Progress, jobs: str) -> str:
    """The line."""
    parts = [
        f"{progress.what} {progress.seen} seen, {progress.processed} processed, "
        f"{progress.accepted} accepted, {progress.backlog.in_words()}",
        f"running: {jobs or 'nothing'}",
    ]
    if progress.threshold is not None:
        name, have, need = progress.threshold
        parts.append(f"next: {name} {have}/{need}")
    return " | ".join(parts)
