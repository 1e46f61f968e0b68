"""Bringing what people look at up to date: tables, classes, verdict, report."""

import logging
from pathlib import Path

from cryosnake.config.model import Config
from cryosnake.session.publish import publish_report
from cryosnake.session.tables import refresh
from cryosnake.stages.live_class2d import refresh_live
from cryosnake.stages.verdict import write_verdict

log = logging.getLogger("cryosnake")


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
