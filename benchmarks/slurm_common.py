"""Sessions on the test cluster: the profile of a site, and what ran where."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from live_common import write_config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/slurm"))

from cluster import Cluster  # noqa: E402
from cluster import missing as missing  # noqa: E402
from cluster import temporary_cluster as temporary_cluster  # noqa: E402

from cryosnake.session.job_record import JobRecord, session_records  # noqa: E402

#: What a site fills in: partitions as the test cluster has them.
SITE = {"partition": '"cpu"', "gpu_partition": '"gpu"'}

#: Movies a batch of the tiny session.
JOB_MOVIES = 2


def site_profile(folder: Path, **settings: str) -> Path:
    """The shipped profile with its block of settings filled in, as a site does.

    Jobs are asked after every 2 s, which the small jobs here need; nothing else differs.
    """
    lines = (ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8").splitlines()
    for name, value in (SITE | settings).items():
        line = next(i for i, text in enumerate(lines) if text.startswith(f"  - {name} = "))
        lines[line] = f"  - {name} = {value}"
    checks = "slurm-init-seconds-before-status-checks:"
    line = next(i for i, text in enumerate(lines) if text.startswith(checks))
    lines[line] = f"{checks} 2"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_tiny_session(session: Path, movies: Path) -> None:
    """A session up to the curation, all batches of two movies; jobs ask for GPUs."""
    write_config(
        session,
        movies,
        ingest={"batch_movies": JOB_MOVIES, "batch_movies_max": JOB_MOVIES},
        milestones={"training_micrographs": 6},
        curation={"reject_by": []},  # everything is accepted: this is about jobs
        compute={"threads": 1, "device": "auto"},
    )


@dataclass(frozen=True)
class Allocation:
    """What one job had, and when; `work` is its rule and wildcards."""

    number: str
    work: str
    session: Path
    state: str
    gpus: int
    start_s: float
    end_s: float
    submit_s: float
    limit_min: int
    memory_mb: float


def allocations(cluster: Cluster, session: Path | None = None) -> list[Allocation]:
    """The jobs that have started, of one session or of all, in order of their starts."""
    found = []
    for job in cluster.jobs():
        if job["JobState"] == "PENDING" or "JOB_GRES" not in job:
            continue  # it has not started, or was cancelled before it could
        if session is not None and not same(job["WorkDir"], session):
            continue
        found.append(
            Allocation(
                number=job["JobId"],
                work=job.get("Comment", "").removeprefix("rule_"),
                session=Path(job["WorkDir"]),
                state=job["JobState"],
                gpus=_gpus(job["JOB_GRES"]),
                start_s=_seconds(job["StartTime"]),
                end_s=_seconds(job["EndTime"]),
                submit_s=_seconds(job["SubmitTime"]),
                limit_min=_minutes(job["TimeLimit"]),
                memory_mb=_megabytes(job),
            )
        )
    return sorted(found, key=lambda one: (one.start_s, int(one.number)))


def _gpus(gres: str) -> int:
    return 0 if gres == "(null)" else int(gres.split("(")[0].rsplit(":", 1)[1])


def _seconds(time_of_day: str) -> float:
    try:
        return datetime.fromisoformat(time_of_day).timestamp()
    except ValueError:
        return float("nan")


def _megabytes(job: dict[str, str]) -> float:
    asked = job.get("MinMemoryNode") or job["MinMemoryCPU"]
    return float(asked[:-1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[asked[-1]]


def _minutes(limit: str) -> int:
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = clock.split(":")
    return (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)


def shared_gpus(cluster: Cluster, *sessions: Path) -> list[str]:
    """Where the jobs of these sessions do not have the GPUs that they should have; [] if all do.

    SLURM tells from when to when a job had its GPU, the job which one it was.
    """
    wrong, held = [], {}
    for session in sessions:
        jobs = {job.number: job for job in allocations(cluster, session)}
        for record in session_records(session):
            job = jobs.get(record.slurm_job_id)
            if job is None:
                if record.cuda_visible_devices:
                    wrong.append(f"{record.rule} without an allocation sees a GPU")
                continue
            devices = (record.cuda_visible_devices or "").split(",") if job.gpus else []
            if len(devices) != job.gpus or (not job.gpus and record.cuda_visible_devices):
                wrong.append(f"{record.rule}: {job.gpus} GPUs, sees {record.cuda_visible_devices}")
            for device in devices:
                held.setdefault(device, []).append((job.start_s, job.end_s, record.rule))
    for device, spans in held.items():
        for one, other in pairwise(sorted(spans)):
            if other[0] < one[1]:
                wrong.append(f"GPU {device}: {one} and {other}")
    return wrong


def records(session: Path) -> dict[str, JobRecord]:
    """The records of jobs that ran on the cluster, by the numbers of their jobs."""
    return {one.slurm_job_id: one for one in session_records(session) if one.slurm_job_id}


def same(folder: str, session: Path) -> bool:
    """Whether a job's folder is that of a session."""
    return os.path.realpath(folder) == os.path.realpath(session)


def copies(cluster: Cluster, session: Path) -> list[str]:
    """Jobs that ran while another one did the same work."""
    by_work: dict[str, list[Allocation]] = {}
    for one in allocations(cluster, session):
        by_work.setdefault(one.work, []).append(one)
    return [
        f"{one.work}: jobs {one.number} and {other.number}"
        for jobs in by_work.values()
        for one, other in pairwise(jobs)
        if other.start_s < one.end_s
    ]


def in_queue(cluster: Cluster, session: Path) -> list[str]:
    """The numbers of a session's jobs that run or wait."""
    return [
        job["JobId"]
        for job in cluster.jobs()
        if job["JobState"] in ("RUNNING", "PENDING") and same(job["WorkDir"], session)
    ]


@contextlib.contextmanager
def on_cluster(cluster: Cluster):
    """This process and what it starts use a cluster."""
    before = dict(os.environ)
    os.environ.update(cluster.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def nothing_to_do(session: Path, profile: Path) -> bool:
    """Whether a plain Snakemake, as a user calls it, finds the session finished."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")),
            *("--profile", str(profile), "--directory", str(session)),
            *("--configfile", str(session / "config.yaml"), "--dry-run"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return "Nothing to be done" in done.stdout + done.stderr
