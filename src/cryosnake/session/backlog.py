"""How far behind a session is: movies that wait, the oldest of them, and the usual wait.

It is asked every few seconds while a session runs, so tables that were read are not read twice, and
no movie file is touched.
"""

import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.quick_star import read_columns
from cryosnake.waits import arrived_s, in_words, waits_s

#: The usual wait is the median of so many of the latest movies.
LATEST_MOVIES = 50
_LEDGER = ("csnFileChanged_s", "csnArrival_s")


@dataclass(frozen=True)
class Backlog:
    """How long movies wait.

    Parameters
    ----------
    waiting : movies that are there and not processed.
    oldest_s : how long the oldest of them has waited; None: none waits.
    usual_s : median time from arrival to processed of the latest movies; None: not known.
    """

    waiting: int = 0
    oldest_s: float | None = None
    usual_s: float | None = None

    def in_words(self) -> str:
        """As it stands in the progress line: `12 behind (oldest 4 min, usual wait 3 min)`."""
        parts = []
        if self.waiting and self.oldest_s is not None:
            parts.append(f"oldest {in_words(self.oldest_s)}")
        if self.usual_s is not None:
            parts.append(f"usual wait {in_words(self.usual_s)}")
        return f"{self.waiting} behind" + (f" ({', '.join(parts)})" if parts else "")


class BacklogCount:
    """Measures the backlog of a session again and again."""

    def __init__(self, session: Path):
        self.session = Path(session)
        self._first_s: float | None = None
        self._oldest: dict[str, float] = {}
        self._waits: deque[float] = deque(maxlen=LATEST_MOVIES)
        self._seen_s: dict[str, float] = {}

    def processed(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Take in the rows of a batch that has been processed: `csnFileChanged_s`, `csnArrival_s`
        and `csnProcessed_s`, as text."""
        movies = pd.DataFrame(rows, columns=[*_LEDGER, "csnProcessed_s"])
        found = waits_s(movies, self._first())
        self._waits.extend(found[np.isfinite(found)])

    def now(self, unprocessed: list[str], waiting: Collection[str]) -> Backlog:
        """The backlog as it is now.

        Parameters
        ----------
        unprocessed : closed batches that have no table yet.
        waiting : movies that are there and not processed. Those in no batch wait since they were
            first seen here.
        """
        clock_s = time.time()
        self._seen_s = {movie: self._seen_s.get(movie, clock_s) for movie in waiting}
        since = [*self._seen_s.values(), *(self._arrival_s(batch) for batch in unprocessed)]
        usual_s = float(np.median(self._waits)) if self._waits else None
        oldest_s = max(0.0, clock_s - min(since)) if since else None
        return Backlog(len(waiting), oldest_s, usual_s)

    def _arrival_s(self, batch: str) -> float:
        """When the first movie of a closed batch arrived."""
        if batch not in self._oldest:
            path = self.session / layout.batch_star(batch)
            movies = pd.DataFrame(read_columns(path, "movies", _LEDGER), columns=list(_LEDGER))
            found = arrived_s(movies, self._first())
            # batches of an earlier version do not tell
            self._oldest[batch] = float(np.min(found[np.isfinite(found)], initial=time.time()))
        return self._oldest[batch]

    def _first(self) -> float | None:
        """When the session took in its first movie."""
        if self._first_s is None:
            path = self.session / layout.batch_star(layout.batch_name(0))
            values = pd.to_numeric(
                pd.Series([value for (value,) in read_columns(path, "movies", _LEDGER[1:])]),
                errors="coerce",
            )
            self._first_s = float(values.min())
        return self._first_s
