"""What all scripts of the workflow share: a log file, and how a failure is told."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryosnake.errors import CryosnakeError


@contextmanager
def job_log(paths) -> Iterator[logging.Logger]:
    """Log a job to its file; an error that was foreseen ends the job in one line, without trace.

    Parameters
    ----------
    paths : Snakemake's `log`; the first one is written.
    """
    log = logging.getLogger("cryosnake")
    log.setLevel(logging.INFO)
    path = Path(paths[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    except CryosnakeError as error:
        log.error("%s", error)
        sys.exit(str(error))
    except Exception:
        log.exception("the job failed")
        raise
    finally:
        handler.close()
        log.removeHandler(handler)
