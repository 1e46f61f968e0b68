"""A machine that runs jobs in simulated time: cores, GPUs, priorities, one clock."""

import heapq
import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A job to run.

    Parameters
    ----------
    rule : its name. duration_s : how long it takes once it has started.
    cores, gpus : what it holds meanwhile.
    priority : those of higher priority start first, then those that were ready first.
    """

    rule: str
    duration_s: float
    cores: int = 0
    gpus: int = 0
    priority: int = 0


@dataclass(frozen=True)
class Run:
    """A job that was run, with the times (s) at which it was ready, started and ended."""

    job: Job
    ready_s: float
    start_s: float
    end_s: float


class Signal:
    """Something that happens once; processes may wait for it."""

    def __init__(self, machine: "Machine"):
        self._machine, self._waiting = machine, []
        self.time_s: float | None = None

    def set(self) -> None:
        """It has happened."""
        if self.time_s is None:
            self.time_s = self._machine.now_s
            for action in self._waiting:
                self._machine.at(self.time_s, action)

    def then(self, action: Callable[[], None]) -> None:
        """Do something once it has happened."""
        if self.time_s is None:
            self._waiting.append(action)
        else:
            action()


#: What a process waits for: a number of jobs that it starts, or a signal.
Process = Generator[Sequence[Job] | Signal, None, None]


class Machine:
    """Cores and GPUs under one clock.

    A process is a generator: it yields the jobs that it starts next, or a signal, and goes on when
    all of them are done. A job that asks for more than there is gets all there is.

    Attributes
    ----------
    now_s : the time. runs : the jobs that have ended, in that order.
    """

    def __init__(self, cores: int, gpus: int = 0):
        self.cores, self.gpus = cores, gpus
        self.now_s = 0.0
        self.runs: list[Run] = []
        self._free_cores, self._free_gpus = cores, gpus
        self._count = itertools.count()
        self._events: list = []
        self._ready: dict[tuple[int, int], list] = {}

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time_s, next(self._count), action))

    def process(self, process: Process) -> None:
        """Begin a process, or go on with it."""
        try:
            wanted = next(process)
        except StopIteration:
            return
        if isinstance(wanted, Signal):
            wanted.then(lambda: self.process(process))
            return
        left = len(wanted)
        if not left:
            self.at(self.now_s, lambda: self.process(process))
            return

        def done() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.process(process)

        for job in wanted:
            self.submit(job, done)

    def submit(
        self, job: Job, done: Callable[[], None], begun: Callable[[], None] | None = None
    ) -> None:
        """Run a job as soon as there is room; `begun` and `done` are called in that moment."""
        shape = (min(job.cores, self.cores), min(job.gpus, self.gpus))
        entry = (-job.priority, next(self._count), job, self.now_s, done, begun)
        heapq.heappush(self._ready.setdefault(shape, []), entry)

    def run(self, until_s: float = float("inf")) -> None:
        """Let time pass until nothing is left to happen."""
        while True:
            self._start()
            if not self._events or self._events[0][0] > until_s:
                return
            self.now_s, _, action = heapq.heappop(self._events)
            action()
            while self._events and self._events[0][0] == self.now_s:
                heapq.heappop(self._events)[2]()

    def _start(self) -> None:
        """Start what fits, the most urgent first."""
        while True:
            fitting = [
                (queue[0][:2], shape)
                for shape, queue in self._ready.items()
                if queue and shape[0] <= self._free_cores and shape[1] <= self._free_gpus
            ]
            if not fitting:
                return
            shape = min(fitting)[1]
            *_, job, ready_s, done, begun = heapq.heappop(self._ready[shape])
            self._free_cores -= shape[0]
            self._free_gpus -= shape[1]
            if begun is not None:
                begun()
            run = Run(job, ready_s, self.now_s, self.now_s + job.duration_s)
            self.at(run.end_s, lambda run=run, shape=shape, done=done: self._end(run, shape, done))

    def _end(self, run: Run, shape: tuple[int, int], done: Callable[[], None]) -> None:
        self._free_cores += shape[0]
        self._free_gpus += shape[1]
        self.runs.append(run)
        done()
