"""Every kind of failure of one machine, injected ten times each, against an undisturbed session.

All sessions process the same small movies. For each kind: how often it was injected, whether the
table is the same in every column that is not a time, how many movies are lost, and how many were
processed twice to the end. docs/failures.md says what each kind is and what the user sees.

    python benchmarks/failures_local.py [--kinds killed,job_killed] [--movies 24] [--times 10]

`disk_full` needs a small file system of its own: it is mounted (a tmpfs) where this runs as root,
and left out elsewhere, visibly.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
from live_common import (
    kill_all,
    run,
    science,
    start,
    times_processed,
    wait_for,
    write_config,
    write_movies,
)
from live_kill_resume import compare, interrupted_run

from cryosnake import layout
from cryosnake.session.lock import record_path

#: What a movie's row depends on its batch and attempt for.
_PLACE = [
    *("csnBatch", "csnAttempt", "rlnMicrographName", "rlnMicrographMetadata"),
    "csnDoseReference_counts_per_angst2",  # of what was accepted before
]

#: Movies that hot pixels are found on: the first of a session.
HOT_PIXEL_MOVIES = 5


def kill_everything(starter: subprocess.Popen) -> bool:
    """SIGKILL to the starter and all that it started, at one moment."""
    kill_all(starter)
    return True


def kill_starter(starter: subprocess.Popen) -> bool:
    """SIGKILL to the starter alone: Snakemake and its jobs go on without it."""
    starter.kill()
    starter.wait()
    return True


def kill_snakemake(starter: subprocess.Popen) -> bool:
    """SIGKILL to Snakemake alone: its jobs go on without it."""
    children = psutil.Process(starter.pid).children()
    for child in children:
        child.kill()
    starter.wait()
    return bool(children)


def interrupt(starter: subprocess.Popen) -> bool:
    """Ctrl-C."""
    starter.send_signal(signal.SIGINT)
    return starter.wait() == 128 + signal.SIGINT


def close_terminal(starter: subprocess.Popen) -> bool:
    """The terminal is closed."""
    starter.send_signal(signal.SIGHUP)
    return starter.wait() == 128 + signal.SIGHUP


def stopping(session: Path, *options: str) -> Callable[[subprocess.Popen], bool]:
    """`cryosnake stop` in another shell."""

    def stop(starter: subprocess.Popen) -> bool:
        words = [sys.executable, "-m", "cryosnake.cli", "stop", str(session), *options]
        subprocess.run(words, check=True, capture_output=True)
        starter.wait()
        return True

    return stop


def rebooting(session: Path) -> Callable[[subprocess.Popen], bool]:
    """The machine stops and starts again: all is gone, and the record is of an earlier start."""

    def reboot(starter: subprocess.Popen) -> bool:
        kill_all(starter)
        path = record_path(session)
        if not path.exists():
            return False
        path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "an earlier one"}))
        then = time.time() - 120
        os.utime(path, (then, then))
        return True

    return reboot


def filling(session: Path) -> Callable[[subprocess.Popen], bool]:
    """The disk is full until the run has ended."""

    def fill(starter: subprocess.Popen) -> bool:
        ballast = session / "ballast"
        free = shutil.disk_usage(session).free
        with open(ballast, "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, free - 8192))
        code = starter.wait()
        ballast.unlink()
        return code != 0

    return fill


def run_beside_others(session: Path, times: int, seed: int) -> int:
    """A session that others try to start, too; returns how many were refused."""
    moments, refused = random.Random(seed), 0
    starter = start(session)
    wait_for(record_path(session).exists)
    while starter.poll() is None and refused < times:
        words = [sys.executable, "-m", "cryosnake.cli", "run", str(session)]
        second = subprocess.run(words, capture_output=True, text=True, check=False)
        if second.returncode == 1 and "is already run by process" in second.stderr:
            refused += 1
        time.sleep(moments.uniform(0, 1))
    if starter.wait():
        raise RuntimeError((session / "starter.log").read_text()[-6000:])
    run(session)
    return refused


def run_with_killed_jobs(session: Path, times: int, seed: int) -> int:
    """SIGKILL to one job after another some time after it began, as the kernel does when memory is
    short; the rest goes on. Returns how many were at work when it came."""
    moments, killed = random.Random(seed), 0
    while killed < times:
        starter = start(session)
        while starter.poll() is None and killed < times:
            time.sleep(moments.uniform(0.2, 2))
            with contextlib.suppress(psutil.NoSuchProcess):
                running = psutil.Process(starter.pid).children(recursive=True)
                jobs = [p for p in running if any("preprocess.py" in w for w in p.cmdline()[:3])]
                for job in jobs[-1:]:
                    job.kill()
                    killed += 1
        if starter.wait() == 0:
            break
    run(session)
    return killed


def run_with_vanishing_movies(session: Path, movies: list[Path], times: int, seed: int) -> int:
    """Movies are moved away once they are in a batch, and come back after the run."""
    # not the first ones: hot pixels are found on what is there of them, and change all a little
    away = random.Random(seed).sample(movies[max(HOT_PIXEL_MOVIES, len(movies) // 2) :], times)
    starter = start(session)
    wait_for(lambda: layout.closed_batches(session))
    time.sleep(0.5)  # all are closed by now, and Python is still starting in the first jobs
    for movie in away:
        movie.rename(movie.with_suffix(".away"))
    if starter.wait():
        raise RuntimeError((session / "starter.log").read_text()[-6000:])
    table = science(session)
    rejected = table[table["csnPassInput"] == 0]
    for movie in away:
        movie.with_suffix(".away").rename(movie)
    run(session)
    return len(rejected)


def compare_movies(straight: Path, other: Path, drop: list[str]) -> dict:
    """What differs movie by movie, wherever and as what attempt each was processed."""
    one, two = (
        science(s).drop(columns=drop).sort_values("rlnMicrographMovieName", ignore_index=True)
        for s in (straight, other)
    )
    lost = set(one["rlnMicrographMovieName"]) - set(two["rlnMicrographMovieName"])
    try:
        pd.testing.assert_frame_equal(one, two, check_exact=True)
        same = True
    except AssertionError as error:
        print(error)
        same = False
    counts = times_processed(other)
    return {"tables_identical": same, "lost": len(lost), "most_often_processed": int(counts.max())}


def run_with_wrong_times(session: Path, movies: list[Path], seed: int) -> int:
    """The clock of whoever wrote the movies was wrong: by up to two days, either way."""
    shifts = random.Random(seed)
    right = [movie.stat().st_mtime_ns for movie in movies]
    for number, movie in enumerate(movies):
        # the first five stay the first: hot pixels are found on them, and change all a little
        days = -2 if number < HOT_PIXEL_MOVIES else shifts.uniform(-2, 2)
        then = time.time() + days * 86400
        os.utime(movie, (then, then))
    run(session)
    for movie, time_ns in zip(movies, right, strict=True):
        os.utime(movie, ns=(time_ns, time_ns))
    return len(movies)


KINDS = (
    "killed",
    "starter_killed",
    "snakemake_killed",
    "job_killed",
    "interrupted",
    "terminal_closed",
    "stopped",
    "stopped_now",
    "rebooted",
    "disk_full",
    "two_starters",
    "movie_vanishes",
    "clock_skew",
)


def inject(kind: str, folder: Path, straight: Path, movies: list[Path], options) -> dict:
    """Inject one kind of failure into a session of its own; what came of it."""
    session = folder / kind
    if kind == "disk_full":
        session.mkdir()
        if os.geteuid() or not _small_file_system(session):
            return {"injected": 0, "left_out": "a tmpfs cannot be mounted here"}
    configure(session, movies[0].parent)
    times, seed = options.times, options.seed
    if kind == "two_starters":
        told = run_beside_others(session, times, seed)
    elif kind == "job_killed":
        told = run_with_killed_jobs(session, times, seed)
    elif kind == "movie_vanishes":
        told = run_with_vanishing_movies(session, movies, times, seed)
        return {"injected": told} | compare_movies(straight, session, _PLACE)
    elif kind == "clock_skew":
        told = run_with_wrong_times(session, movies, seed)
        return {"injected": told} | compare_movies(straight, session, [*_PLACE, "csnMovieMtime_s"])
    else:
        how = {
            "killed": kill_everything,
            "starter_killed": kill_starter,
            "snakemake_killed": kill_snakemake,
            "interrupted": interrupt,
            "terminal_closed": close_terminal,
            "stopped": stopping(session),
            "stopped_now": stopping(session, "--now"),
            "rebooted": rebooting(session),
            "disk_full": filling(session),
        }[kind]
        told = len(interrupted_run(session, how, times, seed, between_s=(1, options.latest_s)))
    result = {"injected": told} | compare(straight, session)
    leftovers = [p for p in (session / layout.RESULTS).rglob(".*-????????*") if p.is_file()]
    if kind == "disk_full":
        subprocess.run(["umount", str(session)], check=True)
    return result | {"half_written_files_left": len(leftovers)}


def _small_file_system(folder: Path) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def configure(session: Path, movies: Path) -> None:
    """Small batches, all alike: how they grow depends on what waits at that moment. Everything is
    accepted, so that the thresholds are reached."""
    milestones = {"size_micrographs": 6, "training_micrographs": 8}
    accept = {"reject_by": []}
    write_config(
        session,
        movies,
        ingest={"batch_movies": 4, "batch_movies_max": 4},
        milestones=milestones,
        curation=accept,
    )


def main() -> None:
    """Make the movies, run the undisturbed session, then inject one kind after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--movies", type=int, default=24, help="8 at least, and as many as --times")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--latest-s", type=float, help="latest moment of a failure; by default half a run"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        movies = write_movies(folder / "movies", range(options.movies))
        configure(folder / "straight", folder / "movies")
        started = time.perf_counter()
        run(folder / "straight")
        straight_s = time.perf_counter() - started
        options.latest_s = options.latest_s or straight_s / 2
        print(f"undisturbed: {straight_s:.0f} s", flush=True)
        for kind in options.kinds.split(","):
            started = time.perf_counter()
            result = inject(kind, folder, folder / "straight", movies, options)
            result["seconds"] = round(time.perf_counter() - started)
            print(kind, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
