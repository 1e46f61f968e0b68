"""Where 3D is: the steps of a round, and what the next one waits for."""

from collections.abc import Iterable

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.report import class2d_rows
from cryosnake.report.class2d_files import RoundFiles
from cryosnake.report.class2d_steps import Step
from cryosnake.report.json_values import length
from cryosnake.report.status import count, percent
from cryosnake.report.summary import duration
from cryosnake.report.volumes_files import RoundVolumes
from cryosnake.report.volumes_rows import known_angst
from cryosnake.report.volumes_tables import Told
from cryosnake.report.volumes_words import forecast_words


def rounds_wanted(config: Config) -> list[int]:
    """The 2D rounds that 3D follows."""
    return sorted(config.class3d.rounds or [one.particles for one in config.class2d.rounds])


def waiting_words(config: Config, particles: int, per_hour: float | None) -> str:
    """What 3D waits for before it begins."""
    first = rounds_wanted(config)[0]
    if particles >= first:
        return f"3D starts with the good classes of the 2D round of {first:,} particles."
    words = f"3D starts after the 2D round of {first:,} particles ({particles:,} so far"
    if per_hour:
        words += f", the rest in about {duration(3600 * (first - particles) / per_hour)}"
    return f"{words})."


def steps_of(found: RoundVolumes, config: Config) -> list[Step]:
    """The steps of a round in order; those that follow the last configured stage are left out."""
    n = found.particles
    paths = (
        layout.abinitio_file(n, "volumes.star"),
        layout.class3d_file(n, "volumes.star"),
        f"{layout.branch3d_folder(n)}/volumes.star",
    )
    first, second, third = (path in found.damaged for path in paths)
    steps = [
        _volumes_step("Ab initio volumes", found.abinitio, found.selected, first),
        _volumes_step("3D classification", found.class3d, found.abinitio is not None, second),
    ]
    if config.workflow.until != "refine":
        return steps
    rounds = len(config.validation.rounds2d)
    steps += [_branch2d_step(found, number, rounds) for number in range(1, rounds + 1)]
    steps.append(_volumes_step("3D branch", found.branch3d, found.class3d is not None, third))
    ended = all(step.state in ("done", "failed") for step in steps)
    steps.append(_crossvalidation_step(found, ended))
    return [*steps, _extraction_step(found), _refinement_step(found), _forecast_step(found)]


def _state(title: str, ready: bool, damaged: bool) -> Step:
    """A step without a result."""
    if damaged:
        return Step(title, "waits", "for a file that can be read")
    return Step(title, "now", "at work") if ready else Step(title, "waits", "for the step before")


def _volumes_step(title: str, told: Told | None, ready: bool, damaged: bool) -> Step:
    if told is None:
        return _state(title, ready, damaged)
    if told.failure:
        return Step(title, "failed", told.failure)
    population = told.table["csnVolumePopulation"].fillna(0)
    words = [f"{count(len(told.table), 'volume')} of {int(population.sum()):,} particles"]
    chosen = told.table[told.table["csnVolumeChosen"] == 1]
    if len(chosen):
        number = int(chosen.index[0]) + 1
        share = percent(population[chosen.index[0]], population.sum())
        words.append(f"volume {number} goes on with {share}")
        words += known_angst(chosen["rlnEstimatedResolution"].iloc[0])
    return Step(title, "done", ", ".join(words))


def _branch2d_step(found: RoundVolumes, number: int, rounds: int) -> Step:
    title = "2D branch" if rounds == 1 else f"2D branch, round {number}"
    if number > len(found.branch2d):
        last = found.branch2d[-1] if found.branch2d else None
        ready = found.class3d is not None if number == 1 else last is not None and _ended(last)
        return _state(title, ready, damaged=False)
    one = found.branch2d[number - 1]
    if one.failure:
        return Step(title, "failed", one.failure)
    if one.done:
        row = class2d_rows.round_row(one, one.classes)
        return Step(title, "done", class2d_rows.short_words(row))
    return _state(title, True, one.damaged)


def _ended(one: RoundFiles) -> bool:
    """Whether a 2D classification has come to an end, good or bad."""
    return bool(one.done or one.failure)


def _crossvalidation_step(found: RoundVolumes, ready: bool) -> Step:
    title, told = "Cross-validation", found.crossvalidation
    if told is None:
        path = layout.validation_file(found.particles, "crossvalidation.star")
        return _state(title, ready, path in found.damaged)
    if told.failure:
        return Step(title, "failed", told.failure)
    chosen = told.table[told.table["csnVolumeChosen"] == 1]
    if chosen.empty:
        return Step(title, "done", "no volume is chosen")
    row = chosen.iloc[0]
    return Step(
        title, "done", f"{row['csnVolume']} wins with a score of {row['csnVolumeScore']:.3f}"
    )


def _extraction_step(found: RoundVolumes) -> Step:
    title = "Extraction for the refinement"
    if not found.extracted:
        return _state(title, found.crossvalidation is not None, damaged=False)
    told = next(_rows(found, "stack/decisions.star", "reextraction"), None)
    if told is None:
        return Step(title, "done", "particles extracted again")
    return Step(title, "failed" if told["csnVerdict"] == "fail" else "done", str(told["csnValue"]))


def _refinement_step(found: RoundVolumes) -> Step:
    title, result = "Refinement", found.result
    if result is None:
        path = layout.refine_file(found.particles, "result.json")
        return _state(title, found.extracted, path in found.damaged)
    if result.get("problem"):
        return Step(title, "failed", str(result["problem"]))
    angst = length(result.get("resolution_angst"))
    return Step(title, "done", f"{angst:.2f} Å" if angst else "no resolution is claimed")


def _forecast_step(found: RoundVolumes) -> Step:
    title, told = "Forecast", found.forecast
    if told is None:
        path = layout.refine_file(found.particles, "forecast.json")
        return _state(title, found.result is not None, path in found.damaged)
    if told.get("problem"):
        return Step(title, "failed", str(told["problem"]))
    return Step(title, "done", forecast_words(told) or "nothing can be foretold yet")


def _rows(found: RoundVolumes, part: str, rule: str) -> Iterable[dict]:
    """The decisions of one step by one rule."""
    for path, table in found.decisions.items():
        if path.endswith(part) and {"csnRule", "csnVerdict", "csnValue"} <= set(table.columns):
            yield from table[table["csnRule"] == rule].to_dict("records")
