"""Refinement of the volume that the class averages speak for, and what is to be said of it."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc, write_png, write_volume
from cryosnake.particles import write_no_particles, write_particles
from cryosnake.stages.class2d import PROBLEMS
from cryosnake.stages.files import write_decisions
from cryosnake.stages.newest import publish
from cryosnake.stages.postprocess import Postprocessed, postprocess, with_relion
from cryosnake.stages.refine_decisions import (
    decisions,
    empty_result,
    failure,
    figures,
    known_figures,
    known_map,
    no_known_map,
)
from cryosnake.stages.refine_defocus import defocus_told
from cryosnake.stages.refine_engines import (
    RefinedHalves,
    Task,
    engine_of,
    going_on,
    refinement_task,
    widened,
)
from cryosnake.stages.refine_files import MAPS, told, write_json
from cryosnake.stages.refine_symmetry import as_row, symmetries, symmetry_told
from cryosnake.tables import write_star
from cryosnake.validation.directional import DirectionalFsc
from cryosnake.validation.fsc import fsc_blocks
from cryosnake.validation.known_map import KnownMapMatch, compare_with_known
from cryosnake.validation.orientation_picture import draw_orientations
from cryosnake.validation.orientations import view_angles, views
from cryosnake.validation.volume_picture import draw_map

log = logging.getLogger("cryosnake")

_NO_RESOLUTION = 999.0
_TABLES = ("particles.star", "fsc.star", "cfsc.star")
_PICTURES = ("map.png", "orientations.png")
#: Also beside the folders of the rounds, of the newest.
PUBLISHED = (*(f"{name}.mrc" for name in MAPS), *_TABLES, *_PICTURES, "result.json")


def refine_volume(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> dict:
    """Refine the chosen volume of a round against its particles, and judge the result.

    What prevents it is written in place of the result, and does not end the session.

    Returns
    -------
    The content of `result.json`.
    """
    session = Path(session)
    subject = f"refine {particles}"
    for name in PUBLISHED:
        _file(session, particles, name).unlink(missing_ok=True)
    try:
        task = going_on(refinement_task(session, particles, config))
        task, refined, table, found = _refined(task, device, threads)
        result = _result(task, refined, table, found)
        match, about_known = _known_map(task, found)
        result["known_map"] = match and known_figures(config.validation.known_map, match)
        shown = symmetries(found, refined.halves, task.given.pixel_size_angst)
        result["symmetry_found"] = [as_row(one) for one in shown]
    except PROBLEMS as error:
        log.exception("no refinement")
        result = empty_result(told(error), config.refine.engine)
        write_no_particles(_file(session, particles, "particles.star"))
        _finish(session, particles, result, failure(subject, result))
        return result
    write_particles(_file(session, particles, "particles.star"), task.given.groups, table)
    _write_maps(
        task,
        {"map": found.volume, "sharpened": found.sharpened, "local_resolution": found.local_angst},
    )
    write_star(_file(session, particles, "fsc.star"), _curves(found, match))
    write_star(_file(session, particles, "cfsc.star"), _cones(found.directional))
    shown_map = found.volume if found.sharpened is None else found.sharpened
    picture = draw_map(shown_map, found.mask, found.local_angst, task.given.pixel_size_angst)
    write_png(_file(session, particles, "map.png"), picture)
    picture = draw_orientations(_views(table), found.directional)
    write_png(_file(session, particles, "orientations.png"), picture)
    about = decisions(subject, particles, result, found)
    about.append(symmetry_told(subject, config.refine.symmetry, task.symmetry, shown))
    about += defocus_told(subject, config, refined.defocus_offset_angst)
    _finish(session, particles, result, [*about, *about_known])
    return result


def _refined(
    task: Task, device: torch.device | str, threads: int
) -> tuple[Task, RefinedHalves, pd.DataFrame, Postprocessed]:
    """The refinement; once more under a larger mask where that of the 2D classes cuts the molecule
    and the box has room."""
    refined = engine_of(task.config)(task, device, threads)
    table = task.given.table.assign(**refined.columns)
    found = _postprocessed(task, refined, _views(table))
    wider = widened(task, refined, found.box)
    if wider is None:
        return task, refined, table, found
    log.info("%s; again with a mask of %.0f A", found.box.evidence, wider.diameter_angst)
    return _refined(wider, device, threads)


def _file(session: Path, particles: int, name: str) -> Path:
    return session / layout.refine_file(particles, name)


def _finish(session: Path, particles: int, result: dict, about: list[Decision]) -> None:
    """Decisions, and last the result: it says that all is there."""
    write_decisions(_file(session, particles, "decisions.star"), about)
    write_json(_file(session, particles, "result.json"), result)
    publish(session, layout.REFINE, particles, PUBLISHED, "result.json")


def _postprocessed(task: Task, refined: RefinedHalves, directions: np.ndarray) -> Postprocessed:
    """Half maps and mask are on disk after this: RELION's programs read them there."""
    found = postprocess(
        *refined.halves,
        task.given.pixel_size_angst,
        directions,
        diameter_angst=task.diameter_angst,
        shown=refined.shown,
        seed=task.config.compute.seed,
    )
    half1, half2 = refined.halves
    _write_maps(task, {"half1": half1, "half2": half2, "mask": found.mask})
    if task.config.refine.postprocess == "relion" and found.sharpened is not None:
        folder = _file(task.session, task.particles, ".")
        return with_relion(found, folder, task.config.refine.postprocess_command)
    return found


def _write_maps(task: Task, maps: dict[str, np.ndarray | None]) -> None:
    for name, volume in maps.items():
        if volume is not None:
            path = _file(task.session, task.particles, f"{name}.mrc")
            write_volume(path, volume, task.given.pixel_size_angst)


def _result(task: Task, refined: RefinedHalves, table: pd.DataFrame, found: Postprocessed) -> dict:
    return {
        "problem": None,
        "engine": task.config.refine.engine,
        "particles": int((table["rlnClassNumber"] > 0).sum()),
        "box_px": task.given.box_px,
        "pixel_size_angst": task.given.pixel_size_angst,
        "diameter_angst": task.diameter_angst,
        "symmetry": task.symmetry,
        "started_from_poses": task.start is not None,
        "mean_log_evidence": refined.mean_log_evidence,
        **figures(found, task.given.pixel_size_angst),
        "symmetry_found": [],
    }


def _curves(found: Postprocessed, match: KnownMapMatch | None) -> dict:
    """The blocks of `fsc.star`, with the curve against the known map if there is one."""
    blocks = fsc_blocks(found.curves)
    if match is not None:
        frequency = blocks["fsc"]["rlnResolution"]
        blocks["known_map"] = pd.DataFrame(
            {"rlnResolution": frequency, "rlnFourierShellCorrelation": match.curve}
        )
    return blocks


def _known_map(task: Task, found: Postprocessed) -> tuple[KnownMapMatch | None, list[Decision]]:
    """The result against the map that it should be; a bad file costs nothing else."""
    name = task.config.validation.known_map
    if name is None:
        return None, []
    subject = f"refine {task.particles}"
    try:
        volume, pixel_size_angst = read_mrc(task.session / name)
        match = compare_with_known(
            found.volume,
            task.given.pixel_size_angst,
            found.mask,
            volume,
            pixel_size_angst,
            resolution_angst=found.resolution_angst,
        )
    except BadInputError as error:
        return None, [no_known_map(subject, told(error))]
    return match, [known_map(subject, name, found, match)]


def _views(table: pd.DataFrame) -> np.ndarray:
    """(N, 3) directions of the beam, of the particles that could be used."""
    used = table[table["rlnClassNumber"] > 0]
    return views(used["rlnAngleRot"], used["rlnAngleTilt"])


def _cones(found: DirectionalFsc) -> dict:
    """The blocks of `cfsc.star`."""
    rot_deg, tilt_deg = view_angles(found.directions)
    about = {
        "csnConeAngle_deg": found.cone_deg,
        "csnConeBest_angst": min(found.best_angst, _NO_RESOLUTION),
        "csnConeWorst_angst": min(found.worst_angst, _NO_RESOLUTION),
        "csnConeMean_angst": min(found.mean_angst, _NO_RESOLUTION),
        "csnConeDeviation_angst": found.deviation_angst,
        "csnConeAreaRatio": found.area_ratio,
    }
    cones = pd.DataFrame(
        {
            "rlnAngleRot": rot_deg,
            "rlnAngleTilt": tilt_deg,
            "csnConeResolution_angst": np.minimum(found.resolution_angst, _NO_RESOLUTION),
            "csnConeArea": found.areas,
        }
    )
    return {"general": about, "cones": cones}
