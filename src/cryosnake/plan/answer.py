"""What a simulated session says: does it keep up, what is in the way, what would it take."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from cryosnake.config.model import Config
from cryosnake.plan.chain import Chain
from cryosnake.plan.costs import Costs
from cryosnake.plan.machine import Run
from cryosnake.plan.resources import GPU_RULES
from cryosnake.plan.terms import Outcome, Pace, Site
from cryosnake.session.job_work import REFERENCE_MOVIE, MovieSize

#: A session keeps up when no movie waits longer for its row, and when all are picked so soon after
#: the last one.
KEEPS_UP_S = 1800.0
#: A resource that is used to this part of the acquisition's time is what all wait for.
_FULL = 0.85
_MOST_CORES, _MOST_GPUS = 4096, 256


@dataclass(frozen=True)
class Step:
    """What the jobs of a rule took together: their number, core and GPU seconds, the longest."""

    rule: str
    jobs: int
    core_s: float
    gpu_s: float
    longest_s: float


@dataclass(frozen=True)
class Answer:
    """A plan's answer; times in seconds since the session began.

    Parameters
    ----------
    keeps_up : see `KEEPS_UP_S`. longest_wait_s, median_wait_s : of a movie, from its arrival to its
        row. most_waiting : movies at one moment. drained_s : after the last movie, until all are
        picked and extracted.
    reached : what people wait for, and when. steps : by rule, the most expensive first.
    core_use, gpu_use : part of what there is that was used while movies came.
    bottleneck : `cores`, `gpus`, or None where neither is short.
    cores_needed, gpus_needed : the fewest with which it keeps up, the other as given; None: no
        number of them is enough, or there are no GPUs.
    unmeasured : rules that would use a GPU and were never timed on one; they are planned on CPUs.
    """

    keeps_up: bool
    longest_wait_s: float
    median_wait_s: float
    most_waiting: int
    drained_s: float
    acquisition_s: float
    end_s: float
    reached: dict[str, float]
    steps: list[Step]
    core_use: float
    gpu_use: float | None
    bottleneck: str | None
    cores_needed: int | None
    gpus_needed: int | None
    unmeasured: list[str]


def plan(
    config: Config, costs: Costs, pace: Pace, site: Site, movie: MovieSize = REFERENCE_MOVIE
) -> Answer:
    """Simulate a session, and find the least that is enough for it."""

    def kept_up(cores: int, gpus: int) -> bool:
        changed = replace(site, cores=cores, gpus=gpus)
        return _keeps_up(Chain(config, costs, pace, changed, movie).run())

    on_gpu = sorted(GPU_RULES & set(costs.table))
    unmeasured = [rule for rule in on_gpu if not costs.table[rule].gpu_known]
    if unmeasured == on_gpu:
        site = replace(site, gpus=0)  # they would lie idle
    outcome = Chain(config, costs, pace, site, movie).run()
    waits = np.subtract(outcome.processed_s, outcome.arrived_s)
    acquisition_s = outcome.arrived_s[-1]
    steps = _steps(outcome.machine.runs)
    core_use = _use(outcome.machine.runs, acquisition_s, lambda r: r.job.cores) / site.cores
    gpu_use = None
    if site.gpus:
        gpu_use = _use(outcome.machine.runs, acquisition_s, lambda r: r.job.gpus) / site.gpus
    ran = {step.rule for step in steps}
    step = config.compute.threads
    cores = _least(lambda n: kept_up(n * step, site.gpus), _MOST_CORES // step)
    gpus = None
    if site.gpus and gpu_use:
        gpus = _least(lambda n: kept_up(site.cores, n), _MOST_GPUS)
    return Answer(
        keeps_up=_keeps_up(outcome),
        longest_wait_s=float(waits.max()),
        median_wait_s=float(np.median(waits)),
        most_waiting=_most_waiting(outcome),
        drained_s=max(0.0, _drained_s(outcome) - acquisition_s),
        acquisition_s=acquisition_s,
        end_s=outcome.machine.now_s,
        reached=outcome.reached,
        steps=steps,
        core_use=core_use,
        gpu_use=gpu_use,
        bottleneck=_bottleneck(core_use, gpu_use),
        cores_needed=cores * step if cores else None,
        gpus_needed=gpus,
        unmeasured=[rule for rule in unmeasured if rule in ran],
    )


def _drained_s(outcome: Outcome) -> float:
    return max(outcome.extracted_s, max(outcome.processed_s))


def _keeps_up(outcome: Outcome) -> bool:
    waits = np.subtract(outcome.processed_s, outcome.arrived_s)
    late_s = _drained_s(outcome) - outcome.arrived_s[-1]
    return bool(waits.max() <= KEEPS_UP_S and late_s <= KEEPS_UP_S)


def _least(enough, most: int) -> int | None:
    """The least number that is enough, as if more were never worse; None: `most` is not."""
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _most_waiting(outcome: Outcome) -> int:
    came, went = np.sort(outcome.arrived_s), np.sort(outcome.processed_s)
    return int((np.arange(1, len(came) + 1) - np.searchsorted(went, came, side="right")).max())


def _steps(runs: list[Run]) -> list[Step]:
    jobs, cores, gpus, longest = Counter(), Counter(), Counter(), Counter()
    for run in runs:
        rule, took_s = run.job.rule, run.end_s - run.start_s
        jobs[rule] += 1
        cores[rule] += took_s * run.job.cores
        gpus[rule] += took_s * run.job.gpus
        longest[rule] = max(longest[rule], took_s)
    found = [Step(rule, jobs[rule], cores[rule], gpus[rule], longest[rule]) for rule in jobs]
    return sorted(found, key=lambda step: -(step.core_s + step.gpu_s))


def _use(runs: list[Run], until_s: float, held) -> float:
    """How many of a resource were held on average until a time."""
    used_s = sum(held(r) * max(0.0, min(r.end_s, until_s) - min(r.start_s, until_s)) for r in runs)
    return used_s / until_s


def _bottleneck(core_use: float, gpu_use: float | None) -> str | None:
    if gpu_use is not None and gpu_use >= max(core_use, _FULL):
        return "gpus"
    return "cores" if core_use >= _FULL else None
