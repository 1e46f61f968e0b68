"""The records of jobs: what they tell of a job however it ended, and of the attempts before."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from cryosnake import layout
from cryosnake.errors import SessionStopError
from cryosnake.leases import noted
from cryosnake.session import job_record
from cryosnake.session.job import job_log
from cryosnake.session.job_record import read_record, session_records
from cryosnake.tables import write_star

LOG = "results/logs/pick/b00000.log"

KILLED = f"""
import time
from types import SimpleNamespace
from cryosnake.session.job import job_log
job = SimpleNamespace(log=["{LOG}"], rule="pick", wildcards=dict(batch="b00000"), threads=2)
with job_log(job):
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A session's folder to work in, with one batch of three movies."""
    monkeypatch.chdir(tmp_path)
    movies = pd.DataFrame({"rlnMicrographMovieName": ["a.mrc", "b.mrc", "c.mrc"]})
    write_star(tmp_path / layout.batch_star("b00000"), {"movies": movies})
    return tmp_path


def asked(log=LOG, rule="pick", **wildcards):
    """What Snakemake gives to a script, as far as a record needs it."""
    wildcards = wildcards or {"batch": "b00000"}
    return SimpleNamespace(log=[log], rule=rule, wildcards=wildcards, threads=2)


def test_a_finished_job_tells_what_it_took(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    started_s = time.time()
    with job_log(asked()):
        running = read_record(f"{LOG}.json")
        with noted("cuda:0", waited_s=0.5):
            time.sleep(0.05)
    record = read_record(f"{LOG}.json")
    assert (running.outcome, running.ended_s, running.pid) == ("running", None, os.getpid())
    assert (record.rule, record.wildcards, record.threads) == ("pick", {"batch": "b00000"}, 2)
    assert (record.outcome, record.attempt, record.earlier) == ("done", 1, [])
    assert started_s <= record.started_s < record.ended_s <= time.time()
    assert record.device == "cuda:0"
    assert 0.05 <= record.lease_s <= record.wall_s + 1e-3
    assert record.lease_wait_s == 0.5
    assert (record.slurm_job_id, record.cuda_visible_devices) == ("17", "1")
    assert record.units == {"movies": 3}
    assert record.cpu_s > 0
    assert record.peak_rss_mb > 10


def test_a_job_without_a_device_leases_none(folder):
    with job_log(asked()):
        pass
    assert (read_record(f"{LOG}.json").device, read_record(f"{LOG}.json").lease_s) == (None, 0.0)


def test_failures_are_told_and_earlier_attempts_are_kept(folder):
    with pytest.raises(SystemExit), job_log(asked()):
        raise SessionStopError("the disk is full")
    assert read_record(f"{LOG}.json").outcome == "refused"
    with pytest.raises(ZeroDivisionError), job_log(asked()):
        _ = 1 / 0
    with job_log(asked()):
        pass
    record = read_record(f"{LOG}.json")
    assert (record.outcome, record.attempt) == ("done", 3)
    assert [(one["attempt"], one["outcome"]) for one in record.earlier] == [
        (1, "refused"),
        (2, "failed"),
    ]


def test_a_killed_job_is_found_by_the_next_attempt(folder):
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "started\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert read_record(f"{LOG}.json").outcome == "running"
    with job_log(asked()):
        pass
    record = read_record(f"{LOG}.json")
    assert (record.attempt, record.earlier[0]["outcome"]) == (2, "killed")
    assert record.earlier[0]["ended_s"] is None


def test_a_record_that_cannot_be_written_hides_nothing(folder, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job_record, "write_record", full)
    with pytest.raises(SystemExit, match="the disk is full"), job_log(asked()):
        raise SessionStopError("the disk is full")
    assert "No space left" in (folder / LOG).read_text()


def test_units_come_from_the_wildcards(folder):
    with job_log(asked("results/logs/class2d/500.log", "class2d", particles="500")):
        pass
    with job_log(asked("results/logs/tally/00002.log", "tally", batches="00002")):
        pass
    with job_log(asked("results/logs/size.log", "particle_size", milestone="size")):
        pass
    units = {record.rule: record.units for record in session_records(folder)}
    assert units == {"class2d": {"particles": 500}, "tally": {"batches": 2}, "particle_size": {}}


def test_a_damaged_record_is_no_record(folder):
    path = folder / f"{LOG}.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"rule": "pick", ')
    assert read_record(path) is None
    with job_log(asked()):
        pass
    assert read_record(path).attempt == 1


def test_small_jobs_load_no_torch():
    code = "import sys, cryosnake.session.job; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
