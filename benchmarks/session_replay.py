"""A 48-hour session in minutes: 20,000 movies through the real workflow, tables and report.

The heavy steps are replaced by ones that sleep for their usual time divided by `--speedup` and
leave true-to-life tables (see `tests/replay`); everything else is the project's own code, started
by `cryosnake run --watch`. One job in fifty fails at its first attempt, one movie in a hundred
cannot be read, some vanish, some have names that cannot be taken in.

    python benchmarks/session_replay.py [--movies 20000] [--kill 1] [--jobs jobs.csv]

Prints what the starter and Snakemake used, how the cost of looking at the DAG grows, how soon a
batch is noticed, and what tables, report and a run with nothing to do cost afterwards. CPU seconds
are those of the processes, whatever else the machine does.
"""

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from live_common import kill_all

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from replay.check import complete  # noqa: E402
from replay.microscope import Microscope  # noqa: E402
from replay.notes import jobs_csv, read_notes  # noqa: E402
from replay.plan import Plan  # noqa: E402
from replay.samples import FOLDER  # noqa: E402
from replay.session import USUAL, prepare, start  # noqa: E402

from cryosnake import layout  # noqa: E402
from cryosnake.config import load_config  # noqa: E402
from cryosnake.quick_star import read_columns  # noqa: E402
from cryosnake.session.publish import publish_report  # noqa: E402
from cryosnake.session.tables import refresh  # noqa: E402

#: Of a session of 48 hours with 20,000 movies.
USUAL_S = 8.64


class Watch(threading.Thread):
    """CPU seconds and peak memory in MB of a starter and its Snakemake, sampled until it ends."""

    def __init__(self, starter: psutil.Popen):
        super().__init__(daemon=True)
        self.starter = psutil.Process(starter.pid)
        self.used: dict[str, dict] = {}

    def run(self) -> None:
        while self.starter.is_running() and self.starter.status() != psutil.STATUS_ZOMBIE:
            try:
                self._note("starter", self.starter)
                for child in self.starter.children():
                    if "snakemake" in child.cmdline():
                        self._note(f"snakemake {child.pid}", child)
            except psutil.Error:
                continue  # gone meanwhile
            time.sleep(0.5)

    def _note(self, name: str, process: psutil.Process) -> None:
        times, peak_mb = process.cpu_times(), process.memory_info().rss / 2**20
        before = self.used.get(name, {"peak_mb": 0})
        self.used[name] = {
            "cpu_s": round(times.user + times.system, 1),
            "peak_mb": round(max(before["peak_mb"], peak_mb)),
        }


def replayed(session: Path, arguments) -> dict:
    """Run the session as it arrives, with as many kills as wanted; what that took."""
    scope = Microscope(session, arguments.movies, every_s=USUAL_S / arguments.speedup)
    began, used, kills = time.monotonic(), [], 0
    scope.start()
    while True:
        starter = start(session, "--watch", cores=arguments.cores)
        watch = Watch(starter)
        watch.start()
        wanted = (kills + 1) * arguments.movies // (arguments.kill + 1)
        while starter.poll() is None:
            if kills < arguments.kill and _processed(session) >= wanted:
                kill_all(starter)
                kills += 1
                break
            time.sleep(1)
        watch.join()
        used.append(watch.used)
        if starter.returncode >= 0:
            break
    scope.join()
    return {
        "exit_code": starter.returncode,
        "wall_s": round(time.monotonic() - began),
        "runs": used,
        "problems": complete(session, scope),
    }


def _processed(session: Path) -> int:
    """Movies with a picture: all these are links to one sample."""
    return (session / FOLDER / "sample_thumb.png").stat().st_nlink - 1


def noticing(session: Path) -> dict:
    """How soon batches were noticed: seconds from a batch's last movie to its closing, and from
    there to the submission of its first job."""
    jobs = read_notes(session, "job")
    jobs = jobs[(jobs["rule"] == "preprocess") & (jobs["attempt"] == 1)]
    submitted = {row.wildcards["batch"]: row.start_s for row in jobs.itertuples()}
    waits = []
    for batch in layout.closed_batches(session):
        path = session / layout.batch_star(batch)
        closed_s = path.stat().st_mtime
        times = [float(one) for (one,) in read_columns(path, "movies", ["csnMovieMtime_s"])]
        if batch in submitted:
            waits.append((closed_s - max(times), submitted[batch] - closed_s))
    found = np.array(waits)
    return {
        name: dict(
            zip(("median", "p95"), np.round(np.percentile(column, [50, 95]), 2), strict=True)
        )
        for name, column in zip(
            ("arrival_to_closed_s", "closed_to_submitted_s"), found.T, strict=True
        )
    }


def looks(session: Path) -> list[dict]:
    """What a look at the DAG cost, in four parts of the session."""
    table = read_notes(session, "look")
    parts = np.array_split(np.arange(len(table)), 4)
    return [
        {
            "jobs_in_dag": int(table["jobs"].iloc[part].mean()),
            "looks": len(part),
            "cpu_s_each": round(table["cpu_s"].iloc[part].mean(), 2),
        }
        for part in parts
        if len(part)
    ]


def by_rule(session: Path) -> pd.DataFrame:
    """Jobs, their CPU seconds and peak memory, by rule."""
    jobs = read_notes(session, "job")
    jobs["failed"] = jobs["problem"].notna()
    told = {"attempt": "count", "failed": "sum", "cpu_s": ["sum", "max"], "peak_mb": "max"}
    return jobs.groupby("rule").agg(told).round(1)


def cpu_of(action) -> float:
    """CPU seconds of this process for something."""
    before = time.process_time()
    action()
    return round(time.process_time() - before, 2)


def nothing_to_do(session: Path, cores: int) -> dict:
    """What a run costs that finds nothing to do."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = start(session, cores=cores).wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = (session / layout.RESULTS / "logs" / "run.log").read_text()
    return {
        "exit_code": code,
        "nothing_to_do": "Nothing to be done" in said.rpartition("snakemake --snakefile")[2],
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "wall_s": round(time.monotonic() - began, 1),
    }


def noticed_late(session: Path, arguments) -> dict:
    """How soon a batch is noticed when all of the session is there: one batch at a time."""
    config = load_config(session / "config.yaml")
    (session / "movies" / "END").unlink()
    (session / "replay_notes.jsonl").rename(session / "replay_notes_before.jsonl")
    starter = start(session, "--watch", cores=arguments.cores)
    first = len(layout.closed_batches(session))
    for number in range(arguments.late):
        wanted = len(layout.closed_batches(session)) + 1
        Microscope(
            session,
            config.ingest.batch_movies,
            first=arguments.movies + number * config.ingest.batch_movies,
            every_s=0.0,
            end=False,
        ).run()
        batch = layout.batch_name(wanted - 1)
        while not (session / layout.batch_table(batch)).exists() and starter.poll() is None:
            time.sleep(0.5)
        time.sleep(arguments.pause_s)
    (session / "movies" / "END").touch()
    code = starter.wait()
    return {"batches": len(layout.closed_batches(session)) - first, "exit_code": code} | noticing(
        session
    )


def main() -> None:
    """Prepare, replay, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=20_000)
    parser.add_argument("--speedup", type=float, default=1000)
    parser.add_argument("--particles", type=int, default=200, help="on a micrograph")
    parser.add_argument("--cores", type=int, default=24)
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--batch-movies-max", type=int, help="20: all batches are alike")
    parser.add_argument("--kill", type=int, default=0, help="times the starter is killed")
    parser.add_argument("--late", type=int, default=3, help="batches that come at the end, singly")
    parser.add_argument("--pause-s", type=float, default=60, help="between those")
    parser.add_argument("--folder", type=Path, help="kept; otherwise temporary")
    parser.add_argument("--jobs", type=Path, help="write the jobs to this CSV file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        session = (arguments.folder or Path(temporary)) / "session"
        plan = Plan(speedup=arguments.speedup, particles=arguments.particles)
        ingest = {**USUAL["ingest"], "batch_movies_max": arguments.batch_movies_max}
        prepare(session, plan, gpus=arguments.gpus, ingest=ingest)
        told = {"movies": arguments.movies, **replayed(session, arguments)}
        told |= {"looks": looks(session), "noticed": noticing(session)}
        jobs = by_rule(session)
        if arguments.jobs:
            jobs_csv(session, arguments.jobs)
        told["overhead_cpu_s_per_movie"] = round(
            sum(one["cpu_s"] for run in told["runs"] for one in run.values()) / arguments.movies, 4
        )
        told["no_op"] = nothing_to_do(session, arguments.cores)
        config = load_config(session / "config.yaml")
        told["tables_cpu_s"] = cpu_of(lambda: refresh(session, config))
        told["report_cpu_s"] = cpu_of(lambda: publish_report(session, config))
        told["report_mb"] = round((session / layout.REPORT).stat().st_size / 1e6, 1)
        if arguments.late:
            told["noticed_at_the_end"] = noticed_late(session, arguments)
        print(json.dumps(told, indent=1))
        print(jobs.to_string())


if __name__ == "__main__":
    main()
