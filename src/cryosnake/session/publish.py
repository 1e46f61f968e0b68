"""Refreshing what people look at: the session's tables and its report."""

import logging
import os
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.report import write_report
from cryosnake.session.milestones import MILESTONES, judged
from cryosnake.session.tables import finished_batches, refresh
from cryosnake.tables import read_table

log = logging.getLogger("cryosnake")


def publish_report(session: Path, config: Config) -> None:
    """Write the report from the session's tables; it gets their modification time."""
    session = Path(session)
    made_s = (session / layout.MICROGRAPHS).stat().st_mtime
    micrographs = read_table(session / layout.MICROGRAPHS, "micrographs")
    decisions = read_table(session / layout.DECISIONS, "decisions")
    write_report(
        session / layout.REPORT,
        micrographs=micrographs,
        decisions=decisions,
        config=config,
        batches_seen=len(finished_batches(session)),
        batches_pending=len(layout.closed_batches(session)) - len(finished_batches(session)),
        milestones=_milestones(micrographs, config),
        results_dir=session / layout.RESULTS,
    )
    os.utime(session / layout.REPORT, (made_s, made_s))


def _milestones(micrographs: pd.DataFrame, config: Config) -> list[tuple[str, int, int]]:
    whole = judged(micrographs, config)
    return [
        (name, int(counts(whole, config).sum()), wanted(config))
        for name, (counts, wanted) in MILESTONES.items()
    ]


def refresh_all(session: Path, config: Config) -> None:
    """Bring tables and report up to date while a session runs.

    The rules `session_tables` and `report` own these files and write them at the end; a failure
    here is told in the log and must not stop the session.
    """
    try:
        refresh(session, config)
        publish_report(session, config)
    except Exception:
        log.exception("tables or report could not be refreshed; the end of the run does it again")
