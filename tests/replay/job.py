"""A job as it goes from the executor to the process that runs it (nothing heavy is imported)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """A job as the executor hands it over; all but the first four as a script sees them."""

    session: str
    script: str
    rule: str
    attempt: int
    input: Any
    output: Any
    params: Any
    wildcards: Any
    threads: int
    resources: Any
    log: Any
    config: dict

    @property
    def name(self) -> str:
        """The rule and the values of its wildcards, as `extract b00012`."""
        return " ".join([self.rule, *(str(value) for value in self.wildcards)])


@dataclass(frozen=True)
class Outcome:
    """How a job ended: Unix times, the time it stood for, what it used, and what went wrong."""

    start_s: float
    end_s: float
    nominal_s: float
    cpu_s: float
    peak_mb: float
    problem: str | None


def run(order: Order) -> Outcome:
    """Run a job in this process, one of the pool's."""
    from replay.node import run_script

    return run_script(order)
