"""Every failure of a cluster, some times each, on sessions that a test cluster runs.

For each kind one session suffers it time after time, on a cluster of its own. It processes the same
small movies as one that ran undisturbed on this machine: in the end the tables must be the same, no
movie lost or processed twice, no work done by two jobs at a time, no GPU held by two. Needs root
and Debian's SLURM. (Most of the time is waiting: several kinds can run beside each other.)

    python benchmarks/slurm_failures.py [--times 10] [--only "node failed,job cancelled"]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from live_common import run, write_movies
from live_kill_resume import compare
from slurm_common import (
    JOB_MOVIES,
    Cluster,
    allocations,
    copies,
    missing,
    on_cluster,
    shared_gpus,
    site_profile,
    temporary_cluster,
    write_tiny_session,
)
from slurm_injections import INJECTIONS, run_disturbed, run_with_a_killed_starter

STARTER = "starter killed"


def suffered(cluster: Cluster, session: Path, profile: Path, name: str, times: int) -> dict:
    """One session with one failure, some times; what came of it."""
    began_s = time.monotonic()
    told = {"failure": name, "injected": times}
    if name == STARTER:
        left = run_with_a_killed_starter(cluster, session, profile, times=times)
        told["jobs_left_behind"] = len(left)
    else:
        run_disturbed(cluster, session, profile, [INJECTIONS[name]] * times, timeout_s=3600)
    told["wall_s"] = round(time.monotonic() - began_s, 1)
    told["jobs"] = dict(Counter(job.state for job in allocations(cluster, session)))
    return told


def as_it_should_be(cluster: Cluster, undisturbed: Path, session: Path) -> dict:
    """What of the end state is as in the undisturbed session."""
    end = compare(undisturbed, session)
    return {
        "same_end": end["tables_identical"] and end["subset_rows_identical"],
        "lost": end["lost"],
        "processed_twice": end["processed_twice"],
        "copies": copies(cluster, session),
        "gpus": shared_gpus(cluster, session),
    }


def main() -> int:
    """Print a line for each kind of failure; returns how many were not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default=",".join([*INJECTIONS, STARTER]))
    options = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # two jobs run at a time and a failed node takes both: enough that each time finds new ones
        write_movies(folder / "movies", range(JOB_MOVIES * (2 * options.times + 2)))
        write_tiny_session(folder / "undisturbed", folder / "movies")
        run(folder / "undisturbed")
        profile = site_profile(folder / "profile")
        for name in options.only.split(","):
            session = folder / name.replace(" ", "_")
            write_tiny_session(session, folder / "movies")
            # a cluster of its own: nothing is left of the failure before
            with temporary_cluster() as cluster, on_cluster(cluster):
                try:
                    told = suffered(cluster, session, profile, name, options.times)
                    told |= as_it_should_be(cluster, folder / "undisturbed", session)
                except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
                    told = {"failure": name, "error": str(error)}
            print(json.dumps(told), flush=True)
            bad = "error" in told or not told["same_end"] or told["lost"]
            wrong += bool(bad or told["processed_twice"] or told["copies"] or told["gpus"])
    print(f"not as without failures: {wrong} of {len(options.only.split(','))} sessions")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
