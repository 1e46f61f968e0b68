"""The section `Picking` of the report: size, pickers, model, picks, yield."""

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup
from PIL import Image

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.picking.yields import LOW_RATIO, yield_alerts
from cryosnake.report import picking_figures as figures
from cryosnake.report import picking_rows as rows
from cryosnake.report.gallery import data_uri
from cryosnake.report.json_values import length, number, whole_number
from cryosnake.report.picking_files import PickingFiles, below, read_picking
from cryosnake.report.picking_gallery import PickedCard, chosen_picked, picked_cards
from cryosnake.report.status import count
from cryosnake.report.summary import Milestone

_ALERTS_LISTED = 6
_LARGEST_PICTURE_BYTES = 1_500_000
_LARGEST_PICTURE_PX = 1400


@dataclass(frozen=True)
class Step:
    """A step of picking: `done`, `now` or `waits`, and what there is to say of it."""

    title: str
    state: str
    words: str


@dataclass(frozen=True)
class PickingSection:
    """What the page shows of picking. Figures and tables are empty where there is nothing yet."""

    problems: list[str]
    steps: list[Step]
    alerts: list[Decision]
    alerts_words: str
    alerts_left_out: int
    headline: str
    headline_words: str
    progress: float | None
    picked: int | None
    extracted: int | None
    median: float | None
    facts: list[tuple[str, str]]
    size_facts: list[tuple[str, str]]
    size_doubts: list[str]
    size_figure: str
    size_picture: str
    agreement_figure: str
    pickers: list[dict[str, object]]
    agreement_words: str
    training_figure: str
    scores: list[dict[str, object]]
    model_words: list[str]
    trained_on: list[str]
    yield_figure: str
    squares: list[dict[str, object]]
    squares_left_out: int
    cards: list[PickedCard]


def picking_section(
    table: pd.DataFrame, config: Config, milestones: list[Milestone], results_dir: Path
) -> PickingSection | None:
    """Read what there is of picking and prepare it for the page; None before it has begun.

    Parameters
    ----------
    table : as `report.table.prepared` gives it.
    milestones : (name, have, need); those named `size` and `training` are waited for.
    """
    files = read_picking(table, results_dir, model_version=config.picking.model_version)
    if files is None:
        return None
    size, agreement, model = files.size or {}, files.agreement or {}, files.model or {}
    counts = files.counts
    window = config.curation.dose_window_movies
    alerts = yield_alerts(counts, window_micrographs=window)
    estimates = rows.measured(size)
    subsets, pickers = rows.subset_counts(agreement)
    panels = rows.training_panels(model)
    squares, squares_left_out = rows.square_rows(counts, alerts)
    low = rows.low_rows(counts, alerts, window)
    median = float(counts["picks"].median()) if len(counts) else None
    steps = _steps(files, table, config, milestones)
    now = next((s for s in steps if s.state != "done"), steps[-1])
    extracted = counts["extracted"].dropna()
    accepted = int(table["csnAccepted"].sum())
    return PickingSection(
        problems=files.problems,
        steps=steps,
        alerts=alerts[::-1][:_ALERTS_LISTED],
        alerts_words=f"Few particles in {count(len(alerts), 'region')} of the session.",
        alerts_left_out=max(0, len(alerts) - _ALERTS_LISTED),
        headline=_headline(steps),
        headline_words=now.words if now.state != "now" else f"{now.title}: {now.words}",
        progress=min(1.0, len(counts) / accepted) if len(counts) and accepted else None,
        picked=int(counts["picks"].sum()) if len(counts) else None,
        extracted=int(extracted.sum()) if len(extracted) else None,
        median=median,
        facts=_facts(size, model),
        size_facts=rows.size_facts(size) if size else [],
        size_doubts=rows.size_doubts(size),
        size_figure=Markup(figures.size_figure(estimates)) if len(estimates) > 1 else "",
        size_picture=picture(below(results_dir, layout.SIZE_PICTURE)),
        agreement_figure=Markup(figures.agreement_figure(subsets, pickers)) if subsets else "",
        pickers=rows.picker_rows(agreement),
        agreement_words=_agreement_words(agreement),
        training_figure=Markup(figures.curves_figure(panels)) if panels else "",
        scores=rows.score_rows(model),
        model_words=_model_words(model),
        trained_on=_names(model.get("training_micrographs")),
        yield_figure=Markup(figures.yield_figure(counts, low, LOW_RATIO * median))
        if median is not None
        else "",
        squares=squares,
        squares_left_out=squares_left_out,
        cards=picked_cards(chosen_picked(counts), results_dir, length(size.get("diameter_angst"))),
    )


def _steps(
    files: PickingFiles, table: pd.DataFrame, config: Config, milestones: list[Milestone]
) -> list[Step]:
    """Size, pickers, model, picking: done, going on now, or waiting and for what."""
    waits = {name: (have, need) for name, have, need in milestones if have < need}
    accepted = table.loc[table["csnAccepted"] == 1, "number"]
    picked = int(accepted.isin(files.counts["number"]).sum())
    done = 0 < len(accepted) == picked
    size = files.size is not None
    version = config.picking.model_version
    if not len(files.counts):
        words = "begins with the model"
    elif done:
        words = f"all {picked:,} accepted micrographs picked"
    else:
        words = f"{picked:,} of {len(accepted):,} accepted micrographs picked"
    return [
        _step(
            "Particle size",
            size,
            rows.angst((files.size or {}).get("diameter_angst")) + " in diameter",
            waits.get("size"),
            "micrographs that pass the stringent filter",
            "being estimated",
            layout.SIZE in files.damaged,
        ),
        _step(
            "Template-free pickers",
            files.agreement is not None,
            _agreement_words(files.agreement or {}) or "have agreed",
            waits.get("training") or (None if size else ()),
            "accepted micrographs",
            "at work on the training micrographs",
            layout.AGREEMENT in files.damaged,
        ),
        _step(
            "Model of this sample",
            files.model is not None,
            " ".join(_model_words(files.model or {})[:1]) or "is trained",
            waits.get("training") or (None if files.agreement is not None else ()),
            "accepted micrographs",
            "being trained",
            layout.model_file(version, "json") in files.damaged,
        ),
        Step(
            "Final picking",
            "done" if done else "now" if files.model is not None or len(files.counts) else "waits",
            words,
        ),
    ]


def _step(
    title: str,
    done: bool,
    result: str,
    wait: tuple[int, int] | tuple[()] | None,
    what: str,
    now: str,
    damaged: bool,
) -> Step:
    """`wait`: (have, need), () for the step before, None where nothing is waited for."""
    if done:
        return Step(title, "done", result)
    if damaged:
        return Step(title, "waits", "for a file that can be read")
    if wait is None:
        return Step(title, "now", now)
    if not wait:
        return Step(title, "waits", "for the step before")
    return Step(title, "waits", f"for {wait[1]:,} {what} ({wait[0]:,} so far)")


def _headline(steps: list[Step]) -> str:
    """The state of picking in one or two words."""
    words = ("sizing", "picking to train", "training", "picking")
    for word, step in zip(words, steps, strict=True):
        if step.state == "now":
            return word
        if step.state == "waits":
            return "waiting"
    return "up to date"


def _facts(size: dict, model: dict) -> list[tuple[str, str]]:
    """Lines for the facts of the session."""
    facts = [(f"Particle: {name.lower()}", value) for name, value in rows.size_facts(size)[:3]]
    words = _model_words(model)
    return [*(facts if size else []), *([("Picked by", words[0])] if words else [])]


def _agreement_words(agreement: dict) -> str:
    found, seen = (
        whole_number(agreement.get("consensus")),
        whole_number(agreement.get("micrographs")),
    )
    if found is None:
        return ""
    on = f" on {seen:,} micrographs" if seen is not None else ""
    return f"consensus of {found:,} particles{on}"


def _model_words(model: dict) -> list[str]:
    """What was chosen, and why."""
    if not model:
        return []
    chosen = rows.title_of(str(model.get("chosen") or "not said"))
    version, threshold = model.get("version"), number(model.get("threshold"))
    named = f"{chosen}, version {version}" if version is not None else chosen
    words = [named + (f", threshold {threshold:.3g}" if threshold is not None else "")]
    return [*words, str(model["why"])] if model.get("why") else words


def _names(value: object) -> list[str]:
    names = [str(name).rsplit("/", 1)[-1] for name in value] if isinstance(value, list) else []
    return sorted(names)


def picture(path: Path) -> str:
    """A picture as it is where it is small; drawings would suffer from compression."""
    try:
        with Image.open(path) as image:
            whole = image.format == "PNG" and max(image.size) <= 2 * _LARGEST_PICTURE_PX
            image.load()
        content = path.read_bytes()
    except (OSError, ValueError, SyntaxError):
        return ""  # the page says that there is none
    if whole and len(content) <= _LARGEST_PICTURE_BYTES:
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return data_uri(path, _LARGEST_PICTURE_PX)
