"""What more particles would bring: refinements of parts of a round's particles, and a line through
their resolutions."""

import logging
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d.particle_table import particle_input
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.stages.class2d import PROBLEMS
from cryosnake.stages.files import write_decisions
from cryosnake.stages.pace import particles_per_hour
from cryosnake.stages.refine_engines import Task, natively, refinement_task
from cryosnake.stages.refine_files import Refinement, read_refinement, told, write_json
from cryosnake.validation.forecast import Fit, fit_resolution, forecast, in_words
from cryosnake.validation.fsc import corrected_fsc
from cryosnake.volumes3d.pose_columns import poses_of

log = logging.getLogger("cryosnake")

#: Parts of the particles that are refined by themselves.
_PARTS = (8, 4, 2)
#: Fewer particles are not refined.
LEAST = 300
_VERDICTS = {
    "reached": "pass",
    "forecast": "info",
    "unsure": "unsure",
    "out of reach": "warn",
}
_NOTHING = {
    "points": [],
    "b_factor_angst2": None,
    "particles": None,
    "low": None,
    "high": None,
    "hours": None,
    "hours_low": None,
    "hours_high": None,
}


def write_forecast(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> dict:
    """Foretell what the target resolution would take; what prevents it is written in its place.

    Returns
    -------
    The content of `forecast.json`.
    """
    session = Path(session)
    try:
        content = _forecast(session, particles, config, device, threads)
    except PROBLEMS as error:
        log.exception("no forecast")
        content = _unknown(config, told(error)) | {"problem": told(error)}
    write_decisions(
        session / layout.refine_file(particles, "forecast_decisions.star"),
        [_decision(particles, content)],
    )
    write_json(session / layout.refine_file(particles, "forecast.json"), content)
    return content


def _forecast(session: Path, particles: int, config: Config, device, threads) -> dict:
    refined = read_refinement(session, particles)
    if refined.problem:
        raise RuntimeError(refined.problem)
    if refined.result["resolution_angst"] is None:
        return _unknown(config, "the refinement claims no resolution")
    points = [
        *_of_parts(refined, config, device, threads),
        *_of_earlier_rounds(session, particles),
        (refined.result["particles"], _resolution_angst(refined, *_halves(refined))),
    ]
    points = sorted((n, angst) for n, angst in points if math.isfinite(angst))
    pace, times = particles_per_hour(session, particles, refined.result["particles"])
    common = {"points": points, "particles_per_hour": pace, "pace_evidence": times}
    if len({number for number, _ in points}) < 2:
        return _unknown(config, "one number of particles gives no trend") | common
    try:
        fit = fit_resolution(*zip(*points, strict=True))
    except BadInputError as error:
        return _unknown(config, error.problem) | common
    return _content(fit, config, refined, pace) | common


def _content(fit: Fit, config: Config, refined: Refinement, pace: float | None) -> dict:
    found = forecast(
        fit,
        config.refine.target_angst,
        pixel_size_angst=refined.result["pixel_size_angst"],
        particles_per_hour=pace,
    )
    return asdict(found) | {
        "problem": None,
        "b_factor_angst2": fit.b_factor_angst2,
        # the line with one resolution for twice the particles, for those who draw it
        "resolution_at_twice_angst": fit.resolution_at(2.0 * refined.result["particles"]),
    }


def _unknown(config: Config, why: str) -> dict:
    return {
        **_NOTHING,
        "problem": None,
        "target_angst": config.refine.target_angst,
        "verdict": "unsure",
        "resolution_at_twice_angst": None,
        "particles_per_hour": None,
        "pace_evidence": "-",
        "evidence": why,
    }


def _of_parts(refined: Refinement, config: Config, device, threads: int) -> list[tuple[int, float]]:
    """Refinements of random parts from the poses of the whole, under its mask, with its definition
    of resolution: the line is about noise, and holds where particles are aligned."""
    task = refinement_task(refined.session, refined.particles, config)
    # the mask may have been made larger
    task = replace(task, diameter_angst=refined.result["diameter_angst"])
    table = refined.particle_blocks()[1]
    order = np.random.default_rng(config.compute.seed).permutation(len(table))
    found = []
    for part in _PARTS:
        number = len(table) // part
        if number < LEAST:
            continue
        chosen = table.iloc[np.sort(order[:number])].reset_index(drop=True)
        angst = _refined_angst(refined, _with(task, chosen), device, threads)
        log.info("%d particles: %.2f A", number, angst)
        found.append((number, angst))
    return found


def _with(task: Task, table: pd.DataFrame) -> Task:
    path = task.session / layout.refine_file(task.particles, "stack/particles.star")
    given = particle_input(path, task.given.groups, table, task.session)
    return replace(task, given=given, start=poses_of(table))


def _refined_angst(refined: Refinement, task: Task, device, threads: int) -> float:
    found = natively(task, device, threads)
    return _resolution_angst(refined, *found.halves) if found.shown else math.inf


def _halves(refined: Refinement) -> tuple[np.ndarray, np.ndarray]:
    return refined.map("half1"), refined.map("half2")


def _resolution_angst(refined: Refinement, half1: np.ndarray, half2: np.ndarray) -> float:
    """Of half maps under the mask of the whole refinement."""
    pixel_size_angst = refined.result["pixel_size_angst"]
    return corrected_fsc(half1, half2, pixel_size_angst, refined.map("mask")).resolution_angst


def _of_earlier_rounds(session: Path, particles: int) -> list[tuple[int, float]]:
    found = []
    for path in sorted((session / layout.REFINE).glob("*/result.json")):
        name = path.parent.name
        if name.isdigit() and int(name) < particles:
            result = read_refinement(session, int(name)).result
            if result["problem"] is None and result["resolution_angst"] is not None:
                found.append((result["particles"], result["resolution_angst"]))
    return found


def _decision(particles: int, content: dict) -> Decision:
    target = f"{content['target_angst']:g} A"
    value = f"{target}: {content['verdict']}"
    if _finite(content["particles"]):
        value = f"{target} from {in_words(content['particles'])} particles"
        if _finite(content["low"]):
            value += f" ({in_words(content['low'])} to {in_words(content['high'])})"
        if _finite(content["hours"]):
            value += f", {content['hours']:.1f} hours more"
    points = ", ".join(f"{n} particles {angst:.2f} A" for n, angst in content["points"])
    return Decision(
        subject=f"refine {particles}",
        rule="forecast",
        verdict="fail" if content["problem"] else _VERDICTS[content["verdict"]],
        value=value,
        threshold=f"refine.target_angst = {content['target_angst']:g}",
        confidence=0.68 if content["verdict"] == "forecast" else 0.5,
        evidence=f"{content['evidence']}; {points or 'no points'}",
    )


def _finite(value) -> bool:
    return value is not None and math.isfinite(value)
