"""A session killed with SIGKILL at random moments and resumed, against an uninterrupted one.

Both process the same small movies. The tables must be the same in every column that is not a
time, every movie must be there, and none may be processed twice to the end.

    python benchmarks/live_kill_resume.py [--movies 200] [--kills 10] [--seed 1]
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from live_common import (
    kill_all,
    run,
    science,
    start,
    times_processed,
    write_config,
    write_movies,
)

from cryosnake import layout


def finished_movies(session: Path) -> int:
    """Movies in the journals."""
    journals = (session / layout.PREPROCESS).glob("*/movies.jsonl")
    return sum(path.read_text().count("\n") for path in journals)


def interrupted_run(
    session: Path,
    interrupt: Callable[[subprocess.Popen], bool],
    times: int,
    seed: int,
    *,
    between_s: tuple[float, float],
) -> list[dict]:
    """Start and interrupt a session at random moments, then let it finish.

    Parameters
    ----------
    interrupt : is given the running starter, and returns when that has ended; False where there was
        nothing to interrupt.

    Returns
    -------
    For each time, after how many seconds it came and how many movies were finished then. A run
    that came to its end before its moment does not count.
    """
    moments = random.Random(seed)
    told = []
    while len(told) < times:
        starter = start(session)
        after_s = moments.uniform(*between_s)
        try:
            if starter.wait(timeout=after_s):
                raise RuntimeError((session / "starter.log").read_text()[-6000:])
            break  # nothing is left to interrupt
        except subprocess.TimeoutExpired:
            if interrupt(starter):
                moment = {"after_s": round(after_s, 1), "movies_finished": finished_movies(session)}
                told.append(moment)
            elif starter.returncode == 0:
                break  # it ended by itself
    run(session)
    return told


def killed_run(
    session: Path, kills: int, seed: int, *, between_s: tuple[float, float]
) -> list[dict]:
    """A session whose starter is killed at random moments, with all that it started."""

    def kill(starter: subprocess.Popen) -> bool:
        kill_all(starter)
        return True

    return interrupted_run(session, kill, kills, seed, between_s=between_s)


def compare(straight: Path, interrupted: Path) -> dict:
    """What differs between the two sessions."""
    one, other = science(straight), science(interrupted)
    try:
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        same = True
    except AssertionError as error:
        print(error)
        same = False
    subsets = [
        (folder / layout.subset_star(name)).read_text().split("data_", 1)[1]
        for folder in (straight, interrupted)
        for name in ("size", "training")
        if (folder / layout.subset_star(name)).exists()
    ]
    counts = times_processed(interrupted)
    half = len(subsets) // 2
    return {
        "tables_identical": same,
        "subsets": half,
        "subset_rows_identical": [s.count("\n") for s in subsets[:half]]
        == [s.count("\n") for s in subsets[half:]],
        "movies": len(other),
        "lost": len(set(one["rlnMicrographMovieName"]) - set(other["rlnMicrographMovieName"])),
        "processed_twice": int((counts > 1).sum()),
    }


def main() -> None:
    """Make the movies, run both sessions, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latest-s", type=float, default=20, help="latest moment of a kill")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        movies, straight, interrupted = (Path(folder) / n for n in ("movies", "one", "other"))
        write_movies(movies, range(arguments.movies))
        milestones = {"size_micrographs": 20, "training_micrographs": arguments.movies // 2}
        for session in (straight, interrupted):
            # everything is accepted, so that the thresholds are reached
            write_config(session, movies, milestones=milestones, curation={"reject_by": []})
        started = time.perf_counter()
        run(straight)
        straight_s = time.perf_counter() - started
        started = time.perf_counter()
        kills = killed_run(
            interrupted, arguments.kills, arguments.seed, between_s=(1, arguments.latest_s)
        )
        result = {
            "uninterrupted_s": round(straight_s),
            "interrupted_s": round(time.perf_counter() - started),
            "kills": len(kills),
            "moments": kills,
        }
        print(json.dumps(result | compare(straight, interrupted), indent=1))


if __name__ == "__main__":
    main()
