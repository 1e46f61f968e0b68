"""What the DAG asks for, from what is on disk (no Snakemake in here).

Everything is decided by files that are never changed once they are there: closed batches, ticks,
tallies. Finished ones are read from disk, and only the next unfinished one is asked of its
checkpoint: a no-op on a thousand batches costs a second or two.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from cryosnake import layout
from cryosnake.config.model import Config, WorkflowConfig
from cryosnake.session.ingest import read_tick
from cryosnake.session.ledger import Ledger
from cryosnake.session.scan import check_input

#: The stages a session may end with, in order.
STAGES = get_args(WorkflowConfig.model_fields["until"].annotation)


def read_tally(session: Path, covered: int) -> dict:
    """The tally over the first `covered` batches, as the checkpoint left it."""
    return json.loads((session / layout.tally_file(covered)).read_text(encoding="utf-8"))


class SessionDag:
    """The batches, waits, tallies and subsets of a session, for the workflow's input functions.

    Parameters
    ----------
    session : the session's folder.
    main : this is the process that plans the run, not one that runs a single job of it.

    `pid` is that of this process: what waits for it can tell when it is gone.
    """

    def __init__(self, session: Path, config: Config, *, main: bool):
        self.session = Path(session)
        self.config = config
        self.pid = os.getpid()
        self._first_tick: int | None = None
        self._reached: dict[str, list[str]] = {}
        if main and config.input.path:
            check_input(self.session, config)
            numbers = self._numbers(layout.TICKS, "tick_")
            waiting = config.ingest.mode == "watch" or Ledger(self.session, config).pending()
            if waiting:
                self._first_tick = max(numbers, default=-1) + 1

    def _numbers(self, folder: str, prefix: str = "") -> list[int]:
        try:
            names = os.listdir(self.session / folder)
        except FileNotFoundError:
            return []
        stems = (n[len(prefix) : -len(".json")] for n in names if n.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def exists(self, path: str) -> bool:
        """Whether a file of the session is on disk."""
        return (self.session / path).exists()

    def next_tick(self) -> int | None:
        """Number of the wait this run needs next; None when this run takes in no more."""
        if self._first_tick is None:
            return None
        number = self._first_tick
        while (tick := read_tick(self.session, number)) is not None:
            if tick.outcome == "end":
                self._first_tick = None
                return None
            number += 1
        self._first_tick = number
        return number

    def batches(self) -> list[str]:
        """The closed batches, in ledger order."""
        return layout.closed_batches(self.session)

    def tables(self) -> list[str]:
        """The tables of all closed batches."""
        return [layout.batch_table(batch) for batch in self.batches()]

    def missing_tallies(self) -> list[int]:
        """Tallies that are due and not on disk, by the number of batches they cover.

        One every `tally_every_batches`, and, when this run takes in no more, one over the rest.
        """
        every = self.config.milestones.tally_every_batches
        closed = len(self.batches())
        due = list(range(every, closed + 1, every))
        if closed % every and self.next_tick() is None:
            due.append(closed)
        done = set(self._numbers(layout.TALLY))
        return [covered for covered in due if covered not in done]

    def tally_inputs(self, covered: int) -> list[str]:
        """What the tally over the first `covered` batches waits for.

        Its own batches, and the tally before it, unless that is on disk (a chain of hundreds of
        finished tallies need not be walked).
        """
        before = self.tally_before(covered)
        tables = [layout.batch_table(layout.batch_name(i)) for i in range(before, covered)]
        previous = [layout.tally_file(before)] if before else []
        return tables + [p for p in previous if not self.exists(p)]

    def tally_before(self, covered: int) -> int:
        """Batches covered by the full tally before this one, 0 for the first."""
        every = self.config.milestones.tally_every_batches
        return (covered - 1) // every * every

    def goes_on_after(self, covered: int) -> bool:
        """Whether more is to come after the first `covered` batches, as far as can be told now.

        The tally of the last batches need not refresh tables and report: their rules come next.
        """
        return self.config.ingest.mode == "watch" or covered < len(self.batches())

    def subset_batches(self, milestone: str, ask: Callable[[int], None]) -> list[str] | None:
        """The batches of a milestone's subset; None where no tally so far reaches it.

        Parameters
        ----------
        ask : called with the number of batches of the first unfinished tally, where the finished
            ones do not reach the milestone (the checkpoint, which does not return).
        """
        if milestone not in self._reached:
            missing = set(self.missing_tallies())
            done = self._numbers(layout.TALLY)
            for covered in sorted({*done, *missing}):
                if covered in missing:
                    ask(covered)
                prefix = read_tally(self.session, covered)["milestones"][milestone]["batches"]
                if prefix is not None:
                    names = [layout.batch_name(i) for i in range(prefix)]
                    self._reached[milestone] = names
                    break
            else:
                return None
        return self._reached[milestone]

    def subset(self, milestone: str, ask: Callable[[int], None]) -> list[str]:
        """The subset of a milestone, if it is on disk or can be frozen now; `ask` as above."""
        path = layout.subset_star(milestone)
        reached = self.exists(path) or self.subset_batches(milestone, ask) is not None
        return [path] if reached else []

    def subset_tables(self, milestone: str, ask: Callable[[int], None]) -> list[str]:
        """The tables of the batches of a milestone's subset; `ask` as above."""
        return [layout.batch_table(b) for b in self.subset_batches(milestone, ask) or []]

    def goes_to(self, stage: str) -> bool:
        """Whether the session goes as far as a stage (`curation`, `picking`, `particles`)."""
        return STAGES.index(stage) <= STAGES.index(self.config.workflow.until)

    def picking_starts(self, ask: Callable[[int], None]) -> bool:
        """Whether there are micrographs enough to measure the particle and to train; `ask` as
        above."""
        wanted = self.goes_to("picking")
        return wanted and all(self.subset(name, ask) for name in ("size", "training"))

    def model(self, ask: Callable[[int], None]) -> list[str]:
        """What is known about the picking model, once it can be trained; `ask` as above.

        It is asked for by itself: a version that is not there yet must be made, although every
        batch has been picked with the one before.
        """
        version = self.config.picking.model_version
        return [layout.model_file(version, "json")] if self.picking_starts(ask) else []

    def coordinates(self, ask: Callable[[int], None]) -> list[str]:
        """Coordinates of all closed batches, once picking has started; `ask` as above."""
        batches = self.batches() if self.picking_starts(ask) else []
        return [layout.coordinates_star(batch) for batch in batches]

    def particles(self, ask: Callable[[int], None]) -> list[str]:
        """Particles of all closed batches, likewise."""
        batches = self.batches() if self.goes_to("particles") and self.picking_starts(ask) else []
        return [layout.particles_star(batch) for batch in batches]

    def left_out(self) -> list[str]:
        """The note of files that were not taken in, if there is one."""
        return [layout.LEFT_OUT] if self.exists(layout.LEFT_OUT) else []
