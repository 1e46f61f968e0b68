"""What the report reads of 2D classification, whatever state it is in.

A file that is not there is waited for; one that is damaged is told, and is no reason to be without
a report.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.report.json_values import number
from cryosnake.report.picking_files import below
from cryosnake.tables import read_star, read_table

_NEEDED = ("csnClassPopulation", "csnClassLabel", "csnClassKept")
_TEXTS = {"csnClassLabel": "-", "csnClassReason": "-"}
_NUMBERS = ("csnClassPopulation", "csnClassKept", "rlnEstimatedResolution", "csnClassScore")


@dataclass
class RoundFiles:
    """The files of a round.

    Parameters
    ----------
    particles : the number that it was started at, which is its name.
    about : block `general` of averages.star; None where it is missing or damaged.
    classes : as `classes_of` gives them; None before they are assessed.
    decisions : in the columns of decisions.star; may have no rows and no columns.
    damaged : a file without which the round cannot be told about is damaged.
    """

    particles: int
    about: dict | None = None
    classes: pd.DataFrame | None = None
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    damaged: bool = False

    @property
    def failure(self) -> str:
        """Why the classification gave nothing; empty where it did not fail."""
        problem = str((self.about or {}).get("csnProblem", "-"))
        return "" if problem == "-" else problem

    @property
    def done(self) -> bool:
        """Whether there are classes to show."""
        return not self.failure and self.classes is not None and len(self.classes) > 0

    def file(self, name: str) -> str:
        """The path of one of its files, as `layout` has it."""
        return layout.class2d_file(self.particles, name)


@dataclass
class Class2dFiles:
    """The contents of the files of 2D classification.

    Parameters
    ----------
    rounds : those that have begun, the smallest first.
    live : the object of live.json; empty where it is missing or damaged.
    live_classes : the newest state of the classes, likewise None.
    problems : what could not be read, in words.
    """

    rounds: list[RoundFiles] = field(default_factory=list)
    live: dict = field(default_factory=dict)
    live_classes: pd.DataFrame | None = None
    problems: list[str] = field(default_factory=list)


def read_class2d(results_dir: Path) -> Class2dFiles:
    """Read all that is there."""
    files = Class2dFiles()
    files.rounds = [_read_round(results_dir, n, files.problems) for n in _begun(results_dir)]
    files.live = _live(results_dir, files.problems)
    files.live_classes, _ = _classes(results_dir, layout.class2d_live("star"), files.problems)
    return files


def classes_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of the report out of a table of classes, each of one type.

    Raises
    ------
    ValueError : a column without which there is nothing to show is missing.
    """
    if missing := [name for name in _NEEDED if name not in table]:
        raise ValueError(f"no column {', '.join(missing)}")
    classes = pd.DataFrame(index=range(len(table)))
    source = table.reset_index(drop=True)
    for name in _NUMBERS:
        values = pd.Series(source.get(name, np.nan), index=classes.index)
        classes[name] = pd.to_numeric(values, errors="coerce").astype(float)
    for name, missing_text in _TEXTS.items():
        values = pd.Series(source.get(name, missing_text), index=classes.index, dtype=object)
        classes[name] = values.where(values.notna(), missing_text).astype(str)
    population = classes["csnClassPopulation"].where(np.isfinite(classes["csnClassPopulation"]), 0)
    classes["csnClassPopulation"] = population.clip(lower=0).astype(int)
    classes["csnClassKept"] = (classes["csnClassKept"] == 1).astype(int)
    return classes


def read_averages(path: Path, rows: np.ndarray, classes: int) -> tuple[np.ndarray, float]:
    """Some averages of a stack, and the pixel size in angstrom.

    Parameters
    ----------
    rows : which, from 0.
    classes : how many the stack must hold.

    Raises
    ------
    OSError, ValueError : it cannot be read, or does not fit.
    """
    with mrcfile.mmap(path, permissive=False) as mrc:
        pixel_size_angst = float(mrc.voxel_size.x)
        if mrc.data is None or mrc.data.ndim != 3 or len(mrc.data) != classes:
            shape = None if mrc.data is None else mrc.data.shape
            raise ValueError(f"shape {shape}, expected {classes} images")
        if mrc.data.shape[1] != mrc.data.shape[2] or not pixel_size_angst > 0:
            raise ValueError(f"shape {mrc.data.shape}, pixel size {pixel_size_angst:g} A")
        return np.array(mrc.data[rows], np.float32), pixel_size_angst


def _begun(results_dir: Path) -> list[int]:
    """The rounds that have a folder or a frozen subset."""
    folders = below(results_dir, layout.CLASS2D).glob("*/")
    subsets = below(results_dir, layout.SUBSETS).glob("particles_*.star")
    names = [folder.name for folder in folders]
    names += [subset.stem.removeprefix("particles_") for subset in subsets]
    return sorted({int(name) for name in names if name.isascii() and name.isdigit()})


def _read_round(results_dir: Path, particles: int, problems: list[str]) -> RoundFiles:
    found = RoundFiles(particles)
    path = below(results_dir, found.file("averages.star"))
    if path.exists():
        problem = "holds no block data_general"
        try:
            general = read_star(path).get("general")
            found.about = general if isinstance(general, dict) else None
        except BadInputError as error:
            problem = error.problem
        if found.about is None:
            problems.append(f"{found.file('averages.star')} {problem}.")
            found.damaged = True
    found.classes, damaged = _classes(results_dir, found.file("classes.star"), problems)
    found.damaged |= damaged
    path = below(results_dir, found.file("decisions.star"))
    if path.exists():
        try:
            found.decisions = read_table(path, "decisions")
        except BadInputError as error:
            problems.append(f"{found.file('decisions.star')} {error.problem}.")
    return found


def _classes(results_dir: Path, path: str, problems: list[str]) -> tuple[pd.DataFrame | None, bool]:
    """The classes of a file, and whether it is damaged."""
    if not below(results_dir, path).exists():
        return None, False
    try:
        return classes_of(read_table(below(results_dir, path), "classes")), False
    except BadInputError as error:
        problem = error.problem
    except ValueError as error:
        problem = f"has {error}"
    problems.append(f"{path} {problem}.")
    return None, True


def _live(results_dir: Path, problems: list[str]) -> dict:
    path = layout.class2d_live("json")
    try:
        found = json.loads(below(results_dir, path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path} cannot be read ({error}).")
        return {}
    if isinstance(found, dict) and number(found.get("round")) is not None:
        return found
    problems.append(f"{path} does not say which round it is of.")
    return {}
