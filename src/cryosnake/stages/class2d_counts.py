"""How many particles of which batch and grid square went to which class."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.quick_star import read_columns


def counts_json(session: Path, particles: pd.DataFrame, classes: int) -> str:
    """Count the particles of a table by batch, grid square and class.

    Parameters
    ----------
    particles : with `rlnMicrographName` (or `csnBatch`, where they were given to the session),
        `rlnClassNumber` and `csnLogEvidence`.
    classes : number of classes K.

    Returns
    -------
    JSON: a list of `batch`, `square`, `counts` (K numbers), `particles` (also such without a
    class) and `evidence` (their mean, or null), one for each pair of batch and square.
    """
    if particles.empty:
        return "[]\n"
    if "csnBatch" in particles:  # given to the session: of its micrographs nothing is known
        batch, square = particles["csnBatch"], pd.Series("-", index=particles.index)
    else:
        batch = particles["rlnMicrographName"].map(_batch_of)
        squares = _squares(session, sorted(set(batch)))
        square = particles["rlnMicrographName"].map(squares).fillna("-")
    rows = []
    for (one, where), part in particles.groupby([batch, square], sort=True):
        numbers = part["rlnClassNumber"].to_numpy(int)
        evidence = float(part["csnLogEvidence"].mean())
        rows.append(
            {
                "batch": one,
                "square": where,
                "particles": len(part),
                "counts": np.bincount(numbers, minlength=classes + 1)[1:].tolist(),
                "evidence": round(evidence, 2) if np.isfinite(evidence) else None,
            }
        )
    return json.dumps(rows) + "\n"


def _batch_of(micrograph: str) -> str:
    return Path(micrograph).parent.name


def _squares(session: Path, batches: Iterable[str]) -> dict[str, str]:
    """Grid square of each micrograph of some batches."""
    found = {}
    for batch in batches:
        path = session / layout.batch_table(batch)
        found.update(read_columns(path, "micrographs", ("rlnMicrographName", "csnGridSquare")))
    return found


def developed(rows: list[dict], kept: np.ndarray, by: str) -> list[dict]:
    """How quality and views develop over batches, or differ between grid squares.

    Parameters
    ----------
    rows : of `counts_json`.
    kept : (K,) bool, classes that go on.
    by : `batch` or `square`.

    Returns
    -------
    One dict each, in the order of first appearance: `particles`; `good`, the part of them in kept
    classes; `evidence`, their mean log evidence; `largest_view`, the part of the largest kept class
    among those in kept classes; `views`, the effective number of kept classes, the exponential of
    the entropy of their parts. None where there is nothing to tell it from.
    """
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    result = []
    for name, members in groups.items():
        counts = np.sum([row["counts"] for row in members], axis=0)
        number = sum(row["particles"] for row in members)
        good = counts[kept]
        parts = good[good > 0] / max(good.sum(), 1)
        known = [row for row in members if row["evidence"] is not None]
        weight = sum(row["particles"] for row in known)
        evidence = sum(row["evidence"] * row["particles"] for row in known) / max(weight, 1)
        result.append(
            {
                by: name,
                "particles": int(number),
                "good": round(float(good.sum() / max(number, 1)), 4),
                "evidence": round(evidence, 2) if known else None,
                "largest_view": round(float(parts.max()), 4) if len(parts) else None,
                "views": round(float(np.exp(-(parts * np.log(parts)).sum())), 2)
                if len(parts)
                else None,
            }
        )
    return result
