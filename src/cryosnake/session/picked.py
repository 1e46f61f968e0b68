"""What is picked and extracted so far: counts and decisions, from small files of finished jobs."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.quick_star import read_tables


def picking_decisions(session: Path, batches: Iterable[str], model_version: int) -> pd.DataFrame:
    """The decisions about size, training, picking and extraction that have been made so far."""
    about_training = [layout.picker_decisions(p) for p in ("log", "correlation", "network")]
    paths = [
        layout.SIZE_DECISIONS,
        *about_training,
        layout.CONSENSUS_DECISIONS,
        *(layout.model_decisions(version) for version in range(1, model_version + 1)),
    ]
    for batch in batches:
        paths += [layout.coordinates_decisions(batch), layout.particles_decisions(batch)]
    there = [session / path for path in paths if (session / path).exists()]
    return read_tables(there, "decisions")


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
