"""The SLURM executor keeps what it could not learn of, and waits for a scheduler that is away."""

import asyncio
import logging
import threading
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm import Executor
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from cryosnake.session import patience
from cryosnake.session.patience import PatientExecutor, be_patient


@pytest.fixture
def executor(monkeypatch):
    """An executor without a workflow; what it tells of jobs is kept."""
    one = object.__new__(PatientExecutor)
    one._told, one._away, one._ended = set(), False, threading.Event()
    one._unknown, one._asked_s = set(), 0.0
    one.run_uuid, one.logger = "uuid", logging.getLogger("executor")
    settings = SimpleNamespace(init_seconds_before_status_checks=20, status_command="squeue")
    one.workflow = SimpleNamespace(executor_settings=settings)
    one.reported = []
    for name in ("report_job_success", "report_job_error"):
        monkeypatch.setattr(
            Executor, name, lambda self, job, name=name, **_: self.reported.append((name, job))
        )
    monkeypatch.setattr(patience, "_FORGOTTEN_S", 0.0)
    return one


def jobs(*numbers: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(external_jobid=number) for number in numbers]


def looks(monkeypatch, answer: dict[str, str] | None) -> None:
    """What the plugin does with an answer, in short; None: the scheduler gave none."""

    async def check(self, active_jobs):
        for job in active_jobs if answer is not None else []:
            state = answer.get(job.external_jobid)
            if state == "COMPLETED":
                self.report_job_success(job)
            elif state == "FAILED":
                self.report_job_error(job, msg="failed")
            else:
                yield job

    async def query(_command, _logger):
        return (answer, 0.1) if answer is not None else (None, None)

    monkeypatch.setattr(Executor, "check_active_jobs", check)
    monkeypatch.setattr(patience, "query_job_status", query)


def checked(executor, active) -> list[str]:
    async def run():
        return [job.external_jobid async for job in executor.check_active_jobs(active)]

    return asyncio.run(run())


def test_no_job_is_lost_while_the_scheduler_is_away(executor, monkeypatch, caplog):
    active = jobs("1", "2")
    looks(monkeypatch, None)
    assert checked(executor, active) == ["1", "2"]
    assert checked(executor, active) == ["1", "2"]
    assert caplog.text.count("does not answer") == 1
    looks(monkeypatch, {"1": "COMPLETED", "2": "RUNNING"})
    assert checked(executor, active) == ["2"]
    assert executor.reported == [("report_job_success", active[0])]


def test_what_is_reported_is_not_asked_again_and_questions_stay_frequent(executor, monkeypatch):
    looks(monkeypatch, {"1": "FAILED", "2": "RUNNING", "3": "COMPLETED"})
    assert checked(executor, jobs("1", "2", "3")) == ["2"]
    assert executor.next_seconds_between_status_checks == 20


def test_a_job_that_slurm_has_forgotten_has_failed(executor, monkeypatch):
    active = jobs("1", "2")
    looks(monkeypatch, {"2": "RUNNING"})
    assert checked(executor, active) == ["1", "2"]  # it may have been submitted a moment ago
    assert checked(executor, active) == ["2"]
    assert executor.reported == [("report_job_error", active[0])]


def test_a_job_is_submitted_when_the_scheduler_is_back(executor, monkeypatch, caplog):
    answers = iter([False, False, True])
    submitted = []
    monkeypatch.setattr(patience, "scheduler_answers", lambda: next(answers))
    monkeypatch.setattr(patience, "_AGAIN_S", 0.01)
    monkeypatch.setattr(Executor, "run_job", lambda self, job: submitted.append(job))
    executor.run_job("job")
    assert submitted == ["job"]
    assert next(answers, None) is None
    assert "does not answer" in caplog.text


def test_it_takes_the_place_of_the_plugins_executor(monkeypatch):
    plugin = ExecutorPluginRegistry().get_plugin("slurm")
    monkeypatch.setattr(plugin, "executor", Executor)
    be_patient()
    assert plugin.executor is PatientExecutor
