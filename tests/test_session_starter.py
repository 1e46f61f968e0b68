"""The starter: one at a time, nothing left of an earlier one, and a line that says how it goes."""

import base64
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, job, snakemake_by_hand

from cryosnake.config import load_config
from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.session import cluster, lock, starter
from cryosnake.session.cluster import SchedulerAwayError, cancel_jobs, session_jobs, waits_for
from cryosnake.session.leftovers import clear_leftovers
from cryosnake.session.lock import is_held, new_record, read_record, session_lock, write_record
from cryosnake.session.orphans import ALLOCATION, MARK, foreign_runs, local_orphans
from cryosnake.session.progress import Progress, progress_line
from cryosnake.session.run_log import RunLog
from cryosnake.session.starter import ROOT, Order, command, find_profile, visible_gpus

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


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch) -> FakeSlurm:
    return FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)


def record(mode: str = "watch", *, uses_slurm: bool = False) -> lock.RunRecord:
    return new_record(mode, "local", slurm=uses_slurm)


def test_a_second_starter_is_refused_and_told_who_runs_the_session(session):
    with session_lock(session, record()):
        assert is_held(session)
        done = cryosnake("run", session)
    assert not is_held(session)
    assert done.returncode == 1
    assert f"process {os.getpid()} on " in done.stderr
    assert "watch mode" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_lock_is_free_after_a_starter_was_killed(session):
    code = (
        "import sys, time; from pathlib import Path; from cryosnake.session.lock import *\n"
        "with session_lock(Path(sys.argv[1]), new_record('rerun', 'local', slurm=False)):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(session)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(SessionStopError, match=str(holder.pid)),
        session_lock(session, record()),
    ):
        pass
    assert read_record(session).process().pid == holder.pid
    holder.kill()
    holder.wait()
    killed = read_record(session)
    assert (killed.ended, killed.process()) == (None, None)
    with session_lock(session, record()) as hold:
        assert hold.before == killed
        hold.exit_code = 0
    assert (read_record(session).exit_code, read_record(session).ended is None) == (0, False)


def elsewhere(session: Path, *, silent_s: float) -> lock.RunRecord:
    """A run on another machine, whose lock is not seen here; so long ago was its last sign."""
    other = replace(record(), host="node9", boot="another", pid=4)
    write_record(session, other)
    then = time.time() - silent_s
    os.utime(lock.record_path(session), (then, then))
    return other


def test_a_starter_on_another_machine_is_known_by_its_signs_of_life(session, monkeypatch):
    monkeypatch.setattr(lock, "SILENT_S", 4.0)
    elsewhere(session, silent_s=1)
    beat = threading.Timer(1.5, os.utime, (lock.record_path(session),))
    beat.start()
    said = []
    with (
        pytest.raises(SessionStopError, match="already run by process 4 on node9"),
        session_lock(session, record(), say=said.append),
    ):
        pass
    assert "waiting up to a minute" in said[0]
    beat.join()
    assert read_record(session).host == "node9"


def test_a_starter_on_another_machine_that_is_gone_does_not_hold_up_for_long(session, monkeypatch):
    elsewhere(session, silent_s=100)  # its machine was started anew, say
    said = []
    started = time.monotonic()
    with session_lock(session, record(), say=said.append):
        assert read_record(session).here
    assert time.monotonic() - started < 2
    assert said == [f"{elsewhere(session, silent_s=0).in_words()} is gone; taking over"]


def test_a_starter_whose_session_was_taken_over_is_told(session):
    told = []
    with session_lock(session, record(), lost=told.append):
        other = elsewhere(session, silent_s=0)
        end = time.monotonic() + 10
        while not told and time.monotonic() < end:
            time.sleep(0.05)
    assert told == [other]
    assert read_record(session) == other  # it is the other's now


def test_what_a_killed_run_left_behind_is_ended_before_locks_are_cleared(session):
    locks, marks = (session / ".snakemake" / name for name in ("locks", "incomplete"))
    results = session / "results" / "particles"
    for folder, name in (
        (locks, "0.input.lock"),
        (marks, "cmVzdWx0cw=="),
        (results, ".p-a1b2_3c4.mrcs"),
    ):
        folder.mkdir(parents=True)
        (folder / name).touch()
    (marks / "migration_underway").touch()
    for name in ("particles.mrcs", ".lock"):
        (results / name).touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    mark = {MARK: os.path.realpath(session)}
    ours = subprocess.Popen(sleep, env=os.environ | mark)
    others = [
        subprocess.Popen(sleep, env=os.environ | {MARK: "/another/session"}),
        # a job of a one-node cluster: SLURM's to end
        subprocess.Popen(sleep, env=os.environ | mark | {"SLURM_JOB_ID": "17", ALLOCATION: ""}),
    ]
    try:
        end = time.monotonic() + 10
        while not local_orphans(session) and time.monotonic() < end:
            time.sleep(0.05)
        said = []
        clear_leftovers(session, said.append, before=record(), slurm=False)
        assert local_orphans(session) == []
        assert [other.poll() for other in others] == [None, None]
        assert not list(locks.iterdir())
        assert [path.name for path in marks.iterdir()] == ["migration_underway"]
        assert sorted(path.name for path in results.iterdir()) == [".lock", "particles.mrcs"]
        assert said == ["ending 1 processes that a killed run left behind"]
    finally:
        for process in (ours, *others):
            process.kill()
            process.wait()


def test_a_snakemake_started_by_hand_is_not_touched_but_refused(session):
    with snakemake_by_hand(session) as by_hand:
        with pytest.raises(SessionStopError, match=str(by_hand.pid)):
            clear_leftovers(session, print, before=None, slurm=False)
        assert by_hand.poll() is None
    assert foreign_runs(session) == []


def test_cluster_jobs_of_an_earlier_run_are_cancelled(session, slurm, tmp_path_factory):
    link = tmp_path_factory.mktemp("link") / "to_session"
    link.symlink_to(session)
    slurm.set(
        [
            job(17, session),
            job(18, "/elsewhere"),
            job(19, link, State="PENDING", NodeList=""),
            job(20, session, Name="relion", Comment="(null)"),  # the user's own, or the starter's
            job(21, session, Comment=""),
        ]
    )
    said = []
    clear_leftovers(session, said.append, before=record(uses_slurm=True), slurm=True)
    assert slurm.numbers() == ["18", "20"]
    assert said == [
        "cancelling 3 SLURM jobs of an earlier run: 17 (running on node7), 19 (pending), "
        "21 (running on node7)"
    ]
    slurm.set([job(22, session)], away=-1)
    clear_leftovers(session, print, before=None, slurm=False)  # no scheduler is asked


def test_jobs_that_do_not_go_are_named(session, slurm):
    slurm.set([job(17, session)], stuck=True)
    with pytest.raises(SessionStopError, match=r"17 \(running on node7\)"):
        cancel_jobs(session, print, gone_s=0.5)


def test_a_scheduler_that_is_away_is_asked_again_and_then_told_of(session, slurm, monkeypatch):
    slurm.set([job(17, session)], away=1)
    assert [found.number for found in session_jobs(session, patience_s=10)] == ["17"]
    slurm.set([job(17, session)], away=-1)
    with pytest.raises(SchedulerAwayError, match="connect failure") as caught:
        session_jobs(session, patience_s=1.5)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.2)
    squeue = slurm.state.with_name("squeue")
    squeue.write_text("#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(SchedulerAwayError, match="no answer within"):
        session_jobs(session, patience_s=0.1)
    squeue.unlink()
    monkeypatch.setenv("PATH", str(squeue.parent))
    with pytest.raises(SchedulerAwayError, match="there is no squeue"):
        session_jobs(session)


def test_a_users_own_settings_of_squeue_do_not_hide_jobs(session, slurm, monkeypatch):
    squeue = slurm.state.with_name("squeue")
    squeue.write_text(f'#!/bin/sh\n[ -z "$SQUEUE_STATES" ] && exec {squeue}.real "$@"\n')
    slurm.state.with_name("squeue.real").write_text(
        "#!/bin/sh\nprintf '%s'\n".replace(
            "%s",
            "".join(
                v.ljust(w) for v, w in zip(job(17, session), cluster._FIELDS.values(), strict=True)
            ),
        )
    )
    slurm.state.with_name("squeue.real").chmod(0o755)
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    assert [found.number for found in session_jobs(session)] == ["17"]


def test_a_local_run_after_a_killed_one_on_a_cluster_looks_at_the_cluster(session, slurm):
    write_record(session, replace(record(uses_slurm=True), pid=1, process_s=0.0))
    with session_lock(session, record("rerun")) as hold:
        assert hold.slurm  # until it is known that no job is left
    with session_lock(session, record("rerun")) as hold:
        assert hold.slurm
        hold.slurm = False
    with session_lock(session, record("rerun")) as hold:
        assert not hold.slurm


def test_an_interrupted_run_leaves_no_job_in_the_queue(
    session, slurm, tmp_path_factory, monkeypatch
):
    """Snakemake forgets jobs that it is just asking after when it is interrupted."""
    profile = tmp_path_factory.mktemp("profile")
    (profile / "config.yaml").write_text("executor: slurm\n")

    def interrupted(*_arguments) -> tuple[int, RunLog]:
        slurm.set([job(17, session)])
        return 130, RunLog()

    monkeypatch.setattr(starter, "_snakemake", interrupted)
    assert starter.run_session(Order(session, profile=str(profile)), say=lambda line: None) == 130
    assert slurm.numbers() == []
    assert not read_record(session).slurm

    def away(*_arguments) -> tuple[int, RunLog]:
        slurm.set([job(18, session)], away=-1)
        return 130, RunLog()

    monkeypatch.setattr(starter, "_snakemake", away)
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.1)
    said = []
    assert starter.run_session(Order(session, profile=str(profile)), say=said.append) == 130
    assert "cryosnake stop" in said[-1]
    assert read_record(session).slurm


def test_a_run_that_was_taken_over_leaves_the_others_jobs_alone(
    session, slurm, tmp_path_factory, monkeypatch
):
    profile = tmp_path_factory.mktemp("profile")
    (profile / "config.yaml").write_text("executor: slurm\n")
    told = threading.Event()
    monkeypatch.setattr(starter.os, "kill", lambda *_: told.set())

    def replaced(*_arguments) -> tuple[int, RunLog]:
        elsewhere(session, silent_s=0)
        slurm.set([job(17, session)])
        assert told.wait(20)
        return 143, RunLog()

    monkeypatch.setattr(starter, "_snakemake", replaced)
    said = []
    assert starter.run_session(Order(session, profile=str(profile)), say=said.append) == 143
    assert "node9" in said[-1]
    assert slurm.numbers() == ["17"]
    assert read_record(session).host == "node9"


def test_what_a_job_waits_for_is_said_in_words(session, slurm):
    slurm.set([job(17, session, State="PENDING", Reason="Resources")])
    (found,) = session_jobs(session)
    assert found.waits
    assert waits_for(found) == "free CPUs, memory or GPUs"
    assert (found.rule, found.wildcards) == ("preprocess", "b00003")
    unknown = replace(found, reason="SomethingNew")
    assert waits_for(unknown) == "SomethingNew"
    drained = replace(found, reason="ReqNodeNotAvail, UnavailableNodes:n[1-2]")
    assert "down, drained or reserved" in waits_for(drained)


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


def test_the_progress_line_says_what_an_operator_asks():
    progress = Progress(seen=30, processed=20, accepted=17, threshold=("size", 12, 100))
    assert progress_line(progress, "preprocess 2") == (
        "movies 30 seen, 20 processed, 17 accepted, 10 behind | running: preprocess 2 | "
        "next: size 12/100"
    )


def test_finished_work_is_not_repeated_because_of_marks_of_a_killed_run(session):
    """Snakemake marks outputs until it has noticed the end of their job, if it lives so long."""
    snakefile = session / "Snakefile"
    snakefile.write_text(
        'rule long:\n    output: "results/map.mrc"\n    shell: "echo x > {output}"\n'
    )

    def snakemake(*options: str) -> str:
        words = [sys.executable, "-m", "snakemake", "-c1", "--rerun-incomplete", *options]
        done = subprocess.run(words, cwd=session, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    snakemake()
    marks = session / ".snakemake" / "incomplete"
    marks.mkdir(exist_ok=True)
    (marks / base64.urlsafe_b64encode(b"results/map.mrc").decode()).write_text("{}")
    assert "Nothing to be done" not in snakemake("-n")
    clear_leftovers(session, print, before=None, slurm=False)
    assert "Nothing to be done" in snakemake("-n")
