"""What stages after curation have found so far: counts and decisions, from small files of jobs."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.assessment.quality import quality_alerts
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.quick_star import read_tables
from cryosnake.session.rounds import Rounds


def later_decisions(session: Path, batches: Iterable[str], config: Config) -> pd.DataFrame:
    """The decisions about everything after curation made so far."""
    about_training = [layout.picker_decisions(p) for p in ("log", "correlation", "network")]
    paths = [
        layout.SIZE_DECISIONS,
        *about_training,
        layout.CONSENSUS_DECISIONS,
        *(layout.model_decisions(n) for n in range(1, config.picking.model_version + 1)),
    ]
    for batch in batches:
        paths += [layout.coordinates_decisions(batch), layout.particles_decisions(batch)]
    for particles in Rounds(session, config.class2d).begun():
        paths.append(layout.class2d_file(particles, "decisions.star"))
        paths += layout.volume_decisions(particles)
    there = [session / path for path in paths if (session / path).exists()]
    return read_tables(there, "decisions")


def live_alerts(session: Path) -> list[Decision]:
    """Batches that could not be assigned to the newest 2D classes, and where quality falls."""
    path = session / layout.class2d_live("json")
    if not path.exists():
        return []
    live = json.loads(path.read_text(encoding="utf-8"))
    evidence = layout.class2d_live("png")
    unassigned = [
        Decision(
            subject=one["batch"],
            rule="class2d_stream",
            verdict="fail",
            value=one["problem"],
            threshold=f"particles that can be assigned to the classes of round {live['round']}",
            evidence="they are not in the newest averages",
        )
        for one in live["problems"]
    ]
    alerts = quality_alerts(live["batches"], live["squares"], evidence=evidence)
    return [*unassigned, *alerts]


def picked_counts(session: Path, table: pd.DataFrame) -> pd.DataFrame:
    """How many particles were picked on each micrograph of the session's table, in its order.

    Returns
    -------
    One row an accepted micrograph: `picks` (NaN where it is not picked yet) and `square`.
    """
    accepted = table[table["csnAccepted"] == 1]
    parts = []
    for batch in accepted["csnBatch"].unique():
        path = session / layout.picked_counts(batch)
        if path.exists():
            parts.append(pd.read_csv(path, dtype={"micrograph": str}))
    counts = pd.concat(parts) if parts else pd.DataFrame({"micrograph": [], "picks": []})
    picks = counts.drop_duplicates("micrograph", keep="last").set_index("micrograph")["picks"]
    square = accepted.get("csnGridSquare", "-")
    return pd.DataFrame(
        {"picks": accepted["rlnMicrographName"].map(picks).astype(float), "square": square}
    )
