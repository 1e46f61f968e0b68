"""A plan held against a session that ran: what was predicted, and what it really took.

    python benchmarks/plan_check.py SESSION [--cores 2] [--finish]

Two things are checked apart. *Costs*: seconds of each rule's jobs against the shipped costs at this
session's sizes, and against a fit to the other jobs of the same rule (the job itself left out,
where there are several). *Chain*: when things were reached, against the simulated chain, once with
the shipped costs, and once with each job as long as it really was (the first job of a rule the
first time, and so on). The session must have been run in one go (rerun mode, no GPU) on an idle
machine. Times are those of the job records; of a session without records, those that Snakemake
kept, which hold the start of Python.
"""

import argparse
import json
import re
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.plan.chain import Chain
from cryosnake.plan.costs import COSTS, PARALLEL, START_S, Costs
from cryosnake.plan.fit import DoneJob, fit_jobs
from cryosnake.plan.sizes import size
from cryosnake.plan.terms import Pace, Site
from cryosnake.quick_star import read_tables
from cryosnake.session.job_record import JobRecord, session_records, units_of
from cryosnake.session.job_work import SessionWork


def records_of(session: Path) -> list[JobRecord]:
    """The finished jobs of a session in order of their start."""
    records = [r for r in session_records(session) if r.outcome == "done"]
    if not records:
        found = {}
        for path in (session / ".snakemake" / "metadata").rglob("*"):
            if path.is_file():
                one = json.loads(path.read_text())
                if one.get("endtime") and one.get("log"):
                    found[one["log"][0]] = (one["rule"], one["starttime"], one["endtime"])
        records = [from_snakemake(session, log, *times) for log, times in found.items()]
    return sorted(records, key=lambda r: r.started_s)


def from_snakemake(session: Path, log: str, rule: str, start_s: float, end_s: float) -> JobRecord:
    """What a job's record would tell, as far as Snakemake knows."""
    number = re.search(r"/(\d+)(?:_branch2d_(\d))?[^/]*\.log$", log)
    wildcards = {}
    if match := re.search(r"b\d{5}", log):
        wildcards["batch"] = match[0]
    elif number and rule not in ("tally", "tally_particles"):
        wildcards["particles"] = number[1]
        if number[2]:
            wildcards["number"] = number[2]
    record = JobRecord(rule, wildcards, start_s, end_s, threads=2, outcome="done")
    record.units = units_of(session, wildcards)
    return record


def jobs_of(session: Path, records: list[JobRecord]) -> dict[str, list[DoneJob]]:
    """The jobs with a cost, by rule; CPU seconds are those that take as long on two threads."""
    work = SessionWork(session, load_config(session / "config.yaml"))
    jobs = defaultdict(list)
    for record in records:
        if record.rule in COSTS:
            found = work.of(record.rule, record.wildcards)
            units = record.units.get(f"{COSTS[record.rule].unit}s", found.units)
            shared = (1 - PARALLEL) + PARALLEL / record.threads
            record.cpu_s = START_S + max(0.0, record.wall_s - START_S) / shared
            jobs[record.rule].append(DoneJob(record, float(units), size(record.rule, found)))
    return dict(jobs)


def costs_table(jobs: dict[str, list[DoneJob]]) -> pd.DataFrame:
    """Seconds of each rule, and the two predictions of them."""
    shipped, rows = Costs.shipped(), []

    def expected(costs: Costs, rule: str, job: DoneJob) -> float:
        return costs.duration_s(rule, job.units, job.record.threads, size=job.size)

    for rule, found in jobs.items():
        real_s = sum(job.record.wall_s for job in found)
        fits = []
        for i, job in enumerate(found if len(found) > 1 else []):
            others = found[:i] + found[i + 1 :]
            fits.append(expected(Costs({rule: fit_jobs(rule, others)}), rule, job))
        rows.append(
            {
                "rule": rule,
                "jobs": len(found),
                "real s": real_s,
                "shipped costs s": sum(expected(shipped, rule, job) for job in found),
                "fit to the others s": sum(fits) if fits else np.nan,
            }
        )
    return pd.DataFrame(rows).sort_values("real s", ascending=False)


def reached(records: list[JobRecord]) -> tuple[dict[str, float], float]:
    """When things were reached, in seconds since the first job began; and when the last ended."""
    begun_s = records[0].started_s
    times: dict[str, float] = {}
    for record in sorted(records, key=lambda r: r.ended_s):
        number = int(record.wildcards.get("particles", 0))
        name = {
            "preprocess": "first batch processed",
            "train_picker": "picker trained",
            "assess_class2d": f"2D classes of {number:,}",
            "class3d": f"volume of {number:,}",
            "reextract": f"particles for the map of {number:,}",
            "refine": f"map of {number:,}",
        }.get(record.rule)
        if name:
            times.setdefault(name, record.ended_s - begun_s)
    return times, max(r.ended_s for r in records) - begun_s


class Recorded(Costs):
    """Costs by which the jobs of a rule take as long as they did, one after the other."""

    def __init__(self, records: list[JobRecord]):
        super().__init__(dict(COSTS))
        walls = defaultdict(deque)
        for record in records:
            walls[record.rule].append(record.wall_s)
        object.__setattr__(self, "walls", walls)

    def duration_s(self, rule: str, units, threads=1, *, gpu=False, size=1.0) -> float:
        """The next real time of the rule; 0 where the simulation has more jobs than there were."""
        left = self.walls.get(rule)
        return left.popleft() if left else 0.0


def simulated(session: Path, costs: Costs, cores: int, start_s: float, finish: bool) -> dict:
    """When things are reached in the simulated chain."""
    config = load_config(session / "config.yaml")
    ingest = config.ingest.model_copy(update={"settle_s": 0.0, "poll_s": 0.01})
    config = config.model_copy(update={"ingest": ingest})
    movies = read_tables(
        [session / layout.batch_table(b) for b in layout.closed_batches(session)], "micrographs"
    )
    accepted = float((movies["csnAccepted"] == 1).mean())
    counts = [session / layout.extracted_counts(b) for b in layout.closed_batches(session)]
    particles = sum(int(pd.read_csv(path)["extracted"].sum()) for path in counts if path.exists())
    pace = Pace(len(movies), 1e-3, particles / (accepted * len(movies)), accepted, 1.0)
    movie = SessionWork(session, config).movie
    chain = Chain(config, costs, pace, Site(cores, start_s=start_s), movie, finish=finish)
    outcome = chain.run()
    for run in outcome.machine.runs:
        if run.job.rule == "reextract":
            name = next(n for n in outcome.reached if n.startswith("map of"))
            outcome.reached[f"particles for the {name}"] = run.end_s
    return outcome.reached


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("session", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--finish", action="store_true", help="it made a last round")
    options = parser.parse_args()
    records = records_of(options.session)
    table = costs_table(jobs_of(options.session, records))
    print("Costs\n")
    print(table.to_markdown(index=False, floatfmt=".1f"))
    whole = table[["real s", "shipped costs s"]].sum()
    print(f"\nall: {whole['real s']:.0f} s, by shipped costs {whole['shipped costs s']:.0f} s")
    real, _ = reached(records)
    ask = (options.session, options.cores)
    shipped = simulated(ask[0], Costs.shipped(), ask[1], 0.5, options.finish)
    replayed = simulated(ask[0], Recorded(records), ask[1], 0.0, options.finish)
    rows = [
        {
            "what": name,
            "real s": time_s,
            "shipped costs s": shipped.get(name, np.nan),
            "ratio": shipped.get(name, np.nan) / time_s,
            "its own times s": replayed.get(name, np.nan),
            "ratio of those": replayed.get(name, np.nan) / time_s,
        }
        for name, time_s in real.items()
    ]
    print("\nChain: seconds since the first job began\n")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
