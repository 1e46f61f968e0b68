"""Ending a session's run from another shell."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, job, snakemake_by_hand
from typer.testing import CliRunner

from cryosnake.cli import app
from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.session import lock
from cryosnake.session.lock import is_held, new_record, read_record, write_record
from cryosnake.session.orphans import MARK, local_orphans
from cryosnake.session.stop import stop_session

#: Holds a session as a starter does, with a child that works for it. `polite` ends at SIGINT.
_STARTER = """
import signal, subprocess, sys, time
from pathlib import Path
from cryosnake.session.forwarding import Forwarding
from cryosnake.session.lock import new_record, session_lock
from cryosnake.session.orphans import marked
session = Path(sys.argv[1])
with session_lock(session, new_record("watch", "local", slurm=False)) as hold:
    with Forwarding() as forwarding:
        child = subprocess.Popen(["sleep", "60"], env=marked(session), process_group=0)
        if sys.argv[2] == "polite":
            forwarding.child = child
        print("held", flush=True)
        child.wait()
        hold.exit_code = 128 + forwarding.received[0]
"""


@pytest.fixture
def session(tmp_path: Path) -> Path:
    (tmp_path / "movies").mkdir()
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    return tmp_path


@pytest.fixture
def starter(session):
    """Start a starter; it is gone afterwards."""
    begun = []

    def start(manner: str) -> subprocess.Popen:
        words = [sys.executable, "-c", _STARTER, str(session), manner]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
    for orphan in local_orphans(session):
        orphan.kill()


def test_a_run_ends_in_order(session, starter):
    process = starter("polite")
    said = []
    stop_session(session, said.append)
    assert process.wait(timeout=10) == 0
    assert not is_held(session)
    assert local_orphans(session) == []
    assert read_record(session).exit_code == 128 + signal.SIGINT
    assert f"asking process {process.pid} on" in said[0]
    assert said[-1].startswith("stopped")


def test_a_run_ends_in_order_when_its_terminal_is_closed(session, starter):
    process = starter("polite")
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=10) == 0
    assert local_orphans(session) == []
    assert read_record(session).exit_code == 128 + signal.SIGHUP


def test_a_run_that_does_not_listen_is_told_of_and_killed_on_request(session, starter):
    process = starter("deaf")
    with pytest.raises(SessionStopError, match="--now"):
        stop_session(session, print, wait_s=0.5)
    assert process.poll() is None
    stop_session(session, print, at_once=True)
    assert process.wait(timeout=10) == -signal.SIGKILL
    assert local_orphans(session) == []
    assert not is_held(session)
    record = read_record(session)
    assert (record.mode, record.exit_code) == ("watch", 128 + signal.SIGINT)


def test_what_a_killed_run_left_is_ended_here_and_on_the_cluster(
    session, tmp_path_factory, monkeypatch
):
    slurm = FakeSlurm(tmp_path_factory.mktemp("slurm"), monkeypatch)
    slurm.set([job(17, session), job(18, "/elsewhere")])
    write_record(session, replace(new_record("watch", "slurm", slurm=True), process_s=0.0))
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen(sleep, env=os.environ | {MARK: os.path.realpath(session)})
    try:
        stop_session(session, print)
        assert local_orphans(session) == []
        assert orphan.poll() is not None
    finally:
        orphan.kill()
        orphan.wait()
    assert slurm.numbers() == ["18"]
    record = read_record(session)
    assert (record.slurm, record.profile, record.ended is None) == (False, "slurm", False)
    slurm.set([job(19, session)], away=-1)
    stop_session(session, print)  # all is known to be gone: nothing is asked


def test_a_run_on_another_machine_is_refused_with_what_to_type(session, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 5.0)
    other = replace(new_record("rerun", "local", slurm=False), host="node9", boot="another", pid=1)
    write_record(session, other)
    beat = threading.Timer(0.5, os.utime, (lock.record_path(session),))
    beat.start()
    done = CliRunner().invoke(app, ["stop", str(session)])
    beat.join()
    assert done.exit_code == 1
    assert f"ssh node9 cryosnake stop {session}" in done.output
    assert read_record(session) == other


def test_there_is_nothing_to_stop(session, tmp_path_factory):
    said = []
    stop_session(session, said.append)
    assert said == [f"nothing runs in {session}"]
    assert read_record(session) is None
    with pytest.raises(BadInputError, match=r"config\.yaml"):
        stop_session(tmp_path_factory.mktemp("empty"), print)


def test_a_snakemake_started_by_hand_is_left_alone(session):
    with snakemake_by_hand(session) as by_hand:
        with pytest.raises(SessionStopError, match="started by hand"):
            stop_session(session, print)
        assert by_hand.poll() is None
