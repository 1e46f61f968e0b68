"""Bringing what people look at up to date: tables, classes, verdict, report."""

import logging
import time
from pathlib import Path

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.session.publish import publish_report
from cryosnake.session.tables import refresh
from cryosnake.stages.live_class2d import refresh_live
from cryosnake.stages.verdict import write_verdict

log = logging.getLogger("cryosnake")

#: Least time between refreshes by counts and batches, and as a multiple of the last one's.
LEAST_PAUSE_S, PAUSE = 60.0, 10.0


def publish(session: Path, config: Config) -> None:
    """The verdict and the report, from tables that are up to date."""
    refresh_live(session, config)
    write_verdict(session, config)
    publish_report(session, config)


def refresh_all(session: Path, config: Config) -> None:
    """Tables, verdict and report while a session runs.

    The rules `session_tables` and `report` own these files and write them at the end; a failure
    here is told in the log and must not stop the session.
    """
    try:
        refresh(session, config)
        publish(session, config)
    except Exception:
        log.exception("tables or report could not be refreshed; the end of the run does it again")


def refresh_if_due(session: Path, config: Config) -> None:
    """Refresh all, unless that was done a moment ago.

    With each batch while a microscope collects. Where many batches are waiting, whose next steps
    must not wait for it, so rarely that it takes a small part of the time.
    """
    try:
        report = (Path(session) / layout.REPORT).stat()
    except FileNotFoundError:
        refresh_all(session, config)
        return
    # the report has the time of its tables; it was written when the refresh was over
    took_s = report.st_ctime - report.st_mtime
    if time.time() - report.st_ctime > max(LEAST_PAUSE_S, PAUSE * took_s):
        refresh_all(session, config)
