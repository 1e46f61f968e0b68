"""Costs fitted to a session that has run: its job records against the shipped costs."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from cryosnake.config import load_config
from cryosnake.errors import BadInputError
from cryosnake.plan.costs import COSTS, START_S, Cost, Costs
from cryosnake.plan.sizes import size
from cryosnake.session.job_record import JobRecord, session_records
from cryosnake.session.job_work import SessionWork

#: A line is drawn through so many different sizes, the largest so many times the smallest;
#: else the shipped cost is multiplied by one factor.
_LEAST_SIZES, _SPAN = 3, 4.0


@dataclass(frozen=True)
class DoneJob:
    """A finished job: its record, its units, and its work against the reference sizes."""

    record: JobRecord
    units: float
    size: float


def measured_costs(session: Path) -> Costs:
    """Costs fitted to the job records of a session, rule by rule; shipped where it has none.

    CPU seconds are of jobs without a GPU; a job on a GPU tells how long it held it. Where a rule
    ran on a GPU alone, its CPU seconds stay the shipped ones.

    Raises
    ------
    BadInputError : it has no record of a finished job, or no config.yaml.
    """
    found = {rule: fit_jobs(rule, jobs) for rule, jobs in session_jobs(Path(session)).items()}
    origin = f"job records of {session}, else shipped figures"
    return Costs(dict(COSTS) | found, frozenset(found), origin)


def session_jobs(session: Path) -> dict[str, list[DoneJob]]:
    """The finished jobs of a session by rule, as far as the rule has a cost.

    Raises
    ------
    BadInputError : as `measured_costs`.
    """
    work = SessionWork(session, load_config(session / "config.yaml"))
    jobs = defaultdict(list)
    for record in session_records(session):
        if record.outcome == "done" and record.rule in COSTS:
            found = work.of(record.rule, record.wildcards)
            units = record.units.get(f"{COSTS[record.rule].unit}s", found.units)
            jobs[record.rule].append(DoneJob(record, float(units), size(record.rule, found)))
    if not jobs:
        raise BadInputError(session, "has no record of a finished job", "a session that has run")
    return dict(jobs)


def on_gpu(record: JobRecord) -> bool:
    """Whether a job computed on a GPU."""
    return (record.device or "").startswith("cuda")


def fit_jobs(rule: str, jobs: list[DoneJob]) -> Cost:
    """The cost of a rule from some of its jobs."""
    shipped = COSTS[rule]
    with_gpu = [job for job in jobs if on_gpu(job.record)]
    without = [job for job in jobs if not on_gpu(job.record)]
    cost, sources = shipped, []
    if without:
        took = [job.record.cpu_s for job in without]
        fixed_s, per_unit_s, how = _fit(rule, took, without)
        memory_mb = max(job.record.peak_rss_mb for job in without)
        per_mb = shipped.memory_per_unit_mb
        spared = max(memory_mb - per_mb * job.units for job in without)
        cost = replace(
            cost, fixed_s=fixed_s, per_unit_s=per_unit_s, memory_fixed_mb=max(200.0, spared)
        )
        sources.append(f"{len(without)} jobs on CPUs, {how}")
    if with_gpu:
        took = [job.record.wall_s for job in with_gpu]
        fixed_s, per_unit_s, how = _fit(rule, took, with_gpu)
        cost = replace(cost, gpu_fixed_s=fixed_s, gpu_per_unit_s=per_unit_s)
        sources.append(f"{len(with_gpu)} jobs on a GPU, {how}")
    return replace(cost, source="; ".join(sources))


def _fit(rule: str, took_s: list[float], jobs: list[DoneJob]) -> tuple[float, float, str]:
    """Fixed part and seconds for each unit, and how they were found."""
    units = np.array([job.units for job in jobs])
    sizes = np.array([job.size for job in jobs])
    worked_s = np.maximum(np.array(took_s) - START_S, 0.05)
    spread = np.unique(units)
    line = COSTS[rule].unit != "session" and len(spread) >= _LEAST_SIZES
    if line and spread[-1] >= _SPAN * max(spread[0], 1.0):
        cost, pairs = COSTS[rule], list(zip(units, sizes, strict=True))
        fixed = [cost.working_s(START_S + 1.0, 0.0, u, s) for u, s in pairs]
        design = np.stack([fixed, sizes * units], axis=1) / worked_s[:, None]
        (fixed_s, per_unit_s), _ = nnls(design, np.ones(len(units)))
        return START_S + float(fixed_s), float(per_unit_s), "a line through them"
    shipped = Costs.shipped()
    expected_s = np.array(
        [shipped.cpu_s(rule, u, s) - START_S for u, s in zip(units, sizes, strict=True)]
    )
    factor = float(np.median(worked_s / np.maximum(expected_s, 0.05)))
    cost = COSTS[rule]
    fixed_s = START_S + factor * (cost.fixed_s - START_S)
    return fixed_s, factor * cost.per_unit_s, f"{factor:.2g} times the shipped cost"
