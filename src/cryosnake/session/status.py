"""How a session is: who runs it, what runs, what waits for what, what failed and why.

Nothing is changed on disk, and nothing that does not answer (a file system, a scheduler) is waited
for for long.
"""

import json
import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.errors import BadInputError, CryosnakeError
from cryosnake.session import lock
from cryosnake.session.cluster import ClusterJob, SchedulerAwayError, session_jobs, waits_for
from cryosnake.session.job_failures import Failure, failures
from cryosnake.session.job_words import purpose, wildcards_of
from cryosnake.session.lock import RunRecord, gives_signs, is_held, read_record
from cryosnake.session.orphans import foreign_runs, local_orphans
from cryosnake.session.progress import Counting, progress_line
from cryosnake.session.run_log import RUN_LOG, Job, RunLog, last_run

#: How long a file system may take to answer; a scheduler, a sixth of it.
_PATIENCE_S = 60.0
_LOW_DISK_MB = 50


@dataclass(frozen=True)
class Task:
    """A job in words: what it is for, where it runs or what it waits for, and since when."""

    what: str
    where: str
    since: str
    resources: str
    log: str
    slurm_id: str | None


@dataclass
class Status:
    """A session's `state`: running, by_hand or elsewhere, which go on; never, ended, interrupted,
    failed or killed. `to_do` are sentences for the operator; `left` are jobs and processes that no
    starter looks after."""

    session: str
    state: str
    run: RunRecord | None = None
    progress: str | None = None
    runs: list[Task] = field(default_factory=list)
    waits: list[Task] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    verdict: str | None = None
    verdict_reasons: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether nothing asks for a person."""
        return not (self.failed or self.left or self.problems or self.state in ("failed", "killed"))

    def as_json(self) -> str:
        """All of it, for programs."""
        return json.dumps(asdict(self) | {"well": self.well}, indent=1)


def session_status(session: Path, *, patience_s: float = _PATIENCE_S) -> Status:
    """Look how a session is.

    Raises
    ------
    BadInputError : there is no session in this folder.
    """
    if not (session / "config.yaml").is_file():
        raise BadInputError(
            session, "no config.yaml", "the folder of a session (cryosnake init makes one)"
        )
    record = read_record(session)
    status = Status(str(session), _state(session, record), record)
    log = last_run(session / RUN_LOG) or RunLog()
    jobs = _cluster_jobs(session, record, patience_s, status)
    if status.state in ("running", "elsewhere"):
        _tasks(status, log, jobs)
    elif status.state != "by_hand":
        _left(session, status, jobs)
    status.failed = failures(session, log)
    if log.problem and status.state == "failed" and not status.failed:
        status.problems.append(log.problem)
    free_mb = shutil.disk_usage(session).free / 1e6
    if free_mb < _LOW_DISK_MB:
        status.problems.append(f"the disk is full: {free_mb:.0f} MB are left; free some space")
    if record is not None and (record.exit_code or 0) < 0:
        status.problems.append(
            f"Snakemake was killed (signal {-record.exit_code}); most often the machine had no "
            "memory left"
        )
    _progress(session, status, log, patience_s)
    _verdict(session, status)
    _advise(status)
    return status


def _state(session: Path, record: RunRecord | None) -> str:
    if is_held(session):
        return "running"
    if foreign_runs(session):
        return "by_hand"
    if record is None:
        return "never"
    if record.ended is None:
        away = not record.here and gives_signs(session, 1.2 * lock.BEAT_S)
        return "elsewhere" if away else "killed"
    if record.exit_code == 0:
        return "ended"
    return "interrupted" if (record.exit_code or 0) > 128 else "failed"


def _cluster_jobs(
    session: Path, record: RunRecord | None, patience_s: float, status: Status
) -> dict[str, ClusterJob]:
    """The session's jobs in the queue by their number, where it uses SLURM."""
    if record is None or not record.slurm:
        return {}
    try:
        return {job.number: job for job in session_jobs(session, patience_s=patience_s / 6)}
    except SchedulerAwayError as error:
        status.problems.append(f"{error}: what runs on the cluster is not known")
        return {}


def _tasks(status: Status, log: RunLog, jobs: dict[str, ClusterJob]) -> None:
    """What runs and what waits, of a run that goes on."""
    for job in log.shown():
        if job.slurm_id is None:
            status.runs.append(_task(job, "this machine" if status.run.here else status.run.host))
        elif job.slurm_id not in jobs and not status.problems:
            status.runs.append(_task(job, "the cluster; its end is noticed at the next look"))
    known = {job.slurm_id: job for job in log.shown()}
    for number, found in jobs.items():
        job = known.get(number, Job(found.rule))
        what = purpose(job.rule, wildcards_of(job.wildcards)) if number in known else _named(found)
        where = waits_for(found) if found.waits else f"{found.nodes} for {found.elapsed}"
        if found.state not in ("PENDING", "RUNNING"):
            where += f" ({found.state.lower()})"
        task = Task(what, where, job.started, found.resources, job.log, number)
        (status.waits if found.waits else status.runs).append(task)
    if any(job.rule == "ingest" for job in log.running.values()):
        status.waits.append(Task("the next batch", "new movies", "", "", "", None))


def _left(session: Path, status: Status, jobs: dict[str, ClusterJob]) -> None:
    """What still works although its run has ended."""
    status.left += [
        f"SLURM job {number} ({found.state.lower()}): {_named(found)}"
        for number, found in jobs.items()
    ]
    status.left += [f"process {process.pid} on this machine" for process in local_orphans(session)]


def _named(found: ClusterJob) -> str:
    """What a job is for, from what the scheduler knows of it."""
    return " ".join(part for part in (found.rule, found.wildcards) if part)


def _task(job: Job, where: str) -> Task:
    threads = int(job.threads) if job.threads.isdigit() else 1
    resources = [f"{threads} thread" + ("s" if threads != 1 else "")]
    # here a job asks for one where there is none, too, and then computes without
    if job.slurm_id and "gpu=" in job.resources and "gpu=0" not in job.resources:
        resources.append("a GPU")
    what = purpose(job.rule, wildcards_of(job.wildcards))
    return Task(what, where, job.started, ", ".join(resources), job.log, job.slurm_id)


def _progress(session: Path, status: Status, log: RunLog, patience_s: float) -> None:
    goes_on = status.state in ("running", "elsewhere")

    def count() -> str:
        progress = Counting(session, load_config(session / "config.yaml")).now()
        return progress_line(progress, log.running_line() if goes_on else "")

    try:
        status.progress = _within(count, patience_s)
    except TimeoutError:
        status.problems.append(
            f"the session's files or its movies could not be counted within {patience_s:.0f} s: "
            "their file system is slow, or away"
        )
    except (CryosnakeError, OSError) as error:
        status.problems.append(str(error))


def _within(ask: Callable[[], str], seconds: float) -> str:
    """The answer, if it comes in time; one that does not come is not waited for any more."""
    answers: queue.Queue = queue.Queue()

    def work() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return answer


def _verdict(session: Path, status: Status) -> None:
    try:
        content = json.loads((session / layout.VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    status.verdict = content["verdict"]
    against = [one for one in content["reasons"] if one["speaks_for"] != "go"]
    status.verdict_reasons = [
        f"{one['rule']}: {one['value']}. {one['advice']}" for one in against or content["reasons"]
    ]


def _advise(status: Status) -> None:
    again = f"cryosnake run {status.session}"
    if status.run is not None:
        again += " --watch" if status.run.mode == "watch" else ""
        again += f" --profile {status.run.profile}" if status.run.profile != "local" else ""
    goes_on = status.state in ("running", "by_hand", "elsewhere")
    if status.left:
        status.to_do.append(
            f"End what is left: cryosnake stop {status.session} (a new run does it, too)."
        )
    if status.state == "never":
        status.to_do.append(f"Start it: {again}")
    elif status.state == "killed":
        status.to_do.append(
            f"The run was killed, or its machine stopped. Nothing is lost; go on with: {again}"
        )
    elif status.failed and goes_on:
        status.to_do.append("The rest goes on. When it has ended, run again for what failed.")
    elif status.state == "failed":
        status.to_do.append(f"When it is mended, go on with: {again}")
    elif status.state == "interrupted":
        status.to_do.append(f"It was stopped. Go on with: {again}")
