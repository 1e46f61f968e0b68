"""What a replay is asked to do, as a file in its session."""

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "replay.json"


@dataclass(frozen=True)
class Plan:
    """A replay.

    Parameters
    ----------
    speedup : the steps take so many times less than they usually do.
    particles : that are picked on a micrograph, on average.
    box_px : of the extracted particles.
    bad : part of the movies that cannot be read.
    failing : part of the jobs whose first attempt fails.
    always : jobs that fail for as long as this list holds them, as `extract b00012`.
    """

    speedup: float = 1000.0
    particles: int = 200
    box_px: int = 64
    bad: float = 0.01
    failing: float = 0.02
    always: list[str] = field(default_factory=list)

    def write(self, session: Path) -> None:
        """Put it into a session, for its jobs."""
        (Path(session) / FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, session: Path) -> "Plan":
        """The plan of a session."""
        return cls(**json.loads((Path(session) / FILE).read_text()))

    def is_bad(self, movie: str) -> bool:
        """Whether a movie cannot be read."""
        return chance(f"bad {movie}") < self.bad

    def fails(self, job: str, attempt: int) -> bool:
        """Whether an attempt (from 1) at a job fails."""
        return job in self.always or (attempt == 1 and chance(f"fail {job}") < self.failing)


def chance(text: str) -> float:
    """A number from 0 to 1 that a text always gives."""
    return zlib.crc32(text.encode()) / 2**32
