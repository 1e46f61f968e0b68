"""How a session is, as `cryosnake status` tells it, in every state that it may be in."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, job
from typer.testing import CliRunner

from cryosnake import layout
from cryosnake.cli import app
from cryosnake.errors import BadInputError
from cryosnake.session import job_words, lock, run_log, status
from cryosnake.session.job_words import purpose, why_failed
from cryosnake.session.lock import new_record, session_lock, write_record
from cryosnake.session.orphans import MARK
from cryosnake.session.run_log import RUN_LOG, RunLog, last_run
from cryosnake.session.starter import ROOT
from cryosnake.session.status import session_status
from cryosnake.session.status_text import status_text

HEADER = "\n2026-11-21T17:09:25Z /usr/bin/python -m snakemake --snakefile x --cores 2\n"


def started(number: int, rule: str, wildcards: str = "", *, local: bool = False) -> str:
    """What Snakemake prints when it starts a job."""
    return (
        "[Sat Nov 21 17:09:28 2026]\n"
        f"{'local' if local else ''}rule {rule}:\n"
        "    input: results/batches/b00002.star\n"
        f"    log: results/logs/{rule}/{number}.log\n"
        f"    jobid: {number}\n"
        "    reason: Missing output files: results/x\n"
        + (f"    wildcards: {wildcards}\n" if wildcards else "")
        + "    threads: 2\n"
        "    resources: tmpdir=/tmp, gpu=1, mem_mb=6000\n"
        "Select jobs to execute...\n"
    )


def failed(number: int, rule: str, message: str = "None", before: str = "") -> str:
    """What it prints when one fails."""
    return (
        f"{before}[Sat Nov 21 17:14:23 2026]\n"
        f"Error in rule {rule}:\n"
        f"    message: {message}\n"
        f"    jobid: {number}\n"
        f"    log: results/logs/{rule}/{number}.log (check log file(s) for error details)\n"
        "Logfile not found.\n"
    )


def killed_by(number: int, rule: str) -> str:
    """What it prints before the error of a script that was killed."""
    return (
        'CalledProcessError in file "/x/rules/y.smk", line 20:\n'
        "Command 'set -euo pipefail;  /usr/bin/python /s/.snakemake/scripts/tmpt5u__wmw."
        f"{rule}.py' died with <Signals.SIGKILL: 9>.\n"
    )


def finished(number: int, rule: str) -> str:
    """What it prints when one is done."""
    return f"[Sat Nov 21 17:10:28 2026]\nFinished jobid: {number} (Rule: {rule})\n1 of 2 steps\n"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    (tmp_path / "movies").mkdir()
    (tmp_path / "movies" / "m.tif").touch()
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    return tmp_path


def write_log(session: Path, *parts: str) -> None:
    path = session / RUN_LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        stream.write("".join((HEADER, *parts)))


def record(mode: str = "watch", *, slurm: bool = False, **changed) -> lock.RunRecord:
    return replace(new_record(mode, "slurm" if slurm else "local", slurm=slurm), **changed)


def ended(code: int, **changed) -> lock.RunRecord:
    return record(ended="2026-11-21T18:00:00Z", exit_code=code, **changed)


def test_jobs_are_read_from_what_snakemake_prints():
    jobs = RunLog()
    text = (
        started(1, "ingest", local=True)
        + started(4, "preprocess", "batch=b00002")
        + started(5, "preprocess", "batch=b00003")
        + started(6, "tally", local=True)
        + "Job 5 has been submitted with SLURM jobid 17 (log: /x/17.log).\n"
        + finished(4, "preprocess")
        + failed(6, "tally", before=killed_by(6, "tally"))
    )
    for line in text.splitlines(keepends=True):
        jobs.read(line)
    assert jobs.running_line() == "preprocess"
    (running,) = jobs.shown()
    assert (running.slurm_id, running.wildcards, running.threads) == ("17", "batch=b00003", "2")
    assert time.localtime(running.started_s)[3:6] == (17, 9, 28)
    (tally,) = jobs.failed.values()
    assert (tally.problem, tally.log) == (
        "died with <Signals.SIGKILL: 9>",
        "results/logs/tally/6.log",
    )
    for line in started(6, "tally").splitlines(keepends=True):
        jobs.read(line)
    assert jobs.failed == {}  # it is tried again
    assert jobs.running["6"].attempts == 2
    jobs.read("Nothing to be done (all requested files are present and up to date).\n")
    assert jobs.nothing_to_do


def test_only_the_last_run_of_a_log_is_read_and_that_from_its_end(session, monkeypatch):
    assert last_run(session / RUN_LOG) is None
    write_log(session, started(1, "preprocess"), failed(1, "preprocess"))
    write_log(session, *(started(n, "extract") for n in range(300)))
    monkeypatch.setattr(run_log, "_BLOCK_BYTES", 10_000)
    found = last_run(session / RUN_LOG)
    assert (len(found.running), found.failed) == (300, {})
    monkeypatch.setattr(run_log, "_MOST_BYTES", 20_000)
    assert 10 < len(last_run(session / RUN_LOG).running) < 100


def test_a_folder_without_a_session_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"config\.yaml"):
        session_status(tmp_path)
    done = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert done.exit_code == 1


def test_a_session_that_was_never_run(session):
    found = session_status(session)
    assert (found.state, found.well) == ("never", True)
    assert found.progress.startswith("movies 1 seen, 0 processed")
    assert found.to_do == [f"Start it: cryosnake run {session}"]
    before = sorted(session.rglob("*"))
    done = CliRunner().invoke(app, ["status", str(session)])
    assert done.exit_code == 0
    assert sorted(session.rglob("*")) == before  # looking changes nothing


def test_a_session_that_runs_on_this_machine(session):
    with session_lock(session, record()):
        write_log(
            session,
            started(1, "ingest", local=True),
            started(4, "refine", "particles=25000", local=True),
        )
        found = session_status(session)
        text = status_text(found)
    assert found.state == "running"
    assert f"process {os.getpid()} on " in text
    (task,) = found.runs
    assert (task.what, task.where) == ("refinement of 25000 particles", "this machine")
    assert task.resources == "2 threads"
    assert [(task.what, task.where) for task in found.waits] == [("the next batch", "new movies")]
    assert found.well


def test_a_session_on_a_cluster_says_what_runs_where_and_what_waits_for_what(
    session, tmp_path_factory, monkeypatch
):
    slurm = FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)
    write_log(
        session,
        started(4, "preprocess", "batch=b00002"),
        "Job 4 has been submitted with SLURM jobid 17 (log: /x).\n",
        started(5, "class2d", "particles=25000"),
        "Job 5 has been submitted with SLURM jobid 18 (log: /x).\n",
        started(6, "extract", "batch=b00001"),
        "Job 6 has been submitted with SLURM jobid 16 (log: /x).\n",
    )
    slurm.set(
        [job(17, session), job(18, session, State="PENDING", Reason="Resources", NodeList="")]
    )
    with session_lock(session, record(slurm=True)):
        found = session_status(session)
        done = CliRunner().invoke(app, ["status", str(session), "--json"])
    gone, running = found.runs
    assert running.what == "motion, CTF and quality of batch b00002"
    assert (running.where, running.slurm_id) == ("node7 for 1:02", "17")
    assert running.resources == "cpu=1, mem=4G, gpu=1"
    assert gone.where == "the cluster; its end is noticed at the next look"
    (waiting,) = found.waits
    assert (waiting.what, waiting.where) == (
        "2D classes of 25000 particles",
        "free CPUs, memory or GPUs",
    )
    told = json.loads(done.stdout)
    assert (told["state"], told["well"]) == ("running", True)
    assert told["waits"][0]["slurm_id"] == "18"


def test_a_scheduler_that_is_away_is_told_of_and_the_rest_is_shown(
    session, tmp_path_factory, monkeypatch
):
    slurm = FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)
    slurm.set([], away=-1)
    write_record(session, ended(130, slurm=True))
    found = session_status(session, patience_s=0.5)
    assert "the scheduler does not answer" in found.problems[0]
    assert found.progress.startswith("movies 1 seen")
    assert not found.well
    write_record(session, ended(0))
    assert session_status(session, patience_s=0.5).well  # a local one asks no scheduler


def test_what_a_killed_run_left_is_named(session, tmp_path_factory, monkeypatch):
    slurm = FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)
    slurm.set([job(17, session)])
    write_record(session, record(slurm=True, process_s=0.0))
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen(sleep, env=os.environ | {MARK: os.path.realpath(session)})
    try:
        found = session_status(session)
    finally:
        orphan.kill()
        orphan.wait()
    assert found.state == "killed"
    assert "SLURM job 17 (running): preprocess b00003" in found.left
    assert f"process {orphan.pid} on this machine" in found.left
    assert "cryosnake stop" in found.to_do[0]
    assert found.to_do[1].endswith(f"cryosnake run {session} --watch --profile slurm")
    assert CliRunner().invoke(app, ["status", str(session)]).exit_code == 3


def test_a_run_on_another_machine_is_told_by_its_signs_of_life(session, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 3.0)
    write_record(session, record(host="node9", boot="another"))
    assert session_status(session).state == "killed"
    beat = threading.Timer(0.5, os.utime, (lock.record_path(session), (5, 5)))  # its clock is wrong
    beat.start()
    found = session_status(session)
    assert (found.state, found.well) == ("elsewhere", True)
    beat.join()


@pytest.mark.parametrize(("code", "state"), [(0, "ended"), (1, "failed"), (130, "interrupted")])
def test_a_run_that_ended(session, code, state):
    write_record(session, ended(code))
    (session / layout.VERDICT).parent.mkdir(exist_ok=True)
    reason = {"rule": "progress", "speaks_for": "unsure", "value": "1 movie", "advice": "Go on."}
    (session / layout.VERDICT).write_text(json.dumps({"verdict": "unsure", "reasons": [reason]}))
    found = session_status(session)
    assert (found.state, found.well) == (state, code != 1)
    assert (found.verdict, found.verdict_reasons) == ("unsure", ["progress: 1 movie. Go on."])


def test_a_full_disk_is_told_of_although_nothing_could_be_written_about_it(session, monkeypatch):
    monkeypatch.setattr(status, "_LOW_DISK_MB", 1e12)
    (problem,) = session_status(session).problems
    assert problem.startswith("the disk is full")


def test_a_snakemake_that_was_killed_is_told_of(session):
    write_record(session, ended(-9))
    found = session_status(session)
    assert found.state == "failed"
    assert "killed (signal 9)" in found.problems[0]


def test_failures_say_what_it_was_for_why_and_what_to_do(session):
    write_log(
        session,
        started(4, "preprocess", "batch=b00002"),
        started(5, "extract", "batch=b00001"),
        started(6, "class2d", "particles=100"),
        failed(4, "preprocess", before=killed_by(4, "preprocess")),
        failed(5, "extract", "SLURM-job '17' failed, SLURM status is: 'TIMEOUT'."),
        failed(6, "class2d"),
    )
    log = session / "results/logs/class2d/6.log"
    log.parent.mkdir()
    log.write_text(
        "".join(f"2026-11-21 17:00:0{i},1 INFO line {i}\n" for i in range(9))
        + "2026-11-21 17:00:10,1 ERROR particles.star: no particles; expected some\n"
    )
    write_record(session, ended(1))
    found = session_status(session)
    text = status_text(found)
    memory, slow, own = found.failed
    assert memory.what == "motion, CTF and quality of batch b00002"
    assert "no memory left" in memory.why
    assert "longer than it was given" in slow.why
    assert own.why == "particles.star: no particles; expected some"
    assert "results/logs/class2d/6.log ends with:" in text
    assert "line 8" in text
    assert "line 2" not in text
    assert "go on with: cryosnake run" in found.to_do[0]
    done = CliRunner().invoke(app, ["status", str(session)])
    assert done.exit_code == 3


def test_a_workflow_that_did_not_even_start_says_why(session):
    write_log(session, "WorkflowError:\n", "Error when loading the DAG, because of x\n")
    write_record(session, ended(1))
    found = session_status(session)
    assert found.problems == ["WorkflowError: Error when loading the DAG, because of x"]


def test_a_file_system_that_hangs_is_told_of(session, monkeypatch):
    monkeypatch.setattr(status.Counting, "now", lambda self: time.sleep(5))
    started_s = time.monotonic()
    found = session_status(session, patience_s=0.3)
    assert time.monotonic() - started_s < 4
    assert "could not be counted within" in found.problems[0]


def test_a_config_that_is_wrong_by_now_does_not_hide_the_rest(session):
    write_record(session, ended(0))
    (session / "config.yaml").write_text("input: {path: movies}\ningest: {batch_movies: 0}\n")
    found = session_status(session)
    assert found.state == "ended"
    assert "ingest.batch_movies" in found.problems[0]


def test_every_rule_of_the_workflow_has_words():
    text = "".join(p.read_text() for p in [*(ROOT / "workflow/rules").glob("*.smk")])
    text += (ROOT / "workflow/Snakefile").read_text()
    rules = set(re.findall(r"^\s*(?:rule|checkpoint) (\w+):", text, re.MULTILINE))
    assert len(rules) > 25
    assert rules == set(job_words._PURPOSES)
    for rule in rules:
        assert "{" not in purpose(rule, {})


@pytest.mark.parametrize(
    ("problem", "logged", "why"),
    [
        ("SLURM status is: 'OUT_OF_MEMORY'", "", "more memory"),
        ("SLURM status is: 'NODE_FAIL'", "", "its node"),
        ("SLURM sbatch failed. The error message was 'x'", "", "did not take it"),
        ("died with <Signals.SIGSEGV: 11>", "", "crashed"),
        (
            "returned non-zero exit status 1",
            "OSError: [Errno 116] Stale file handle",
            "file system",
        ),
        (
            "returned non-zero exit status 1",
            "x ERROR the disk is full: /x has 0 MB",
            "disk is full",
        ),
        ("returned non-zero exit status 1", "nothing", "returned non-zero exit status 1"),
    ],
)
def test_reasons_of_failures(problem, logged, why):
    assert why in why_failed(problem, [logged])[0]
