"""The starter: one at a time, nothing left of an earlier one, and a line that says how it goes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryosnake.config import load_config
from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.session.orphans import MARK, local_orphans
from cryosnake.session.progress import Jobs, Progress, progress_line
from cryosnake.session.starter import (
    ROOT,
    Order,
    clear_leftovers,
    command,
    find_profile,
    session_lock,
    visible_gpus,
)

LOCAL = ROOT / "profiles" / "local"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    (tmp_path / "movies").mkdir()
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    return tmp_path


def cryosnake(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cryosnake.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_second_starter_is_refused_and_told_who_runs_the_session(session):
    with session_lock(session, Order(session, watch=True)):
        done = cryosnake("run", session)
    assert done.returncode == 1
    assert f"process {os.getpid()} on " in done.stderr
    assert "watch mode" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_lock_is_free_after_a_starter_was_killed(session):
    code = (
        "import sys, time; from pathlib import Path; "
        "from cryosnake.session.starter import *; s = Path(sys.argv[1]);\n"
        "with session_lock(s, Order(s)):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(session)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(SessionStopError, match=str(holder.pid)),
        session_lock(session, Order(session)),
    ):
        pass
    holder.kill()
    holder.wait()
    with session_lock(session, Order(session)):
        pass


def test_what_a_killed_run_left_behind_is_ended_before_locks_are_cleared(session):
    locks = session / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleep, env=os.environ | {MARK: os.path.realpath(session)})
    other = subprocess.Popen(sleep, env=os.environ | {MARK: "/another/session"})
    try:
        end = time.monotonic() + 10
        while not local_orphans(session) and time.monotonic() < end:
            time.sleep(0.05)
        said = []
        clear_leftovers(session, LOCAL, said.append)
        assert local_orphans(session) == []
        assert other.poll() is None
        assert not list(locks.iterdir())
        assert said == ["ending 1 processes that a killed run left behind"]
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_a_snakemake_started_by_hand_is_not_touched_but_refused(session):
    by_hand = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "snakemake"], cwd=session
    )
    try:
        end = time.monotonic() + 10
        while Path(f"/proc/{by_hand.pid}/cmdline").read_bytes().find(b"snakemake") < 0:
            assert time.monotonic() < end
        with pytest.raises(SessionStopError, match=str(by_hand.pid)):
            clear_leftovers(session, LOCAL, print)
        assert by_hand.poll() is None
    finally:
        by_hand.kill()
        by_hand.wait()


def test_cluster_jobs_of_an_earlier_run_are_refused(session, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("bin")
    squeue = folder / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '17|{session.resolve()}'\necho '18|/elsewhere'\n")
    squeue.chmod(0o755)
    profile = tmp_path_factory.mktemp("profile")
    (profile / "config.yaml").write_text("executor: slurm\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(SessionStopError, match="SLURM jobs 17 of"):
        clear_leftovers(session, profile, print)
    clear_leftovers(session, LOCAL, print)  # a run on this machine has no cluster jobs


def test_a_wrong_value_is_answered_in_one_line_before_any_job_runs(session):
    (session / "config.yaml").write_text("input: {path: movies}\ningest: {batch_movies: 0}\n")
    done = cryosnake("run", session)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "ingest.batch_movies = 0" in line
    assert not (session / "results").exists()
    by_hand = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
        + ["--configfile", str(session / "config.yaml"), "--directory", str(session), "-c1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert by_hand.returncode == 1
    assert "ingest.batch_movies = 0" in by_hand.stdout + by_hand.stderr
    assert "Traceback" not in by_hand.stdout + by_hand.stderr


def test_a_missing_movie_folder_is_named(session):
    (session / "config.yaml").write_text("input: {path: nowhere}\n")
    done = cryosnake("run", session)
    assert done.returncode == 1
    assert "input.path = nowhere" in done.stderr


def test_the_command_line_is_what_one_would_type(session):
    config = load_config(session / "config.yaml")
    words = command(Order(session, cores=3), config, LOCAL, "watch")
    assert words[words.index("--cores") + 1] == "3"
    assert words[words.index("--config") + 1] == "ingest={mode: watch}"
    assert find_profile("local") == LOCAL
    with pytest.raises(BadInputError, match="local"):
        find_profile("nowhere")


def test_gpus_are_counted_as_the_job_sees_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert visible_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == 0


def test_the_command_line_starts_without_torch():
    code = "import sys, cryosnake.cli, cryosnake.session.starter; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_running_jobs_are_read_from_what_snakemake_prints():
    jobs = Jobs()
    for line in (
        "localcheckpoint ingest:",
        "    jobid: 1",
        "rule preprocess:",
        "    jobid: 4",
        "rule preprocess:",
        "    jobid: 5",
        "localcheckpoint tally:",
        "    jobid: 6",
        "Finished jobid: 4 (Rule: preprocess)",
        "Error in rule tally:",
        "    jobid: 6",
    ):
        jobs.read(line + "\n")
    assert jobs.running() == "preprocess"
    assert jobs.failed == ["tally"]
    jobs.read("Nothing to be done (all requested files are present and up to date).\n")
    assert jobs.nothing_to_do


def test_the_progress_line_says_what_an_operator_asks():
    progress = Progress(seen=30, processed=20, accepted=17, threshold=("size", 12, 100))
    assert progress_line(progress, "preprocess 2") == (
        "movies 30 seen, 20 processed, 17 accepted, 10 behind | running: preprocess 2 | "
        "next: size 12/100"
    )
