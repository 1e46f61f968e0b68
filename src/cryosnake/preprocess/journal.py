"""The journal of a batch: one line a finished movie, so that a killed batch goes on where it was.

A line is appended, and on the disk, when all files of its movie are written. A half-written last
line (the machine stopped) is no line. The journal stays: it is the proof that no movie was
processed twice, and it is what makes an interrupted batch cheap to finish.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryosnake.decisions import Decision


@dataclass(frozen=True)
class Note:
    """Something that many movies of a batch may have in common; told once, with their number."""

    rule: str
    verdict: str
    value: str
    threshold: str


@dataclass(frozen=True)
class MovieResult:
    """A finished movie: its row, what was decided, and the files that belong to it.

    `files` are relative to the session's folder. `foreseen` is False where an error came as a
    surprise: such a result is never taken from the journal, the movie is tried again.
    """

    row: dict
    decisions: list[Decision] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    foreseen: bool = True


class Journal:
    """The journal of one batch; its writer holds the batch's lock."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def read(self) -> dict[str, MovieResult]:
        """Finished movies by fingerprint."""
        try:
            content = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        results = {}
        for line in content.splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # the writer was killed in this line
            results[record["fingerprint"]] = MovieResult(
                record["row"],
                [Decision(**d) for d in record["decisions"]],
                [Note(**n) for n in record["notes"]],
                record["files"],
                record["foreseen"],
            )
        return results

    def append(self, fingerprint: str, result: MovieResult) -> None:
        """Write a finished movie to the disk."""
        line = json.dumps({"fingerprint": fingerprint, **asdict(result)}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+") as stream:
            stream.seek(0, os.SEEK_END)
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    line = "\n" + line  # close the line of a killed writer
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
