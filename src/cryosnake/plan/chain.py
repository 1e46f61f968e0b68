"""The chain of a session in simulated time: movies, batches, milestones, rounds, volumes, map.

It follows `session.dag` and the rules of the workflow, with numbers in place of files: each
function here is what one of them waits for and sets off.
"""

import itertools
from collections.abc import Callable

from cryosnake.config.model import Config
from cryosnake.plan.costs import Costs
from cryosnake.plan.machine import Job, Machine, Process, Signal
from cryosnake.plan.resources import GPU_RULES
from cryosnake.plan.sizes import size
from cryosnake.plan.terms import LOCAL, PRIORITIES, Batch, Outcome, Pace, Site
from cryosnake.session.batch_size import BatchSize
from cryosnake.session.dag import LEAST_LAST, MORE, STAGES
from cryosnake.session.job_work import REFERENCE_MOVIE, MovieSize, Work

#: Local rules start at once.
_LOCAL_START_S = 0.5


class Chain:
    """A session in simulated time.

    Parameters
    ----------
    finish : the particles that are there at the end make a last round, as when watching.
    """

    def __init__(
        self,
        config: Config,
        costs: Costs,
        pace: Pace,
        site: Site,
        movie: MovieSize = REFERENCE_MOVIE,
        *,
        finish: bool = True,
    ):
        self.config, self.costs, self.pace, self.site, self.movie = config, costs, pace, site, movie
        self.finish = finish
        self.machine = Machine(site.cores, site.gpus)
        arrived = [(i + 1) * pace.every_s for i in range(pace.movies)]
        self.outcome = Outcome(arrived, [0.0] * pace.movies, self.machine)
        self.batches: list[Batch] = []
        self.pending: list[int] = []
        self.settled = self.begun = 0
        self.counted = {"tally": 0, "tally_particles": 0}
        self.size_known, self.set_known = Signal(self.machine), Signal(self.machine)
        self.trained = Signal(self.machine)
        self.streamed_from: tuple[int, int] | None = None
        self.rounds: list[int] = []
        self.classified: dict[int, Signal] = {}
        self.refined: dict[int, Signal] = {}

    def run(self) -> Outcome:
        """Let the session pass."""
        settle_s = self.config.ingest.settle_s + self.config.ingest.poll_s / 2
        for number, time_s in enumerate(self.outcome.arrived_s):
            self.machine.at(time_s + settle_s, lambda number=number: self._settle(number))
        if self._goes_to("picking"):
            self.machine.process(self._train())
        self.machine.run()
        return self.outcome

    def _goes_to(self, stage: str) -> bool:
        return STAGES.index(stage) <= STAGES.index(self.config.workflow.until)

    @property
    def ended(self) -> bool:
        """Whether no more movies come."""
        return self.settled == self.pace.movies

    def job(
        self, rule: str, units: float, *, classes: int = 100, volumes: int = 2, may_gpu: bool = True
    ) -> Job:
        """A job of a rule with so much work."""
        work = Work(int(units), self.movie, self.config.particles.output_px, classes, volumes)
        local = rule in LOCAL
        gpu = may_gpu and rule in GPU_RULES and self.site.gpus > 0
        gpu = gpu and self.costs.table[rule].gpu_known
        threads = 1 if local else self.config.compute.threads
        took_s = self.costs.duration_s(rule, units, threads=threads, gpu=gpu, size=size(rule, work))
        cores = 0 if local and self.site.scheduler else threads
        start_s = _LOCAL_START_S if local else self.site.start_s
        return Job(rule, took_s + start_s, cores, int(gpu), PRIORITIES.get(rule, 0))

    # --- movies become batches

    def _settle(self, number: int) -> None:
        self.settled += 1
        self.pending.append(number)
        timeout_s = self.config.ingest.batch_timeout_s
        self.machine.at(self.machine.now_s + timeout_s, lambda: self._time_out(number))
        self._close()

    def _time_out(self, number: int) -> None:
        if self.pending and self.pending[0] == number:
            self._close(partial=True)

    def _close(self, *, partial: bool = False) -> None:
        while self.pending:
            waiting = len(self.batches) - self.begun
            wanted = BatchSize.after(waiting, self.config.ingest).movies
            if len(self.pending) < wanted and not (partial or self.ended):
                return
            movies, self.pending = self.pending[:wanted], self.pending[wanted:]
            particles = self.pace.accepted * len(movies) * self.pace.particles
            self.batches.append(Batch(len(self.batches), movies, particles))
            self._preprocess(self.batches[-1])

    def _preprocess(self, batch: Batch) -> None:
        def begun() -> None:
            self.begun += 1
            self._close()

        def done() -> None:
            batch.processed = True
            for movie in batch.movies:
                self.outcome.processed_s[movie] = self.machine.now_s
            self.outcome.reached.setdefault("first batch processed", self.machine.now_s)
            self._count("tally", lambda b: b.processed, self._judge)
            if self._goes_to("picking"):
                self.trained.then(lambda: self.machine.process(self._pick(batch)))

        self.machine.submit(self.job("preprocess", len(batch.movies)), done, begun)

    # --- counts and thresholds

    def _count(self, rule: str, ready: Callable[[Batch], bool], then: Callable[[int], None]):
        """Start the next count of a prefix of batches that is due."""
        every = self.config.milestones.tally_every_batches
        first = self.counted[rule]
        complete = first + sum(
            1 for _ in itertools.takewhile(ready, itertools.islice(self.batches, first, None))
        )
        at_end = self.ended and not self.pending and complete == len(self.batches)
        due = complete if at_end else complete // every * every
        if due <= self.counted[rule]:
            return
        self.counted[rule] = due
        self.machine.submit(self.job(rule, due), lambda: then(due))

    def _judge(self, covered: int) -> None:
        """What the count of micrographs of the first batches sets off."""
        accepted = self.pace.accepted * sum(len(b.movies) for b in self.batches[:covered])
        limits = self.config.milestones
        if accepted * self.pace.stringent >= limits.size_micrographs:
            self.size_known.set()
        if accepted >= limits.training_micrographs:
            self.set_known.set()

    def _particles(self, covered: int) -> int:
        movies = sum(len(b.movies) for b in self.batches[:covered])
        return int(movies * self.pace.accepted * self.pace.particles)

    # --- picking and extraction

    def _train(self) -> Process:
        yield self.size_known
        yield self.set_known
        yield [self.job("freeze", 1), self.job("freeze", 1)]
        yield [self.job("particle_size", 1), self.job("training_set", 1)]
        yield [
            self.job("pick_training", 1, may_gpu=picker == "network")
            for picker in self.config.picking.pickers
        ]
        yield [self.job("consensus", 1)]
        yield [self.job("train_picker", 1)]
        self.outcome.reached["picker trained"] = self.machine.now_s
        self.trained.set()

    def _pick(self, batch: Batch) -> Process:
        yield [self.job("pick", self.pace.accepted * len(batch.movies))]
        if not self._goes_to("particles"):
            return
        yield [self.job("extract", batch.particles)]
        batch.extracted = True
        self.outcome.extracted_s = self.machine.now_s
        if self._goes_to("class2d"):
            self._count("tally_particles", lambda b: b.extracted, self._start_rounds)
            self._stream(batch)

    def _stream(self, batch: Batch) -> None:
        """Assign a batch to the classes of the newest round, if it came after that."""
        if self.streamed_from is None or not self.config.class2d.streaming:
            return
        covered, classes = self.streamed_from
        if batch.number >= covered:
            self.machine.process(self._streaming(batch, classes))

    def _streaming(self, batch: Batch, classes: int) -> Process:
        yield [self.job("stream_class2d", batch.particles, classes=classes)]
        yield [self.job("live_class2d", 1)]

    # --- rounds

    def _start_rounds(self, covered: int) -> None:
        """The rounds that the count of particles of the first batches sets off."""
        have = self._particles(covered)
        wanted = [(r.particles, r.classes) for r in self.config.class2d.rounds]
        for particles, classes in wanted:
            if particles <= have and particles not in self.rounds:
                self._start_round(particles, classes, covered)
        last = self.finish and covered == len(self.batches) and self.ended and not self.pending
        least = MORE * max([*self.rounds, LEAST_LAST / MORE])
        if last and have >= least:
            more = [classes for particles, classes in wanted if particles >= have]
            self._start_round(have, more[0] if more else wanted[-1][1], covered)

    def _start_round(self, particles: int, classes: int, covered: int) -> None:
        before = self.rounds[-1] if self.rounds else None
        self.rounds.append(particles)
        self.classified[particles] = Signal(self.machine)
        self.refined[particles] = Signal(self.machine)
        self.machine.process(self._round(particles, classes, covered, before))

    def _round(self, particles: int, classes: int, covered: int, before: int | None) -> Process:
        yield [self.job("freeze_particles", 1)]
        if before is not None:
            yield self.classified[before]
        yield [self.job("class2d", particles, classes=classes)]
        self.classified[particles].set()
        self.streamed_from = (covered, classes)
        for batch in self.batches[covered:]:
            if batch.extracted:
                self._stream(batch)
        yield [self.job("assess_class2d", 1)]
        self.outcome.reached[f"2D classes of {particles:,}"] = self.machine.now_s
        chosen = self.config.class3d.rounds
        configured = [r.particles for r in self.config.class2d.rounds]
        follows = particles not in set(configured) - set(chosen or configured)
        if self._goes_to("class3d") and follows:
            earlier = [n for n in self.rounds if n < particles and self._has_volumes(n)]
            self.machine.process(self._volumes(particles, earlier[-1] if earlier else None))

    def _has_volumes(self, particles: int) -> bool:
        chosen = self.config.class3d.rounds
        return not chosen or particles in chosen

    def _volumes(self, particles: int, before: int | None) -> Process:
        """3D of a round, one step at a time; the branches side by side."""
        volumes = self.config.abinitio.volumes
        most = min(particles, self.config.class3d.particles_max)
        yield [self.job("abinitio", particles, volumes=volumes)]
        yield [self.job("class3d", most, volumes=volumes)]
        self.outcome.reached[f"volume of {particles:,}"] = self.machine.now_s
        if not self._goes_to("refine"):
            return
        branches = [Signal(self.machine), Signal(self.machine)]
        self.machine.process(self._branch2d(most, branches[0]))
        self.machine.process(self._branch3d(most, branches[1]))
        yield from branches
        yield [self.job("crossvalidate", 1)]
        yield [self.job("reextract", particles)]
        if before is not None:
            yield self.refined[before]
        yield [self.job("refine", particles)]
        self.refined[particles].set()
        self.outcome.reached[f"map of {particles:,}"] = self.machine.now_s
        yield [self.job("forecast", particles)]

    def _branch2d(self, particles: int, done: Signal) -> Process:
        for one in self.config.validation.rounds2d:
            yield [self.job("branch2d", particles, classes=one.classes)]
        done.set()

    def _branch3d(self, particles: int, done: Signal) -> Process:
        yield [self.job("branch3d", particles, volumes=self.config.validation.volumes)]
        done.set()
