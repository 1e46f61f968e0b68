"""What the report reads of 3D and of the branches that check it: small tables, whatever state they
are in.

A file that is not there is waited for; one that is damaged is told, and is no reason to be without
a report. Maps and stacks of images are never read: the stages leave pictures of them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.report.class2d_files import RoundFiles, classes_of
from cryosnake.report.picking_files import below
from cryosnake.report.volumes_tables import CONES, CURVES, KNOWN, SCORES, VOLUMES, Told, typed
from cryosnake.tables import read_star, read_table


@dataclass
class RoundVolumes:
    """The files of 3D of the particles kept of a 2D round; None where they are not there (yet).

    Parameters
    ----------
    particles : the number of the 2D round, which is the name of all folders.
    selected : whether the 2D round has selected its particles.
    abinitio, class3d, branch3d : volumes of these steps.
    branch2d : the 2D classifications of the branch, those that have begun.
    crossvalidation : scores of the volumes.
    extracted : whether the particles have been extracted again, or it is told why not.
    result, forecast : the objects of `result.json` and `forecast.json`.
    curves, known_curve, cones : of the refined map: shells, shells against a known map, directions.
    decisions : of each step, by the path of its file; in the columns of decisions.star.
    damaged : paths of files that could not be read.
    """

    particles: int
    selected: bool = False
    abinitio: Told | None = None
    class3d: Told | None = None
    branch2d: list[RoundFiles] = field(default_factory=list)
    branch3d: Told | None = None
    crossvalidation: Told | None = None
    extracted: bool = False
    result: dict | None = None
    forecast: dict | None = None
    curves: pd.DataFrame | None = None
    known_curve: pd.DataFrame | None = None
    cones: pd.DataFrame | None = None
    decisions: dict[str, pd.DataFrame] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)

    @property
    def begun(self) -> bool:
        """Whether there is anything but the particles of the 2D round."""
        found = (self.abinitio, self.class3d, self.branch3d, self.crossvalidation, self.result)
        return bool(self.decisions or self.branch2d or self.damaged or any(found))


@dataclass
class VolumesFiles:
    """Rounds, the smallest first, and what could not be read, in words."""

    rounds: list[RoundVolumes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_volumes(results_dir: Path) -> VolumesFiles:
    """Read all that is there."""
    tops = (layout.ABINITIO, layout.CLASS3D, layout.VALIDATION, layout.REFINE, layout.CLASS2D)
    names = {folder.name for top in tops for folder in below(results_dir, top).glob("*/")}
    files = VolumesFiles()
    for particles in sorted(int(name) for name in names if name.isascii() and name.isdigit()):
        found = _Reader(results_dir, files.problems).round(particles)
        if found.selected or found.begun:
            files.rounds.append(found)
    return files


def read_object(results_dir: Path, path: str, problems: list[str]) -> dict | None:
    """The object of a JSON file; None where it is missing or damaged, which is told."""
    try:
        found = json.loads(below(results_dir, path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path} cannot be read ({error}).")
        return None
    if isinstance(found, dict):
        return found
    problems.append(f"{path} holds no JSON object.")
    return None


class _Reader:
    """Reads one round; what cannot be read is added to the problems, and to the round's damage."""

    def __init__(self, results_dir: Path, problems: list[str]):
        self._results_dir = results_dir
        self._problems = problems
        self._damaged: set[str] = set()
        self._read: dict[str, dict | None] = {}

    def round(self, particles: int) -> RoundVolumes:
        validation = layout.validation_file(particles, "")
        refine = layout.refine_file(particles, "")
        selected = layout.class2d_file(particles, "selected.star")
        found = RoundVolumes(
            particles,
            selected=below(self._results_dir, selected).exists(),
            abinitio=self._told(
                layout.abinitio_file(particles, "volumes.star"), "volumes", VOLUMES
            ),
            class3d=self._told(layout.class3d_file(particles, "volumes.star"), "volumes", VOLUMES),
            branch2d=self._branch2d(particles),
            branch3d=self._told(f"{validation}branch3d/volumes.star", "volumes", VOLUMES),
            crossvalidation=self._told(f"{validation}crossvalidation.star", "volumes", SCORES),
            # a table of all particles: too large to be read for what stands above it
            extracted=below(self._results_dir, f"{refine}stack/particles.star").exists(),
            result=self._object(f"{refine}result.json"),
            forecast=self._object(f"{refine}forecast.json"),
            curves=self._frame(f"{refine}fsc.star", "fsc", CURVES),
            known_curve=self._frame(f"{refine}fsc.star", "known_map", KNOWN),
            cones=self._frame(f"{refine}cfsc.star", "cones", CONES),
            damaged=self._damaged,
        )
        for path in layout.volume_decisions(particles):
            if (table := self._decisions(path)) is not None:
                found.decisions[path] = table
        return found

    def _blocks(self, path: str) -> dict | None:
        """The blocks of a file; None where it is missing or damaged."""
        if path not in self._read:
            self._read[path] = None
            if below(self._results_dir, path).exists():
                try:
                    self._read[path] = read_star(below(self._results_dir, path))
                except BadInputError as error:
                    self._tell(path, error.problem)
        return self._read[path]

    def _tell(self, path: str, problem: str) -> None:
        if path not in self._damaged:
            self._problems.append(f"{path} {problem}.")
            self._damaged.add(path)

    def _told(self, path: str, block: str | None, columns: dict) -> Told | None:
        """A table with its block `general`; `block` None: that alone."""
        if (blocks := self._blocks(path)) is None:
            return None
        about = blocks.get("general")
        if not isinstance(about, dict):
            self._tell(path, "holds no block data_general")
            return None
        found = Told(about)
        if block is None:
            return found
        table = blocks.get(block)
        if isinstance(table, pd.DataFrame) and len(table):
            found.table = typed(table, columns)
        elif not found.failure:
            self._tell(path, f"holds no rows of data_{block}")
            return None
        return found

    def _frame(self, path: str, block: str, columns: dict) -> pd.DataFrame | None:
        """A loop of numbers, without rows that are not finite; None where it is not there."""
        blocks = self._blocks(path)
        table = (blocks or {}).get(block)
        if not isinstance(table, pd.DataFrame):
            return None
        found = typed(table, columns)
        return found if len(found) else None

    def _object(self, path: str) -> dict | None:
        before = len(self._problems)
        found = read_object(self._results_dir, path, self._problems)
        if len(self._problems) > before:
            self._damaged.add(path)
        return found

    def _branch2d(self, particles: int) -> list[RoundFiles]:
        """The 2D classifications that have begun, in order."""
        found = []
        for number in (1, 2):
            folder = layout.branch2d_folder(particles, number)
            if not below(self._results_dir, folder).is_dir():
                break
            one = RoundFiles(particles)
            if told := self._told(f"{folder}/averages.star", None, {}):
                one.about = told.about
            path = f"{folder}/classes.star"
            try:
                if below(self._results_dir, path).exists():
                    one.classes = classes_of(read_table(below(self._results_dir, path), "classes"))
            except BadInputError as error:
                self._tell(path, error.problem)
            except ValueError as error:
                self._tell(path, f"has {error}")
            one.damaged = {path, f"{folder}/averages.star"} & self._damaged != set()
            found.append(one)
        return found

    def _decisions(self, path: str) -> pd.DataFrame | None:
        if not below(self._results_dir, path).exists():
            return None
        try:
            return read_table(below(self._results_dir, path), "decisions")
        except BadInputError as error:
            self._tell(path, error.problem)
            return None
