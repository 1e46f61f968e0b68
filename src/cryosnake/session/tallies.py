"""Chains of counts over the first batches of a session, as the DAG asks for them.

A count covers the first so many batches: one is due every few batches, and one over the rest when
a run takes in no more. A finished one is never changed. Only the first unfinished one is asked of
its checkpoint, so that a no-op on a thousand batches reads a few files and walks no chain.
"""

import json
from collections.abc import Callable
from pathlib import Path

from cryosnake import layout

#: Called with the chain and the number of batches of an unfinished count; does not return.
Ask = Callable[["Tallies", int], None]


def read_tally(session: Path, path: str) -> dict:
    """A count, as its checkpoint left it."""
    return json.loads((Path(session) / path).read_text(encoding="utf-8"))


class Tallies:
    """One chain of counts.

    Parameters
    ----------
    session : the session's folder.
    folder : where the counts lie, below it.
    every : batches between counts.
    counted : gives the table of a batch that is counted.
    """

    def __init__(self, session: Path, folder: str, every: int, counted: Callable[[str], str]):
        self.session, self.folder = Path(session), folder
        self.every, self.counted = every, counted

    def file(self, covered: int) -> str:
        """The count over the first `covered` batches."""
        return f"{self.folder}/{covered:05d}.json"

    def done(self) -> list[int]:
        """The counts on disk, by the number of batches they cover."""
        return layout.numbered(self.session, self.folder)

    def missing(self, closed: int, *, ended: bool) -> list[int]:
        """Counts that are due over `closed` batches and not on disk; one over the rest, too, where
        no more batches come."""
        due = list(range(self.every, closed + 1, self.every))
        if closed % self.every and ended:
            due.append(closed)
        done = set(self.done())
        return [covered for covered in due if covered not in done]

    def before(self, covered: int) -> int:
        """Batches covered by the full count before this one, 0 for the first."""
        return (covered - 1) // self.every * self.every

    def inputs(self, covered: int) -> list[str]:
        """What the count over the first `covered` batches waits for.

        Its own batches, and the count before it, unless that is on disk (a chain of hundreds of
        finished counts need not be walked).
        """
        before = self.before(covered)
        tables = [self.counted(layout.batch_name(i)) for i in range(before, covered)]
        waits = before and not (self.session / self.file(before)).exists()
        return tables + ([self.file(before)] if waits else [])

    def prefix(
        self, reached: Callable[[dict], int | None], missing: list[int], ask: Ask
    ) -> int | None:
        """The number of batches of a subset, from the first count that knows it; None where none
        of them does.

        Parameters
        ----------
        reached : gives that number from the content of a count, or None.
        missing : as above.
        """
        for covered in sorted({*self.done(), *missing}):
            if covered in missing:
                ask(self, covered)
            found = reached(read_tally(self.session, self.file(covered)))
            if found is not None:
                return found
        return None
