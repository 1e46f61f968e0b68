"""The report page: one HTML file that needs no network and no other file."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cryosnake import __version__
from cryosnake.config.model import Config
from cryosnake.curation import agreement
from cryosnake.files import write_text
from cryosnake.report import figures, gallery, summary
from cryosnake.report.backlog import backlog_figure, growing_backlog, waits_sentence
from cryosnake.report.class2d_section import class2d_section
from cryosnake.report.given_section import given_section
from cryosnake.report.picking_section import picking_section
from cryosnake.report.status import RULE_ADVICE, session_status
from cryosnake.report.table import left_out_files, prepared
from cryosnake.report.verdict_section import verdict_section
from cryosnake.report.volumes_section import volumes_section

#: Longest tables of the page; what is left out is counted there, and is in the STAR files.
REJECTED_LISTED = 1000
DECISIONS_LISTED = 1500


def write_report(
    path: str | Path,
    *,
    micrographs: pd.DataFrame,
    decisions: pd.DataFrame,
    config: Config,
    batches_seen: int,
    batches_pending: int,
    milestones: list[summary.Milestone],
    results_dir: str | Path,
) -> None:
    """Write the session's report whole or not at all.

    Parameters
    ----------
    path : the HTML file.
    micrographs : the rows of micrographs.star so far, in ledger order; columns that are missing
        count as not computed. May have no rows.
    decisions : the rows of decisions.star; may have no rows and no columns.
    batches_seen, batches_pending : batches that have been processed, and that wait.
    milestones : (name, have, need) of each, in order.
    results_dir : holds `preprocess/<batch>/<name>_thumb.png` and `_ctf.png`, and, once it has
        begun, `picking`, `class2d`, the folders of 3D and `verdict.json` (see `docs/report.md`).
    """
    html = render(
        micrographs=micrographs,
        decisions=decisions,
        config=config,
        batches_seen=batches_seen,
        batches_pending=batches_pending,
        milestones=milestones,
        results_dir=Path(results_dir),
        written=datetime.now(UTC),
    )
    write_text(path, html)


def render(
    *,
    micrographs: pd.DataFrame,
    decisions: pd.DataFrame,
    config: Config,
    batches_seen: int,
    batches_pending: int,
    milestones: list[summary.Milestone],
    results_dir: Path,
    written: datetime,
) -> str:
    """The page as text; the same arguments give the same text. See `write_report`."""
    table = prepared(micrographs)
    left_out = left_out_files(table, decisions)
    verdict = verdict_section(results_dir)
    given = given_section(config, decisions, results_dir, batches_pending=batches_pending)
    status = (
        given.status
        if given
        else session_status(
            table,
            verdict.untold(decisions) if verdict else decisions,
            left_out,
            config,
            batches_seen=batches_seen,
            batches_pending=batches_pending,
            further=growing_backlog(table, config),
        )
    )
    accepted = gallery.chosen_accepted(table, config.report.gallery)
    rejected = gallery.chosen_rejected(table, config.report.gallery)
    side_px = gallery.picture_side_px(2 * (len(accepted) + len(rejected)))
    rejected_rows, rejected_left_out = summary.rejected_rows(table, left_out, limit=REJECTED_LISTED)
    decision_rows, decisions_left_out = summary.decision_rows(decisions, limit=DECISIONS_LISTED)
    squares, squares_left_out = summary.square_rows(table)
    whole = summary.overall(table)
    pace = summary.pace_per_hour(table)
    accepted_pace = pace * whole["fraction"] if pace else None
    picking = None if given else picking_section(table, config, milestones, results_dir)
    extracted, median = (picking.extracted, picking.median) if picking else (None, None)
    extracted = given.ready if given else extracted
    particles_pace = accepted_pace * median if accepted_pace and median else None
    class2d = class2d_section(
        table,
        config,
        results_dir,
        particles=extracted or 0,
        particles_per_hour=particles_pace,
    )
    volumes = volumes_section(
        config,
        results_dir,
        particles=extracted or 0,
        particles_per_hour=particles_pace,
    )
    environment = templates()
    source = environment.loader.get_source
    script = source(environment, "script.js")[0]
    style = source(environment, "style.css")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        title=config.report.title,
        written=written.strftime("%Y-%m-%d %H:%M UTC"),
        written_iso=written.strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        script_hash=digest,
        status=status,
        whole=whole,
        pace=pace,
        seconds=summary.seconds_per_movie(table),
        batches_seen=batches_seen,
        batches_pending=batches_pending,
        low_acceptance=config.report.low_acceptance,
        filters=summary.filter_rows(table, config),
        milestones=[
            *summary.milestone_rows(milestones, accepted_pace),
            *summary.milestone_rows(class2d.waits if class2d else [], particles_pace),
        ],
        given=given,
        facts=given.facts if given else summary.fact_rows(table, config),
        squares=squares,
        squares_left_out=squares_left_out,
        backlog=Markup(backlog_figure(table)),
        waits=waits_sentence(table),
        outcome=Markup(figures.outcome_figure(table, config)),
        series=Markup(figures.series_figure(table, config)),
        histograms=Markup(figures.histogram_figure(table, config)),
        scatter=Markup(figures.scatter_figure(table, config)),
        accepted_cards=gallery.cards(accepted, results_dir, side_px),
        rejected_cards=gallery.cards(rejected, results_dir, side_px),
        rejected=rejected_rows,
        rejected_left_out=rejected_left_out,
        agreement=_agreement_rows(table),
        picking=picking,
        class2d=class2d,
        volumes=volumes,
        verdict=verdict,
        yield_advice=RULE_ADVICE["yield"],
        decisions=decision_rows,
        decisions_left_out=decisions_left_out,
    )


def templates() -> Environment:
    """The templates of the page and its parts; they escape all that they are given."""
    environment = Environment(
        loader=PackageLoader("cryosnake.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def breakable(name: str) -> Markup:
    """A file name, escaped, that may be broken across lines after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _agreement_rows(table: pd.DataFrame) -> list[dict]:
    """The matrices of `cryosnake.curation.agreement`, as rows of cells for the page."""
    found = agreement(table)
    matrices = []
    for title, meaning, frame in (
        ("Discrepancy", "part of the movies on which two filters differ", found.discrepancy),
        ("Jaccard", "rejected by both, of those rejected by either", found.jaccard),
        ("Correlation", "of the two verdicts", found.correlation),
    ):
        names = list(frame.columns)
        rows = [
            {
                "name": name,
                "cells": [
                    {"text": "-" if pd.isna(v) else f"{v:.2f}", "weight": 0 if pd.isna(v) else v}
                    for v in values
                ],
            }
            for name, values in zip(names, frame.to_numpy(), strict=True)
        ]
        matrices.append({"title": title, "meaning": meaning, "names": names, "rows": rows})
    return matrices if len(found.movies) > 1 else []
