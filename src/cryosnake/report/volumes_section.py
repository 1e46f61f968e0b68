"""The section `Volumes` of the report: from ab initio volumes to the refined map."""

from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from cryosnake.config.model import Config
from cryosnake.report import class2d_rows
from cryosnake.report import volumes_figures as figures
from cryosnake.report import volumes_rows as rows
from cryosnake.report import volumes_words as words_of
from cryosnake.report.class2d_steps import Step
from cryosnake.report.json_values import length
from cryosnake.report.volumes_files import RoundVolumes, VolumesFiles, read_volumes
from cryosnake.report.volumes_parts import (
    Branch2d,
    CrossValidationPart,
    RefinedPart,
    VolumesPart,
    branches,
    crossvalidation_part,
    refined_part,
    round_words,
    volume_parts,
)
from cryosnake.report.volumes_steps import steps_of, waiting_words

_BEFORE = ("curation", "picking", "particles", "class2d")


@dataclass(frozen=True)
class VolumesSection:
    """What the page shows of 3D; all but the first three may be empty.

    Parameters
    ----------
    tile, tile_words : for the tiles at the top of the page.
    steps_of : the round that the steps are of.
    alarms, told : decisions of the newest results that somebody should look at, and the others.
    """

    headline: str
    tile: str
    tile_words: str
    problems: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    steps_of: str = ""
    alarms: list[class2d_rows.Told] = field(default_factory=list)
    told: list[class2d_rows.Told] = field(default_factory=list)
    volumes: list[VolumesPart] = field(default_factory=list)
    branch2d: list[Branch2d] = field(default_factory=list)
    branch2d_of: str = ""
    branch3d: VolumesPart | None = None
    crossvalidation: CrossValidationPart | None = None
    refined: RefinedPart | None = None
    forecast_figure: str = ""
    forecast_words: str = ""
    forecast_evidence: str = ""
    rounds: list[rows.RefinedRow] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


def volumes_section(
    config: Config,
    results_dir: Path,
    *,
    particles: int,
    particles_per_hour: float | None,
) -> VolumesSection | None:
    """Read what there is of 3D and prepare it for the page; None where the session ends before.

    Parameters
    ----------
    particles : extracted so far.
    particles_per_hour : at which they come; None where it is not known.
    """
    if config.workflow.until in _BEFORE:
        return None
    files = read_volumes(results_dir)
    if not files.rounds:
        words = waiting_words(config, particles, particles_per_hour)
        return VolumesSection(words, "waiting", "3D: after the 2D classes", files.problems)
    newest = files.rounds[-1]
    steps = steps_of(newest, config)
    refined = [one for one in files.rounds if one.result is not None]
    done = [one for one in refined if not one.result.get("problem")]
    forecast = next((one.forecast for one in reversed(files.rounds) if one.forecast), None)
    points = words_of.forecast_points(forecast)
    target = length((forecast or {}).get("target_angst"))
    return VolumesSection(
        headline=_headline(steps, done, newest),
        **_tile(steps, done),
        problems=files.problems,
        steps=steps,
        steps_of=round_words(newest),
        **_decisions(files),
        volumes=volume_parts(files, results_dir),
        **branches(files, results_dir),
        crossvalidation=crossvalidation_part(files, results_dir),
        refined=refined_part(done[-1], results_dir) if done else None,
        forecast_figure=Markup(figures.forecast_figure(points, forecast, target))
        if len(points) > 1
        else "",
        forecast_words=words_of.forecast_words(forecast),
        forecast_evidence=str((forecast or {}).get("evidence") or ""),
        rounds=[rows.refined_row(one) for one in refined[::-1]],
        facts=_facts(done),
    )


def _headline(steps: list[Step], done: list[RoundVolumes], newest: RoundVolumes) -> str:
    """The newest map; and what is going on, where that is of a later round."""
    words = ""
    if done:
        words = f"Refined map: {words_of.refined_words(done[-1].result)}"
        if done[-1] is newest:
            return words
    now = _current(steps)
    return f"{words} {now.title} ({round_words(newest)}): {now.words}.".strip()


def _current(steps: list[Step]) -> Step:
    """The step that failed or is at work, else the last one that is done."""
    for state in ("failed", "now"):
        if found := next((step for step in steps if step.state == state), None):
            return found
    return next((step for step in reversed(steps) if step.state == "done"), steps[0])


def _tile(steps: list[Step], done: list[RoundVolumes]) -> dict[str, str]:
    if done:
        row = rows.refined_row(done[-1])
        particles = f" from {row.particles:,} particles" if row.particles is not None else ""
        tile = f"{row.angst:.1f} Å" if row.angst else "none"
        return {"tile": tile, "tile_words": f"resolution of the refined map{particles}"}
    now = _current(steps)
    return {
        "tile": {"now": "at work", "waits": "waiting"}.get(now.state, now.state),
        "tile_words": f"3D, {now.title}: {now.words}",
    }


def _facts(done: list[RoundVolumes]) -> list[tuple[str, str]]:
    if not done:
        return []
    row = rows.refined_row(done[-1])
    return [("Refined map", f"{row.engine} engine, {words_of.refined_words(done[-1].result)}")]


def _decisions(files: VolumesFiles) -> dict[str, list[class2d_rows.Told]]:
    """What each step decided in the newest round that has it; of the 2D branch only what somebody
    should look at, since it tells of every class."""
    alarms, told = [], []
    seen: set[str] = set()
    for found in reversed(files.rounds):
        for path, table in found.decisions.items():
            step = path.replace(f"/{found.particles}/", "/")
            if step in seen:
                continue
            seen.add(step)
            for one in class2d_rows.told_rows(table):
                if one.verdict in class2d_rows.ALARMING:
                    alarms.append(one)
                elif "/branch2d/" not in path:
                    told.append(one)
    return {"alarms": alarms, "told": sorted(told, key=lambda one: one.verdict != "unsure")}
