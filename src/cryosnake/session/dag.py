"""What the DAG asks for, from what is on disk (no Snakemake in here).

Everything is decided by files that are never changed once they are there: closed batches, ticks,
tallies. Finished ones are read from disk, and only the next unfinished one is asked of its
checkpoint: a no-op on a thousand batches costs a second or two.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from cryosnake import layout
from cryosnake.config.model import Config, WorkflowConfig
from cryosnake.session.given_ledger import particles_pending
from cryosnake.session.ingest import read_tick
from cryosnake.session.ledger import Ledger
from cryosnake.session.rounds import Rounds
from cryosnake.session.scan import check_input
from cryosnake.session.tallies import Ask, Tallies, read_tally
from cryosnake.session.volume_rounds import VolumeRounds

#: The stages a session may end with, in order.
STAGES = get_args(WorkflowConfig.model_fields["until"].annotation)
#: The last round of a session that has ended needs so many particles, and so many times those of
#: the round before it.
LEAST_LAST, MORE = 100, 1.1


class _NotYetCounted(Exception):
    """A count that is due is not there."""


def _not_yet(_tallies: Tallies, _covered: int) -> None:
    raise _NotYetCounted


class SessionDag:
    """The batches, waits, tallies and subsets of a session, for the workflow's input functions.

    Parameters
    ----------
    session : the session's folder.
    main : this is the process that plans the run, not one that runs a single job of it.

    `pid` is that of this process: what waits for it can tell when it is gone. Functions with an
    argument `ask` call it for the first unfinished count that they need (see `Tallies`).
    """

    def __init__(self, session: Path, config: Config, *, main: bool):
        self.session = Path(session)
        self.config = config
        self.pid = os.getpid()
        every = config.milestones.tally_every_batches
        self.micrograph_tallies = Tallies(session, layout.TALLY, every, layout.batch_table)
        self.particle_tallies = Tallies(
            session,
            layout.particle_tallies(config.picking.model_version),
            every,
            layout.particles_star,
        )
        self.rounds = Rounds(session, config.class2d)
        self.volume_rounds = VolumeRounds(config)
        self.from_particles = config.input.kind == "particles"
        self._first_tick: int | None = None
        self._reached: dict[str, int | None] = {}
        if main and config.input.path:
            check_input(self.session, config)
            numbers = layout.numbered(self.session, layout.TICKS, "tick_")
            if self._waits():
                self._first_tick = max(numbers, default=-1) + 1

    def _waits(self) -> bool:
        """Whether there is something to take in, or to wait for."""
        if self.from_particles:
            return particles_pending(self.session, self.config)
        return self.config.ingest.mode == "watch" or Ledger(self.session, self.config).pending()

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
        """The micrographs of all closed batches; none where the session starts from particles."""
        if self.from_particles:
            return []
        return [layout.batch_table(batch) for batch in self.batches()]

    def missing(self, tallies: Tallies) -> list[int]:
        """Counts of a chain that are due by now and not on disk, by the number of batches."""
        return tallies.missing(len(self.batches()), ended=self.next_tick() is None)

    def due_tallies(self) -> list[str]:
        """The counts of micrographs that are due and not on disk."""
        if self.from_particles:
            return []
        tallies = self.micrograph_tallies
        return [tallies.file(covered) for covered in self.missing(tallies)]

    def due_particle_tallies(self, ask: Ask) -> list[str]:
        """The counts of particles, likewise, once picking has started."""
        if not (self.goes_to("class2d") and self.particles_start(ask)):
            return []
        tallies = self.particle_tallies
        return [tallies.file(covered) for covered in self.missing(tallies)]

    def goes_on_after(self, covered: int) -> bool:
        """Whether more is to come after the first `covered` batches, as far as can be told now.

        The tally of the last batches need not refresh tables and report: their rules come next.
        """
        return self.config.ingest.mode == "watch" or covered < len(self.batches())

    def _prefix(self, name: str, tallies: Tallies, reached: Callable, ask: Ask) -> int | None:
        """The number of batches of a subset; what was found is kept (a subset never changes)."""
        if self._reached.get(name) is None:
            self._reached[name] = tallies.prefix(reached, self.missing(tallies), ask)
        return self._reached[name]

    def subset_batches(self, milestone: str, ask: Ask) -> list[str] | None:
        """The batches of a milestone's subset; None where no tally so far reaches it."""

        def reached(tally: dict) -> int | None:
            return tally["milestones"][milestone]["batches"]

        number = self._prefix(milestone, self.micrograph_tallies, reached, ask)
        return None if number is None else [layout.batch_name(i) for i in range(number)]

    def subset(self, milestone: str, ask: Ask) -> list[str]:
        """The subset of a milestone, if it is on disk or can be frozen now."""
        if self.from_particles:
            return []
        path = layout.subset_star(milestone)
        reached = self.exists(path) or self.subset_batches(milestone, ask) is not None
        return [path] if reached else []

    def subset_tables(self, milestone: str, ask: Ask) -> list[str]:
        """The tables of the batches of a milestone's subset."""
        return [layout.batch_table(b) for b in self.subset_batches(milestone, ask) or []]

    def goes_to(self, stage: str) -> bool:
        """Whether the session goes as far as a stage (`curation`, `picking`, ...)."""
        return STAGES.index(stage) <= STAGES.index(self.config.workflow.until)

    def picking_starts(self, ask: Ask) -> bool:
        """Whether there are micrographs enough to measure the particle and to train."""
        wanted = self.goes_to("picking") and not self.from_particles
        return wanted and all(self.subset(name, ask) for name in ("size", "training"))

    def particles_start(self, ask: Ask) -> bool:
        """Whether there are particles: after picking, or from the start."""
        return self.from_particles or self.picking_starts(ask)

    def model(self, ask: Ask) -> list[str]:
        """What is known about the picking model, once it can be trained.

        It is asked for by itself: a version that is not there yet must be made, although every
        batch has been picked with the one before.
        """
        version = self.config.picking.model_version
        return [layout.model_file(version, "json")] if self.picking_starts(ask) else []

    def coordinates(self, ask: Ask) -> list[str]:
        """Coordinates of all closed batches, once picking has started."""
        batches = self.batches() if self.picking_starts(ask) else []
        return [layout.coordinates_star(batch) for batch in batches]

    def particles(self, ask: Ask) -> list[str]:
        """Particles of all closed batches, likewise."""
        if not (self.goes_to("particles") and self.particles_start(ask)):
            return []
        return [layout.particles_star(batch) for batch in self.batches()]

    def round_batches(self, particles: int, ask: Ask) -> list[str] | None:
        """The batches of the first so many particles; None where there are not so many yet."""
        if not (self.goes_to("class2d") and self.particles_start(ask)):
            return None

        def reached(tally: dict) -> int | None:
            return next(
                (n for n, so_far in tally["so_far"] if so_far >= particles),
                None,
            )

        number = self._prefix(f"particles_{particles}", self.particle_tallies, reached, ask)
        return None if number is None else [layout.batch_name(i) for i in range(number)]

    def reached_rounds(self, ask: Ask) -> list[int]:
        """The rounds of 2D classification whose particles are there, by their number."""
        reached = []
        for number in self.rounds.numbers:
            if self.round_batches(number, ask) is None:
                break
            reached.append(number)
        last = self._last_round(ask)
        if last and last >= MORE * max([*reached, LEAST_LAST / MORE]):
            reached.append(last)
        return reached

    def rounds_so_far(self) -> list[str]:
        """What is wanted of the rounds that finished counts know of.

        It asks for no count: a round starts although others are due, be it that many batches wait
        or that one of them always fails.
        """
        reached = []
        try:
            for number in self.rounds.numbers:
                if self.round_batches(number, _not_yet) is None:
                    break
                reached.append(number)
        except _NotYetCounted:
            pass  # the rounds after this one are not known either
        return [*self._classes_of(reached), *self._volumes_of(reached)]

    def _last_round(self, ask: Ask) -> int | None:
        """The number of all particles, once no more come; that of such a round of an earlier run,
        until there are much more."""
        if not (self.goes_to("class2d") and self.particles_start(ask)):
            return None
        earlier = self._earlier_ends()
        ends = self.config.ingest.finish or self.config.ingest.mode == "watch"
        ends = ends or self.from_particles  # a table is complete as it is
        if not (ends and self.next_tick() is None and self.batches()):
            return earlier[-1] if earlier else None
        tallies, covered = self.particle_tallies, len(self.batches())
        if covered in self.missing(tallies):
            ask(tallies, covered)
        total = read_tally(self.session, tallies.file(covered))["so_far"][-1][1]
        # what few movies that came late add is not worth another last round
        return earlier[-1] if earlier and total < MORE * earlier[-1] else total

    def _earlier_ends(self) -> list[int]:
        """The last rounds of earlier runs: of as many particles as there were at some count."""
        others = [n for n in self.rounds.begun() if n not in self.rounds.numbers]
        if not others:
            return []
        tallies = self.particle_tallies
        counts = (read_tally(self.session, tallies.file(n)) for n in tallies.done())
        totals = {count["so_far"][-1][1] for count in counts}
        return [n for n in others if n in totals]

    def classes2d(self, ask: Ask) -> list[str]:
        """The assessed classes of every round that is reached."""
        return self._classes_of(self.reached_rounds(ask))

    def _classes_of(self, rounds: list[int]) -> list[str]:
        return [layout.class2d_file(n, "classes.star") for n in rounds]

    def volumes(self, ask: Ask) -> list[str]:
        """The last thing that is wanted in 3D of every 2D round that 3D follows and that is
        reached."""
        return self._volumes_of(self.reached_rounds(ask)) if self.goes_to("class3d") else []

    def _volumes_of(self, rounds: list[int]) -> list[str]:
        if not self.goes_to("class3d"):
            return []
        wanted = self.volume_rounds
        last = wanted.last_file(refined=self.goes_to("refine"))
        return [last(n) for n in rounds if wanted.follows(n)]

    def streamed(self, ask: Ask) -> list[str]:
        """What is told of each batch that came after the newest round."""
        reached = self.reached_rounds(ask) if self.rounds.streaming else []
        if not reached:
            return []
        after = self.batches()[len(self.round_batches(reached[-1], ask)) :]
        return [layout.class2d_stream(reached[-1], batch, "json") for batch in after]

    def left_out(self) -> list[str]:
        """The note of files that were not taken in, if there is one."""
        return [layout.LEFT_OUT] if self.exists(layout.LEFT_OUT) else []
