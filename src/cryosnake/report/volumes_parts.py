"""The parts of the section `Volumes`: volumes, branches, cross-validation, refined map."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from cryosnake import layout
from cryosnake.report import class2d_rows
from cryosnake.report import volumes_figures as figures
from cryosnake.report import volumes_rows as rows
from cryosnake.report.gallery import data_uri
from cryosnake.report.json_values import length
from cryosnake.report.picking_files import below
from cryosnake.report.picking_section import picture
from cryosnake.report.volumes_files import RoundVolumes, VolumesFiles
from cryosnake.report.volumes_tables import Told
from cryosnake.report.volumes_words import refined_facts

_MONTAGE_PX = 1140


@dataclass(frozen=True)
class VolumesPart:
    """The volumes of one step.

    Parameters
    ----------
    of : the round that they are of.
    picture : data URI; empty where there is none.
    words : which goes on and why.
    """

    title: str
    of: str
    picture: str
    rows: list[rows.VolumeRow]
    words: str
    empty: str


@dataclass(frozen=True)
class Branch2d:
    """A 2D classification of the branch; `picture` is a data URI, may be empty."""

    title: str
    row: class2d_rows.RoundRow
    picture: str


@dataclass(frozen=True)
class CrossValidationPart:
    """Volumes against the class averages."""

    of: str
    words: str
    picture: str
    rows: list[rows.ScoreRow]


@dataclass(frozen=True)
class RefinedPart:
    """The refined map; pictures are data URIs and figures SVG, empty where there is none."""

    of: str
    facts: list[tuple[str, str]]
    picture: str
    orientations: str
    curves_figure: str
    directions_figure: str


def round_words(found: RoundVolumes) -> str:
    """A round as it is named on the page."""
    return f"round of {found.particles:,} particles"


def _newest(files: VolumesFiles, step: str) -> RoundVolumes | None:
    """The newest round with a result of a step."""
    for found in reversed(files.rounds):
        told: Told | None = getattr(found, step)
        if told is not None and not told.failure and len(told.table):
            return found
    return None


def volume_parts(files: VolumesFiles, results_dir: Path) -> list[VolumesPart]:
    """Ab initio volumes and 3D classes, as far as there are some."""
    found = (
        _volumes(files, results_dir, "abinitio", "Ab initio volumes", layout.abinitio_file),
        _volumes(files, results_dir, "class3d", "3D classes", layout.class3d_file),
    )
    return [part for part in found if part]


def _volumes(
    files: VolumesFiles, results_dir: Path, step: str, title: str, file_of
) -> VolumesPart | None:
    found = _newest(files, step)
    if found is None:
        return None
    told: Told = getattr(found, step)
    decisions: pd.DataFrame | None = found.decisions.get(file_of(found.particles, "decisions.star"))
    return VolumesPart(
        title=title,
        of=round_words(found),
        picture=_picture(results_dir, file_of(found.particles, "volumes.png")),
        rows=rows.volume_rows(told),
        words=rows.chosen_words(decisions, step),
        empty=rows.empty_words(told),
    )


def branches(files: VolumesFiles, results_dir: Path) -> dict[str, object]:
    """The 2D branch of the newest round that has classes of it, and the 3D branch."""
    with_classes = [one for one in files.rounds if any(r.done for r in one.branch2d)]
    found = with_classes[-1] if with_classes else None
    branch2d = []
    for number, one in enumerate(found.branch2d if found else [], start=1):
        if one.done:
            path = f"{layout.branch2d_folder(found.particles, number)}/montage.png"
            row = class2d_rows.round_row(one, one.classes)
            montage = data_uri(below(results_dir, path), _MONTAGE_PX)
            branch2d.append(Branch2d(f"round {number}", row, montage))
    return {
        "branch2d": branch2d,
        "branch2d_of": round_words(found) if found else "",
        "branch3d": _volumes(files, results_dir, "branch3d", "3D branch", _branch3d_file),
    }


def _branch3d_file(particles: int, name: str) -> str:
    return f"{layout.branch3d_folder(particles)}/{name}"


def crossvalidation_part(files: VolumesFiles, results_dir: Path) -> CrossValidationPart | None:
    """The newest cross-validation; None before there is one."""
    found = _newest(files, "crossvalidation")
    if found is None:
        return None
    told = found.crossvalidation
    path = layout.validation_file(found.particles, "crossvalidation.png")
    return CrossValidationPart(
        of=round_words(found),
        words=rows.score_words(told),
        picture=_picture(results_dir, path),
        rows=rows.score_rows(told),
    )


def refined_part(found: RoundVolumes, results_dir: Path) -> RefinedPart:
    """The refined map of a round that has one."""
    cones = rows.cone_resolutions(found.cones)
    angst = length(found.result.get("resolution_angst"))
    curves = ""
    if found.curves is not None:
        curves = Markup(figures.curves_figure(found.curves, found.known_curve, angst))
    return RefinedPart(
        of=round_words(found),
        facts=refined_facts(found.result),
        picture=_picture(results_dir, layout.refine_file(found.particles, "map.png")),
        orientations=_picture(results_dir, layout.refine_file(found.particles, "orientations.png")),
        curves_figure=curves,
        directions_figure=Markup(figures.directions_figure(cones)) if cones is not None else "",
    )


def _picture(results_dir: Path, path: str) -> str:
    """The picture that a step left, inlined; empty where there is none."""
    return picture(below(results_dir, path))
