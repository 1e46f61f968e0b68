"""What all scripts of the workflow share: a log file, a record, and how a failure is told."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryosnake.errors import CryosnakeError
from cryosnake.leases import leases
from cryosnake.session import job_record
from cryosnake.session.job_record import JobRecord


@contextmanager
def job_log(snakemake) -> Iterator[logging.Logger]:
    """Log a job to its file; an error that was foreseen ends the job in one line, without trace.

    Beside the log lies the job's record (`job_record`): what it was, and what it took.

    Parameters
    ----------
    snakemake : the object that Snakemake gives to a script. The first file of its `log` is
        written.
    """
    log = logging.getLogger("cryosnake")
    log.setLevel(logging.INFO)
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    wildcards = {key: str(value) for key, value in snakemake.wildcards.items()}
    record = job_record.begin(
        job_record.record_path(path),
        snakemake.rule,
        wildcards,
        int(snakemake.threads),
        job_record.units_of(Path.cwd(), wildcards),
    )
    leases_before = len(leases())
    outcome = "killed"
    _write(path, record, log)
    try:
        yield log
        outcome = "done"
    except CryosnakeError as error:
        outcome = "refused"
        log.error("%s", error)
        sys.exit(str(error))
    except Exception:
        outcome = "failed"
        log.exception("the job failed")
        raise
    finally:
        job_record.end(record, outcome, leases_before)
        _write(path, record, log)
        handler.close()
        log.removeHandler(handler)


def _write(path: Path, record: JobRecord, log: logging.Logger) -> None:
    """A record that cannot be written (a full disk) must not hide what became of the job."""
    try:
        job_record.write_record(job_record.record_path(path), record)
    except OSError as error:
        log.warning("the job's record cannot be written: %s", error)
