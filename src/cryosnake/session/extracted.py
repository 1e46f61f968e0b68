"""How many particles a batch has."""

from pathlib import Path

import pandas as pd

from cryosnake import layout


def extracted_particles(session: Path, batch: str) -> int:
    """The number of particles that were extracted of a batch, or given with it."""
    return int(pd.read_csv(Path(session) / layout.extracted_counts(batch))["extracted"].sum())
