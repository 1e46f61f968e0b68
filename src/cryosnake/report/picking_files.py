"""What the report reads of picking: small files only, whatever state they are in.

A file that is not there is waited for; one that is damaged is told, and is no reason to be without
a report.
"""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout


@dataclass
class PickingFiles:
    """The contents of the files of picking.

    Parameters
    ----------
    size, agreement, model : the objects of `size.json`, `training/agreement.json` and
        `model/v<version>.json`; None where the file is missing or damaged.
    counts : the prepared table's rows of picked micrographs, with `picks` and `extracted` (float,
        NaN where not known) and `square`.
    problems : what could not be read, in words.
    damaged : the paths of those objects, as `layout` has them.
    """

    size: dict | None = None
    agreement: dict | None = None
    model: dict | None = None
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    problems: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)


def below(results_dir: Path, path: str) -> Path:
    """Where a file of the layout lies, for results that are anywhere."""
    return results_dir / Path(path).relative_to(layout.RESULTS)


def read_picking(
    table: pd.DataFrame, results_dir: Path, *, model_version: int
) -> PickingFiles | None:
    """Read the files of picking; None where the session has no folder of it yet.

    Parameters
    ----------
    table : as `report.table.prepared` gives it.
    """
    if not below(results_dir, layout.PICKING).is_dir():
        return None
    files = PickingFiles()
    files.size = _json_object(results_dir, layout.SIZE, files)
    files.agreement = _json_object(results_dir, layout.AGREEMENT, files)
    files.model = _json_object(results_dir, layout.model_file(model_version, "json"), files)
    files.counts = _counts(table, results_dir, files.problems)
    return files


def _json_object(results_dir: Path, path: str, files: PickingFiles) -> dict | None:
    try:
        found = json.loads(below(results_dir, path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        problem = f"{path} cannot be read ({error})."
    else:
        if isinstance(found, dict):
            return found
        problem = f"{path} holds no JSON object."
    files.problems.append(problem)
    files.damaged.add(path)
    return None


def _counts(table: pd.DataFrame, results_dir: Path, problems: list[str]) -> pd.DataFrame:
    """Counts of all batches in one pass.

    Micrographs are matched by batch and file name, which is unique within a batch, so that it does
    not matter whether a name comes with its folder.
    """
    batches = table["csnBatch"].unique()
    keys = list(zip(table["csnBatch"], table["stem"], strict=True))
    counts = table.assign(square=table["csnGridSquare"])
    for column, path_of in (
        ("picks", layout.picked_counts),
        ("extracted", layout.extracted_counts),
    ):
        found: dict[tuple[str, str], float] = {}
        damaged = []
        for batch in batches:
            try:
                text = below(results_dir, path_of(batch)).read_text(encoding="utf-8")
                found.update({(batch, stem): n for stem, n in _counted(text, column)})
            except FileNotFoundError:
                continue
            except (OSError, ValueError, csv.Error) as error:
                damaged.append(f"{path_of(batch)} cannot be read ({error})")
        if damaged:
            more = f", nor can {len(damaged) - 1} more of its kind" if len(damaged) > 1 else ""
            problems.append(f"{damaged[0]}{more}.")
        counts[column] = np.array([found.get(key, math.nan) for key in keys], float)
    return counts[counts["picks"].notna()].reset_index(drop=True)


def _counted(text: str, column: str) -> Iterable[tuple[str, float]]:
    """File name without ending, and number, of each row of a `counts.csv`."""
    rows = csv.reader(text.splitlines())
    header = next(rows, [])
    if missing := {"micrograph", column} - set(header):
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    name, value = header.index("micrograph"), header.index(column)
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} values, expected {len(header)}")
        number_of = float(row[value])
        if not 0 <= number_of < math.inf:
            raise ValueError(f"{column} = {row[value]}")
        yield row[name].rsplit("/", 1)[-1].removesuffix(".mrc"), number_of
