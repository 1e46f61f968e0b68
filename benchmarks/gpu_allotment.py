"""GPU seconds allotted against used: a GPU for each action, or a GPU for each stage.

    python benchmarks/gpu_allotment.py --session SESSION         # job records of a session
    python benchmarks/gpu_allotment.py --jobs jobs.csv --hours H # rule, nominal_s, gpu of each job
    python benchmarks/gpu_allotment.py --plan 3d --movies 20000  # jobs of a simulated session

The same jobs under three schemes. *Granular*: a job holds a GPU from its start to its end, the
start of its program (`--start-s`) included. *Static*: each stage has GPUs of its own for the whole
session, one or as many as its jobs keep busy. *Static, from its first job*: the same, but a stage
takes its GPUs only when it begins. A session lasts as long as its jobs do, or the hours given.

Where durations are from: job records of a session that ran without a GPU hold what its jobs took
on CPU cores; they count as if a GPU had been held for that long. `nominal_s` of a replay are usual
durations, not measured here. Simulated sessions take the shipped costs, which are of CPUs, divided
by `--faster`: no step of this project was ever timed on a GPU, so several factors are shown.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cryosnake.config import load_config
from cryosnake.config.load import read_template
from cryosnake.plan.chain import Chain
from cryosnake.plan.costs import PARALLEL, START_S, Costs
from cryosnake.plan.fit import on_gpu
from cryosnake.plan.resources import GPU_RULES
from cryosnake.plan.terms import Pace, Site
from cryosnake.session.job_record import session_records

STAGES = {
    "preprocessing": ("preprocess",),
    "picking": ("pick_training", "train_picker", "pick"),
    "2D": ("class2d", "stream_class2d", "branch2d"),
    "3D": ("abinitio", "class3d", "branch3d"),
    "refinement": ("refine", "forecast"),
}


def of_session(session: Path) -> tuple[pd.DataFrame, str]:
    """The jobs that use a GPU, or would: rule, start_s, end_s, used_s."""
    rows, gpus = [], 0
    for record in session_records(session):
        if record.ended_s is not None and record.rule in GPU_RULES:
            used_s = record.lease_s or record.wall_s
            if record.wildcards.get("picker", "network") == "network":
                rows.append((record.rule, record.started_s, record.ended_s, used_s))
                gpus += on_gpu(record)
    origin = f"job records of a session; {gpus} of {len(rows)} jobs ran on a GPU"
    return pd.DataFrame(rows, columns=["rule", "start_s", "end_s", "used_s"]), origin


def of_table(path: Path, hours: float) -> tuple[pd.DataFrame, str]:
    """Those of a replay's table; its clock is stretched to the hours that it stands for."""
    jobs = pd.read_csv(path)
    stretch = hours * 3600 / (jobs["end_s"].max() - jobs["start_s"].min())
    begun_s = jobs["start_s"].min()
    jobs = jobs[(jobs["gpu"] > 0) & (jobs["nominal_s"] > 0)]
    start_s = (jobs["start_s"] - begun_s) * stretch
    table = pd.DataFrame({"rule": jobs["rule"], "start_s": start_s, "used_s": jobs["nominal_s"]})
    return table.assign(end_s=table["start_s"] + table["used_s"]), f"usual durations, {path.name}"


def of_plan(template: str, pace: Pace, site: Site, faster: float) -> tuple[pd.DataFrame, str]:
    """Those of a simulated session whose GPUs are so many times faster than two cores."""
    shipped, two = Costs.shipped(), (1 - PARALLEL) + PARALLEL / 2

    def timed(rule: str):
        cost = shipped.table[rule]
        fixed_s = START_S + (cost.fixed_s - START_S) * two / faster
        per_s = cost.per_unit_s * two / faster
        return replace(cost, gpu_fixed_s=fixed_s, gpu_per_unit_s=per_s)

    table = {rule: timed(rule) if rule in GPU_RULES else c for rule, c in shipped.table.items()}
    chain = Chain(load_config(read_template(template)), replace(shipped, table=table), pace, site)
    runs = [run for run in chain.run().machine.runs if run.job.gpus]
    rows = [(r.job.rule, r.start_s, r.end_s, r.end_s - r.start_s - site.start_s) for r in runs]
    jobs = pd.DataFrame(rows, columns=["rule", "start_s", "end_s", "used_s"])
    return jobs, f"simulated, {site.gpus} GPUs {faster:g} times faster than two cores"


def allotted(jobs: pd.DataFrame, start_s: float, hours: float | None) -> dict[str, float]:
    """GPU hours used, and allotted by each scheme."""
    begun_s, ended_s = jobs["start_s"].min(), jobs["end_s"].max()
    length_s = max(ended_s - begun_s, (hours or 0) * 3600)
    held_s = (jobs["end_s"] - jobs["start_s"]).clip(lower=jobs["used_s"] + start_s)
    static_s = late_s = gpus = 0
    for rules in STAGES.values():
        own = jobs[jobs["rule"].isin(rules)]
        if own.empty:
            continue
        own_held_s = held_s[own.index].sum()
        number = max(1, math.ceil(own_held_s / length_s))
        gpus += number
        static_s += number * length_s
        late_s += number * (begun_s + length_s - own["start_s"].min())
    return {
        "session h": length_s / 3600,
        "jobs": len(jobs),
        "used": jobs["used_s"].sum() / 3600,
        "granular": held_s.sum() / 3600,
        "static": static_s / 3600,
        "static GPUs": gpus,
        "from first job": late_s / 3600,
    }


def main() -> None:
    """Print GPU hours and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--session", type=Path)
    parser.add_argument("--jobs", type=Path)
    parser.add_argument("--plan")
    parser.add_argument("--hours", type=float, help="that the session lasts")
    parser.add_argument("--start-s", type=float, default=12.0, help="start of a job's program")
    parser.add_argument("--movies", type=int, default=20000)
    parser.add_argument("--seconds-per-movie", type=float, default=6.0)
    parser.add_argument("--particles-per-micrograph", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--faster", default="1,5,20")
    options = parser.parse_args()
    found = []
    if options.session:
        found.append(of_session(options.session))
    if options.jobs:
        if options.hours is None:
            parser.error("--jobs needs --hours")
        found.append(of_table(options.jobs, options.hours))
    if options.plan:
        pace = Pace(options.movies, options.seconds_per_movie, options.particles_per_micrograph)
        site = Site(64, options.gpus, options.start_s, scheduler=True)
        found += [of_plan(options.plan, pace, site, float(f)) for f in options.faster.split(",")]
    rows = []
    for jobs, origin in found:
        row = allotted(jobs, options.start_s, options.hours)
        row["static / granular"] = row["static"] / row["granular"]
        row["from first job / granular"] = row["from first job"] / row["granular"]
        row["granular / used"] = row["granular"] / row["used"]
        rows.append(row | {"durations": origin})
    print("GPU hours\n")
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
