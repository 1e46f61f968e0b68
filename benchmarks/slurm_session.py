"""A small session from movies to the map, through a test cluster and without: what SLURM costs.

    python benchmarks/slurm_session.py [--tiny]

`--tiny`: up to the curated micrographs. Needs root and Debian's SLURM.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from live_common import run, write_movies
from slurm_common import (
    ROOT,
    Cluster,
    allocations,
    copies,
    missing,
    on_cluster,
    records,
    shared_gpus,
    site_profile,
    temporary_cluster,
    write_tiny_session,
)

sys.path.insert(0, str(ROOT / "tests/slurm"))

from small_session import simulate, write_small_session


def timed_run(session: Path, *arguments: str) -> float:
    """Seconds of the clock for a session."""
    began_s = time.monotonic()
    run(session, *arguments, timeout_s=7200)
    return time.monotonic() - began_s


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.tiny:
            write_movies(folder / "movies", range(8))
        else:
            simulate(folder)
        for name in ("local", "slurm"):
            write = write_tiny_session if options.tiny else write_small_session
            write(folder / name, folder / "movies")
        walls_s = {"local": timed_run(folder / "local")}
        profile = site_profile(folder / "profile")
        began_s = time.monotonic()
        with temporary_cluster() as cluster, on_cluster(cluster):
            print(f"cluster up: {time.monotonic() - began_s:.1f} s")
            walls_s["slurm"] = timed_run(folder / "slurm", "--profile", str(profile))
            show(cluster, folder / "slurm")
    for name, wall_s in walls_s.items():
        print(f"session, {name}: {wall_s:.0f} s")
    return 0


def show(cluster: Cluster, session: Path) -> None:
    """What the jobs had, beside what they used of it."""
    jobs, made = allocations(cluster, session), records(session)
    finished = [(job, made[job.number]) for job in jobs if job.number in made]
    around_s = [job.end_s - job.start_s - record.wall_s for job, record in finished]
    before_s = [record.started_s - job.start_s for job, record in finished]
    with_gpu = [(job, record) for job, record in finished if job.gpus]
    allotted_s = sum((job.end_s - job.start_s) * job.gpus for job, _ in with_gpu)
    print(f"jobs: {len(jobs)}, of which {sum(job.gpus > 0 for job in jobs)} with a GPU")
    print(f"around a job's work: {median(around_s):.1f} s, of which before: {median(before_s):.1f}")
    print(f"GPU: allotted {allotted_s:.0f} s, leased {sum(r.lease_s for _, r in with_gpu):.0f} s")
    print(f"GPUs not as they should be: {shared_gpus(cluster, session) or 'none'}")
    print(f"work done by two jobs at a time: {copies(cluster, session) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
