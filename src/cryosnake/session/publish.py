"""Writing the report from the session's tables."""

import os
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.report import write_report
from cryosnake.session.milestones import MILESTONES, judged
from cryosnake.session.tables import finished_batches
from cryosnake.tables import read_table


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
        batches_seen=(finished := len(finished_batches(session, config))),
        batches_pending=len(layout.closed_batches(session)) - finished,
        milestones=_milestones(micrographs, config),
        results_dir=session / layout.RESULTS,
    )
    os.utime(session / layout.REPORT, (made_s, made_s))


def _milestones(micrographs: pd.DataFrame, config: Config) -> list[tuple[str, int, int]]:
    if config.input.kind == "particles":
        return []
    whole = judged(micrographs, config)
    return [
        (name, int(counts(whole, config).sum()), wanted(config))
        for name, (counts, wanted) in MILESTONES.items()
    ]
