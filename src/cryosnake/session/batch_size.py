"""How many movies the next batch holds: more while the session is behind, and back again.

Few large jobs cost less than many small ones: less starting of programs, less queueing, fewer
steps of the DAG. A session that keeps up wants small batches, so that results come early.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import IngestConfig
from cryosnake.decisions import Decision, now
from cryosnake.files import write_text

#: So many batches may wait before the next one becomes larger.
FREE_BATCHES = 4
#: The largest batch, in usual ones, where the configuration does not say.
_MOST = 3


@dataclass(frozen=True)
class BatchSize:
    """Movies of the next batch, and how many batches waited when that was decided."""

    movies: int
    waiting: int

    @classmethod
    def after(cls, waiting: int, config: IngestConfig) -> "BatchSize":
        """The size when so many closed batches wait that no job has begun.

        Up to `FREE_BATCHES` it is `batch_movies`; with each one more, as many again, up to
        `batch_movies_max`.
        """
        movies = config.batch_movies * max(1, waiting - FREE_BATCHES + 1)
        return cls(min(movies, most(config)), waiting)


def most(config: IngestConfig) -> int:
    """Movies in the largest batch."""
    return config.batch_movies_max or _MOST * config.batch_movies


def note_size(session: Path, batch: str, size: BatchSize, config: IngestConfig) -> None:
    """Note that from this batch on batches are to be of another size, if they are.

    The caller holds the lock of the batches.
    """
    noted = noted_sizes(session)
    last = noted[-1]["movies"] if noted else config.batch_movies
    if size.movies == last:
        return
    usual = f"{config.batch_movies} movies, at most {most(config)}"
    entry = {"batch": batch, "usual": usual, "time": now()} | asdict(size)
    write_text(Path(session) / layout.BATCH_SIZES, json.dumps([*noted, entry], indent=1) + "\n")


def noted_sizes(session: Path) -> list[dict]:
    """The changes so far: `batch`, `movies`, `waiting`, `usual` and `time` of each."""
    try:
        text = (Path(session) / layout.BATCH_SIZES).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return json.loads(text)


def size_decisions(session: Path) -> list[Decision]:
    """The changes, as entries of `decisions.star`."""
    return [
        Decision(
            subject=one["batch"],
            rule="batch_size",
            verdict="info",
            value=f"{one['movies']} movies",
            threshold=f"{one['usual']}; larger while {FREE_BATCHES + 1} batches or more wait",
            evidence=f"{one['waiting']} batches that no job has begun",
            time=one["time"],
        )
        for one in noted_sizes(session)
    ]
