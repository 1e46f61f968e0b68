"""Every failure of a cluster, some times each, on sessions that a test cluster runs.

The sessions process the same small movies as one that ran undisturbed on this machine. After each
failure the tables must be the same, no movie lost or processed twice, no work done by two jobs at a
time, no GPU held by two. Needs root and Debian's SLURM.

    python benchmarks/slurm_failures.py [--times 10] [--only "node failed,job cancelled"]
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from live_common import run, write_movies
from live_kill_resume import compare
from slurm_common import (
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
MOVIES = 8


def suffered(cluster: Cluster, session: Path, profile: Path, name: str) -> dict:
    """One session with one failure; what came of it."""
    began_s = time.monotonic()
    told = {"failure": name}
    if name == STARTER:
        told["jobs_left_behind"] = len(run_with_a_killed_starter(cluster, session, profile))
    else:
        run_disturbed(cluster, session, profile, [INJECTIONS[name]])
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
    """Print a line for each session and a summary; returns how many were not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default=",".join([*INJECTIONS, STARTER]))
    options = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    wrong: Counter = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_movies(folder / "movies", range(MOVIES))
        write_tiny_session(folder / "undisturbed", folder / "movies")
        run(folder / "undisturbed")
        profile = site_profile(folder / "profile")
        for name in options.only.split(","):
            for number in range(options.times):
                session = folder / f"{name.replace(' ', '_')}_{number}"
                write_tiny_session(session, folder / "movies")
                # a cluster of its own: nothing is left of the failure before
                with temporary_cluster() as cluster, on_cluster(cluster):
                    told = suffered(cluster, session, profile, name)
                    end = as_it_should_be(cluster, folder / "undisturbed", session)
                print(json.dumps(told | end), flush=True)
                bad = not end["same_end"] or end["lost"] or end["processed_twice"]
                wrong[name] += bool(bad or end["copies"] or end["gpus"])
    print(f"| failure | of {options.times}, not as without it |\n|---|---|")
    for name in options.only.split(","):
        print(f"| {name} | {wrong[name]} |")
    return min(100, wrong.total())


if __name__ == "__main__":
    sys.exit(main())
