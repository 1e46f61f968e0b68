"""What stands in the report in place of movies, where a session starts from particles."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.report.picking_files import below
from cryosnake.report.picking_rows import size_facts
from cryosnake.report.picking_section import picture
from cryosnake.report.status import Status, count, given_findings


@dataclass(frozen=True)
class GivenSection:
    """The particles that were given.

    Parameters
    ----------
    ready : particles of the batches that later stages read.
    taken : particles of the table; None before all of it is taken in.
    facts : lines for the facts of the session.
    size_picture : of their size, as a data URI; empty where there is none.
    """

    status: Status
    ready: int
    taken: int | None
    facts: list[tuple[str, str]]
    size_picture: str


def given_section(
    config: Config, decisions: pd.DataFrame, results_dir: Path, *, batches_pending: int
) -> GivenSection | None:
    """Read what there is of given particles; None where the session does not start from them."""
    if config.input.kind != "particles":
        return None
    found = sorted(below(results_dir, layout.PARTICLES).glob("*/counts.csv"))
    ready = sum(_extracted(path) for path in found)
    taken = _json(below(results_dir, layout.GIVEN_TABLE)).get("particles")
    size = _json(below(results_dir, layout.SIZE))
    facts = [("Particles from", config.input.path)]
    if size:
        facts += [(f"Particle: {name.lower()}", value) for name, value in size_facts(size)[:2]]
    findings = given_findings(decisions, batches_pending)
    things = "one thing" if len(findings) == 1 else f"{len(findings)} things"
    status = Status(
        "watch" if findings else "good",
        f"Started from particles, {things} to look at." if findings else "Started from particles.",
        f"{count(ready, 'particle')} ready for classification"
        + (f", of {taken:,} in {config.input.path}." if taken is not None else "."),
        findings,
    )
    return GivenSection(
        status, ready, taken, facts, picture(below(results_dir, layout.SIZE_PICTURE))
    )


def _extracted(path: Path) -> int:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return sum(int(row["extracted"]) for row in csv.DictReader(stream))
    except (OSError, ValueError, KeyError):
        return 0  # a batch that is being written


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
