"""Patience with a SLURM that does not answer: restarted, overloaded, down for maintenance.

Snakemake's SLURM executor (2.8.0) forgets all jobs whose states it could not learn, and the session
never ends; it waits for ever for a job that SLURM has forgotten; a job that cannot be submitted
counts as an attempt that failed; and it asks more and more seldom after jobs that take long. The
executor here is the same one without these: it is put in its place, whatever the profile.
"""

import subprocess
import threading
import time

from snakemake_executor_plugin_slurm import Executor
from snakemake_executor_plugin_slurm.job_status_query import (
    query_job_status,
    query_job_status_squeue,
)
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

#: Between two questions whether the scheduler is back.
_AGAIN_S = 10.0
#: How often it is asked whether it still knows all jobs; one that it does not know twice is gone.
_FORGOTTEN_S = 120.0


def be_patient() -> None:
    """Put the patient executor in the place of the plugin's, in this process."""
    ExecutorPluginRegistry().get_plugin("slurm").executor = PatientExecutor


def scheduler_answers() -> bool:
    """Whether SLURM's controller, or a backup of it, is there."""
    try:
        done = subprocess.run(
            ["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return " is UP" in done.stdout


class PatientExecutor(Executor):
    """The plugin's executor, which neither loses jobs nor gives up while SLURM is away."""

    def __init__(self, workflow, logger):
        self._told: set[str] = set()
        self._away = False
        self._ended = threading.Event()
        self._unknown: set[str] = set()
        self._asked_s = time.monotonic()
        super().__init__(workflow, logger)

    def run_job(self, job) -> None:
        """Submit a job, as soon as there is somebody to submit it to."""
        while not scheduler_answers():
            self._say_away()
            if self._ended.wait(_AGAIN_S):
                break  # what follows fails, and says so
        super().run_job(job)

    async def check_active_jobs(self, active_jobs):
        """What still runs, those included of which nothing could be learnt."""
        self._told = set()
        running = [job async for job in super().check_active_jobs(active_jobs)]
        known = {job.external_jobid for job in running} | self._told
        lost = [job for job in active_jobs if job.external_jobid not in known]
        if lost:
            self._say_away()
        elif active_jobs:
            self._away = False
        gone = await self._forgotten(running)
        for job in [*running, *lost]:
            if job.external_jobid in gone:
                self.report_job_error(job, msg="SLURM no longer knows this job. ")
            else:
                yield job
        # one question for all jobs: it need not become seldom
        settings = self.workflow.executor_settings
        self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks

    def report_job_success(self, job_info) -> None:
        """Remember whom was told of."""
        self._told.add(job_info.external_jobid)
        super().report_job_success(job_info)

    def report_job_error(self, job_info, msg=None, **kwargs) -> None:
        """Remember whom was told of."""
        self._told.add(job_info.external_jobid)
        super().report_job_error(job_info, msg=msg, **kwargs)

    def shutdown(self) -> None:
        """Wait for nobody any more."""
        self._ended.set()
        super().shutdown()

    def _say_away(self) -> None:
        if not self._away:
            self.logger.warning("SLURM's controller does not answer; waiting for it.")
        self._away = True

    async def _forgotten(self, jobs) -> set[str]:
        """Jobs that SLURM answered twice, some time apart, not to know.

        They were finished while nobody asked, for longer than it remembers jobs (MinJobAge), or it
        was started without its state. Where accounting is asked, it knows.
        """
        now_s = time.monotonic()
        if not jobs or self.get_status_command() != "squeue":
            return set()
        if now_s - self._asked_s < _FORGOTTEN_S:
            return set()
        self._asked_s = now_s
        states, _ = await query_job_status(query_job_status_squeue(self.run_uuid), self.logger)
        if states is None:
            return set()
        unknown = {job.external_jobid for job in jobs} - set(states)
        gone = unknown & self._unknown
        self._unknown = unknown - gone
        return gone
