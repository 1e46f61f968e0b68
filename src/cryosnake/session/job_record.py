"""What a job was and what it took: one small JSON file beside its log, for people and programs.

It is written when the job starts and again when it ends, so that a job that was killed shows as one
that never ended. A job that is done again keeps what became of it before.
"""

import json
import os
import resource
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.leases import leases
from cryosnake.quick_star import read_rows

#: What became of a job. An earlier attempt that never said how it ended was `killed`.
OUTCOMES = ("running", "done", "failed", "refused", "killed")


@dataclass
class JobRecord:
    """One run of a job.

    Parameters
    ----------
    rule, wildcards : what Snakemake calls it.
    started_s, ended_s : Unix times; the start of Python and of its libraries lies before them.
    cpu_s : of the whole process and of the programs that it ran.
    peak_rss_mb : largest memory of the process, or of a program that it ran.
    device : what was leased (`cpu`, `cuda:0`), None where nothing was.
    lease_s : how long it was held. lease_wait_s : how long was waited for a free GPU.
    outcome : one of `OUTCOMES`; `refused` is an error that was foreseen and told in one line.
    units : the work in it: `movies`, `particles`, `batches`, as far as is cheap to know.
    attempt : from 1, how often this job has been started. earlier : those before, the oldest first.
    """

    rule: str
    wildcards: dict[str, str]
    started_s: float
    ended_s: float | None = None
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0
    threads: int = 1
    device: str | None = None
    lease_s: float = 0.0
    lease_wait_s: float = 0.0
    cuda_visible_devices: str | None = None
    host: str = ""
    pid: int = 0
    slurm_job_id: str | None = None
    outcome: str = "running"
    units: dict[str, int] = field(default_factory=dict)
    attempt: int = 1
    earlier: list[dict] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """How long the job took; 0 while it runs or where it was killed."""
        return max(0.0, self.ended_s - self.started_s) if self.ended_s is not None else 0.0


def record_path(log: str | os.PathLike) -> Path:
    """The record beside a log file."""
    return Path(f"{os.fspath(log)}.json")


def read_record(path: str | os.PathLike) -> JobRecord | None:
    """A record, or None where there is none (or none that can be read)."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {one.name for one in fields(JobRecord)}
        return JobRecord(**{key: value for key, value in content.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_record(path: str | os.PathLike, record: JobRecord) -> None:
    """Put a record on disk, whole."""
    write_text(path, json.dumps(asdict(record), indent=1) + "\n")


def session_records(session: Path) -> Iterator[JobRecord]:
    """The records of all jobs of a session, in the order of their files' names."""
    for path in sorted((Path(session) / layout.RESULTS / "logs").rglob("*.log.json")):
        record = read_record(path)
        if record is not None:
            yield record


def begin(
    path: Path, rule: str, wildcards: Mapping[str, str], threads: int, units: dict[str, int]
) -> JobRecord:
    """The record of a job that starts now, with what became of its earlier attempts."""
    record = JobRecord(
        rule=rule,
        wildcards=dict(wildcards),
        started_s=time.time(),
        threads=threads,
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        host=socket.gethostname(),
        pid=os.getpid(),
        slurm_job_id=os.environ.get("SLURM_JOB_ID"),
        units=units,
    )
    before = read_record(path)
    if before is not None:
        last = {
            "attempt": before.attempt,
            "started_s": before.started_s,
            "ended_s": before.ended_s,
            "outcome": "killed" if before.outcome == "running" else before.outcome,
            "host": before.host,
            "slurm_job_id": before.slurm_job_id,
        }
        record.attempt = before.attempt + 1
        record.earlier = [*before.earlier, last]
    return record


def end(record: JobRecord, outcome: str, leases_before: int) -> None:
    """Fill in what is known once the job has ended.

    Parameters
    ----------
    leases_before : number of the process's leases when the job started.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    record.ended_s = time.time()
    record.cpu_s = round(own.ru_utime + own.ru_stime + programs.ru_utime + programs.ru_stime, 3)
    record.peak_rss_mb = round(max(own.ru_maxrss, programs.ru_maxrss) / 1024, 1)
    record.outcome = outcome
    held = leases()[leases_before:]
    if held:
        record.device = held[-1].device
        record.lease_s = round(sum(one.held_s for one in held), 3)
        record.lease_wait_s = round(sum(one.waited_s for one in held), 3)


def units_of(session: Path, wildcards: Mapping[str, str]) -> dict[str, int]:
    """The work in a job, from its wildcards: rows of its batch, particles of its round."""
    units = {}
    if "batch" in wildcards:
        path = Path(session) / layout.batch_star(wildcards["batch"])
        for block in ("movies", "particles"):  # a batch holds one or the other
            try:
                units[block] = len(read_rows(path, block)[1])
            except BadInputError:
                continue
    elif str(wildcards.get("particles", "")).isdigit():
        units["particles"] = int(wildcards["particles"])
    if str(wildcards.get("batches", "")).isdigit():
        units["batches"] = int(wildcards["batches"])
    return units
