"""The session's tables: all movies so far, their metrics, and every decision."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from cryosnake import layout
from cryosnake.acquisition import optics_groups
from cryosnake.config.model import Config
from cryosnake.curation import apply_dose_filter
from cryosnake.decisions import as_table
from cryosnake.errors import SessionStopError
from cryosnake.files import written_whole
from cryosnake.picking.yields import yield_alerts
from cryosnake.preprocess.detector import gain_decisions
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.quick_star import read_tables
from cryosnake.session.batch_size import size_decisions
from cryosnake.session.ledger import left_out_decisions
from cryosnake.session.picked import later_decisions, live_alerts, picked_counts
from cryosnake.tables import write_star

_OPTICS = {
    "rlnMicrographOriginalPixelSize": 6,
    "rlnVoltage": 3,
    "rlnSphericalAberration": 4,
    "rlnAmplitudeContrast": 4,
    "rlnMicrographPixelSize": 6,
}


def read_movies(session: Path, batches: Iterable[str]) -> pd.DataFrame:
    """The rows of preprocessed batches, in ledger order, every attempt."""
    paths = [session / layout.batch_table(batch) for batch in batches]
    return read_tables(paths, "micrographs")


def micrograph_blocks(table: pd.DataFrame, config: Config) -> dict[str, pd.DataFrame]:
    """The optics and micrographs blocks of RELION 3.1 from rows that carry their own optics.

    An optics group is a set of equal optics values and, where beam-image shifts are known and
    `acquisition.optics_groups` is auto, one cluster of the shifts. Movies that were never read have
    no optics; they join the first group. A group that holds no row of the table is not listed.
    """
    table = table.reset_index(drop=True)
    optics = pd.DataFrame({c: table.get(c, np.nan) for c in _OPTICS}, index=table.index)
    optics = optics.astype(float).round(_OPTICS)
    cluster = pd.Series(1, index=table.index)
    if config.acquisition.optics_groups == "auto" and "csnBeamShiftX" in table:
        shifts = table[["csnBeamShiftX", "csnBeamShiftY"]].astype(float)
        known = shifts.notna().all(axis=1)
        if known.any():
            cluster[known] = np.asarray(optics_groups(shifts[known].to_numpy()), dtype=int)
    keys = optics.assign(cluster=cluster)
    known = optics.notna().all(axis=1)
    order = keys[known].drop_duplicates().reset_index(drop=True)
    if order.empty:
        order = keys.iloc[:1].reset_index(drop=True)
    labels = {tuple(row): i + 1 for i, row in enumerate(order.itertuples(index=False))}
    group = [labels.get(tuple(row), 1) for row in keys.itertuples(index=False)]
    block = order.drop(columns="cluster")
    block.insert(0, "rlnOpticsGroupName", [f"opticsGroup{i + 1}" for i in range(len(order))])
    block.insert(1, "rlnOpticsGroup", range(1, len(order) + 1))
    micrographs = table.drop(columns=[c for c in _OPTICS if c in table])
    micrographs.insert(0, "rlnOpticsGroup", group)
    first = ["rlnMicrographName", "rlnMicrographMovieName", "rlnOpticsGroup"]
    rest = [c for c in micrographs.columns if c not in first]
    return {"optics": block, "micrographs": micrographs[[*first, *rest]]}


def finished_batches(session: Path, config: Config) -> list[str]:
    """Closed batches whose micrographs (or particles, where the session starts from them) are on
    disk, in ledger order."""
    if config.input.kind == "particles":
        closed = layout.closed_batches(session)
        return [b for b in closed if (session / layout.particles_star(b)).exists()]
    return [
        batch
        for batch in layout.closed_batches(session)
        if (session / layout.batch_table(batch)).exists()
        and (session / layout.batch_decisions(batch)).exists()
    ]


def refresh(session: Path, config: Config) -> pd.DataFrame:
    """Write `micrographs.star`, `metrics.csv` and `decisions.star` from what is finished.

    The files get the time at which the finished batches were listed as their modification time,
    so that a batch that finishes meanwhile counts as newer than they are. A session that starts
    from particles has no micrographs: those tables have columns and no rows.

    Raises
    ------
    SessionStopError : no finished batch, and no file left out, to write a table of.
    """
    session = Path(session)
    (session / layout.RESULTS).mkdir(parents=True, exist_ok=True)
    with FileLock(session / layout.RESULTS / ".tables.lock"):
        listed_s = time.time()
        batches = finished_batches(session, config)
        about_session = as_table(
            [
                *gain_decisions(session),
                *left_out_decisions(session),
                *size_decisions(session),
            ]
        )
        if not batches:
            raise SessionStopError(f"{session}: no batch is processed yet")
        if config.input.kind == "particles":
            table, warnings, paths = pd.DataFrame(columns=list(EMPTY_ROW)), [], []
        else:
            movies = read_movies(session, batches)
            latest = movies.drop_duplicates("rlnMicrographMovieName", keep="last")
            table, warnings = apply_dose_filter(latest, config.curation)
            paths = [session / layout.batch_decisions(batch) for batch in batches]
        alerts = yield_alerts(
            picked_counts(session, table), window_micrographs=config.curation.dose_window_movies
        )
        parts = [
            read_tables(paths, "decisions"),
            later_decisions(session, batches, config),
            as_table([*warnings, *alerts, *live_alerts(session)]),
            about_session,
        ]
        decisions = pd.concat([p for p in parts if not p.empty], ignore_index=True)
        blocks = micrograph_blocks(table, config)
        _publish(session / layout.MICROGRAPHS, listed_s, lambda p: write_star(p, blocks))
        _publish(
            session / layout.METRICS, listed_s, lambda p: _metrics(table).to_csv(p, index=False)
        )
        _publish(
            session / layout.DECISIONS, listed_s, lambda p: write_star(p, {"decisions": decisions})
        )
    return table


def _metrics(table: pd.DataFrame) -> pd.DataFrame:
    """One row a movie, one column a metric."""
    metrics = table.drop(columns=["rlnMicrographMetadata"], errors="ignore")
    stems = metrics["rlnMicrographName"].map(lambda p: os.path.basename(p)[: -len(".mrc")])
    metrics.insert(0, "micrograph", stems)
    return metrics


def _publish(path: Path, time_s: float, write) -> None:
    with written_whole(path) as temporary:
        write(temporary)
        os.utime(temporary, (time_s, time_s))
