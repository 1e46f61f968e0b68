"""Snakemake's executor `replay`: the jobs of a session in a pool of processes of this machine.

It notes what each job and each look at the growing DAG took.
"""

import multiprocessing
import os
import resource
import time
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from replay.job import Order, Outcome, run
from replay.notes import Notes
from snakemake_interface_executor_plugins.executors.base import AbstractExecutor, SubmittedJobInfo
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=False,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)
#: Jobs that take no core (the wait for movies) need a process, too.
_MORE_PROCESSES = 4


class Executor(AbstractExecutor):
    """Runs the script of each job in a process that has already loaded what scripts import."""

    def __init__(self, workflow, logger):
        super().__init__(workflow, logger)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["replay.node"])
        self.pool = ProcessPoolExecutor(
            workflow.resource_settings.cores + _MORE_PROCESSES, mp_context=context
        )
        self.session = Path.cwd()
        self.notes = Notes(self.session)
        self._measure_looks()

    def run_job(self, job) -> None:
        info = SubmittedJobInfo(job=job)
        ready_s, started_s = self._ready_s(job), time.time()
        self.report_job_submission(info)
        if job.rule.script is None:
            future = Future()
            future.set_result(Outcome(started_s, started_s, 0.0, 0.0, 0.0, None))
        else:
            self.workflow.async_run(job.prepare())
            future = self.pool.submit(run, self._order(job))
        future.add_done_callback(partial(self._ended, info, ready_s, started_s))

    def shutdown(self) -> None:
        self._note_usage()
        self.pool.shutdown()

    def cancel(self) -> None:
        self.pool.shutdown(cancel_futures=True)

    def handle_job_success(self, job) -> None:
        """Nothing is left to do."""

    def handle_job_error(self, job) -> None:
        """Nothing is left to do."""

    def _order(self, job) -> Order:
        scripts = Path(self.workflow.main_snakefile).parents[1] / "scripts"
        return Order(
            session=str(self.session),
            script=str(scripts / Path(job.rule.script).name),
            rule=job.rule.name,
            attempt=job.attempt,
            input=job.input._plainstrings(),
            output=job.output._plainstrings(),
            params=job.params,
            wildcards=job.wildcards,
            threads=job.threads,
            resources=job.resources,
            log=job.log._plainstrings(),
            config=self.workflow.globals["config"],
        )

    @staticmethod
    def _ready_s(job) -> float | None:
        """Unix time of the newest input; None where there is none, or too many to ask."""
        if not job.input or len(job.input) > 100:
            return None
        return max(os.stat(path).st_mtime for path in job.input)

    def _ended(self, info: SubmittedJobInfo, ready_s, started_s: float, future: Future) -> None:
        try:
            outcome: Outcome = future.result()
        except (KeyboardInterrupt, BrokenProcessPool, CancelledError):
            return  # the scheduler has been told to stop by the same signal
        job = info.job
        self.notes.job(
            rule=job.rule.name,
            wildcards=dict(job.wildcards.items()),
            attempt=job.attempt,
            ready_s=ready_s,
            start_s=started_s,
            end_s=outcome.end_s,
            nominal_s=outcome.nominal_s,
            cpu_s=outcome.cpu_s,
            peak_mb=outcome.peak_mb,
            gpu=job.resources.get("gpu", 0),
            problem=outcome.problem,
        )
        if outcome.problem is None:
            self.report_job_success(info)
        else:
            self.report_job_error(info, msg=outcome.problem)

    def _measure_looks(self) -> None:
        """Note what it costs to look at the DAG again when a checkpoint is done."""
        dag, update = self.dag, self.dag.update_checkpoint_dependencies

        async def measured(jobs=None):
            names = [job.rule.name for job in jobs or () if job.is_checkpoint]
            wall_s, cpu_s = time.perf_counter(), time.thread_time()
            updated = await update(jobs)
            if names:
                self.notes.look(
                    checkpoint=names[0],
                    time_s=time.time(),
                    jobs=len(dag),
                    wall_s=time.perf_counter() - wall_s,
                    cpu_s=time.thread_time() - cpu_s,
                )
                self._note_usage()
            return updated

        dag.update_checkpoint_dependencies = measured

    def _note_usage(self) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF)
        self.notes.usage(
            pid=os.getpid(),
            time_s=time.time(),
            cpu_s=own.ru_utime + own.ru_stime,
            peak_mb=own.ru_maxrss / 1024,
        )
