"""The section `2D classes` of the report: rounds, class averages, quality over the session."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from cryosnake import layout
from cryosnake.assessment.labels import LABELS
from cryosnake.config.model import Config
from cryosnake.report import class2d_figures as figures
from cryosnake.report import class2d_rows as rows
from cryosnake.report.class2d_files import Class2dFiles, RoundFiles, read_class2d
from cryosnake.report.class2d_gallery import MOST_SHOWN, Tile, tiles
from cryosnake.report.class2d_steps import Step, is_live, next_threshold, since_words, steps_of
from cryosnake.report.gallery import data_uri
from cryosnake.report.json_values import length
from cryosnake.report.picking_files import below
from cryosnake.report.plots import along_session
from cryosnake.report.status import count, percent
from cryosnake.report.summary import Milestone

_BEFORE = ("curation", "picking", "particles")
_ROW_SHOWN = 8
_PICTURE_PX = 1140


@dataclass(frozen=True)
class Strip:
    """The largest kept classes of a round."""

    title: str
    tiles: list[Tile]


@dataclass(frozen=True)
class Class2dSection:
    """What the page shows of 2D classification; all but the first three may be empty.

    Parameters
    ----------
    tile, tile_words : for the tiles at the top of the page.
    waits : the next threshold.
    alarms, told : decisions of the newest round that somebody should look at, and the others.
    """

    headline: str
    tile: str
    tile_words: str
    waits: list[Milestone] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    alarms: list[rows.Told] = field(default_factory=list)
    told: list[rows.Told] = field(default_factory=list)
    told_of: str = ""
    since: str = ""
    kept: list[Tile] = field(default_factory=list)
    left_out: list[Tile] = field(default_factory=list)
    labels: list[tuple[str, int]] = field(default_factory=list)
    gallery_note: str = ""
    picture: str = ""
    rounds: list[rows.RoundRow] = field(default_factory=list)
    rounds_figure: str = ""
    strips: list[Strip] = field(default_factory=list)
    batches_figure: str = ""
    batches_together: int = 1
    squares: list[dict[str, object]] = field(default_factory=list)
    squares_words: str = ""
    squares_left_out: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)


def class2d_section(
    table: pd.DataFrame,
    config: Config,
    results_dir: Path,
    *,
    particles: int,
    particles_per_hour: float | None,
) -> Class2dSection | None:
    """Read what there is of 2D classes and prepare it for the page; None where the session ends
    before.

    Parameters
    ----------
    table : as `report.table.prepared` gives it.
    particles : extracted so far.
    particles_per_hour : at which they come; None where it is not known.
    """
    if config.workflow.until in _BEFORE:
        return None
    files = read_class2d(results_dir)
    steps = steps_of(files, config, particles, particles_per_hour)
    if not files.rounds and not files.problems:
        first = steps[0]
        subject = "The first classes wait" if first.state == "waits" else f"{first.title}:"
        return Class2dSection(
            headline=f"{subject} {first.words}.",
            tile="waiting",
            tile_words=f"2D classes: {first.words}",
            waits=next_threshold(steps),
        )
    done = [found for found in files.rounds if found.done]
    if not done:
        now = next((s for s in reversed(steps) if s.state in ("now", "failed")), steps[0])
        return Class2dSection(
            headline=f"No classes yet. {now.title}: {now.words}.",
            tile=now.state if now.state != "now" else "at work",
            tile_words=f"{now.title}: {now.words}",
            problems=files.problems,
            steps=steps,
            waits=next_threshold(steps),
            **_told(files.rounds),
        )
    newest = done[-1]
    live = is_live(files, newest)
    compared = [rows.round_row(found, found.classes) for found in done]
    outcome = compared[-1]
    squares, low, squares_left_out = rows.square_rows(files.live)
    words = f"{count(low, 'square')} far below the median." if low else ""
    batches_figure, together = _batches(files, table)
    return Class2dSection(
        headline=rows.outcome_words(outcome),
        tile=f"{outcome.kept} / {outcome.classes}",
        tile_words="2D classes kept, with "
        f"{percent(outcome.kept_particles, outcome.sorted_particles)} of the particles",
        steps=steps,
        waits=next_threshold(steps),
        since=since_words(files, newest) if live else "",
        rounds=compared[::-1],
        rounds_figure=Markup(figures.evolution_figure(compared)) if len(done) > 1 else "",
        strips=_strips(files, done, results_dir) if len(done) > 1 else [],
        batches_figure=batches_figure,
        batches_together=together,
        squares=squares,
        squares_words=words,
        squares_left_out=squares_left_out,
        facts=[("2D classes", f"{outcome.engine} engine, {rows.short_words(outcome)}")],
        **_gallery(files, newest, live, results_dir),
        **_told(files.rounds),
        problems=files.problems,
    )


def _told(rounds: list[RoundFiles]) -> dict[str, object]:
    """What the newest round that says something says."""
    for found in reversed(rounds):
        if told := rows.told_rows(found.decisions):
            return {
                "alarms": [one for one in told if one.verdict in rows.ALARMING],
                "told": [one for one in told if one.verdict not in rows.ALARMING],
                "told_of": f"the round of {found.particles:,} particles",
            }
    return {}


# ---- pictures ----


def _gallery(
    files: Class2dFiles, newest: RoundFiles, live: bool, results_dir: Path
) -> dict[str, object]:
    """The averages of the newest state, of the round where those cannot be read, else a picture."""
    choices = [(newest.file("classes.mrcs"), newest.file("montage.png"), newest.classes)]
    if live:
        newer = (layout.class2d_live("mrcs"), layout.class2d_live("png"), files.live_classes)
        choices.insert(0, newer)
    for path, _, classes in choices:
        shown, width_angst = _tiles(files, newest, path, classes, results_dir)
        if not shown:
            continue
        counts = classes["csnClassLabel"].value_counts()
        note = f"Each picture is {width_angst:.0f} Å wide."
        if len(shown) < len(classes):
            note += f" The last {len(classes) - len(shown)} classes are not shown."
        return {
            "kept": [tile for tile in shown if tile.kept],
            "left_out": [tile for tile in shown if not tile.kept],
            "labels": [(label, int(counts[label])) for label in LABELS if label in counts],
            "gallery_note": note,
        }
    pictures = (data_uri(below(results_dir, path), _PICTURE_PX) for _, path, _ in choices)
    return {"picture": next(filter(None, pictures), "")}


def _strips(files: Class2dFiles, done: list[RoundFiles], results_dir: Path) -> list[Strip]:
    """The largest kept classes of each round, the first round first."""
    strips = []
    for found in done:
        number = min(_ROW_SHOWN, int(found.classes["csnClassKept"].sum()))
        path = found.file("classes.mrcs")
        shown, _ = _tiles(files, found, path, found.classes, results_dir, most=number)
        if shown:
            strips.append(Strip(f"{found.particles:,} particles", shown))
    return strips


def _tiles(
    files: Class2dFiles,
    found: RoundFiles,
    path: str,
    classes: pd.DataFrame,
    results_dir: Path,
    most: int = MOST_SHOWN,
) -> tuple[list[Tile], float]:
    """As `tiles` gives them; none where the stack cannot be shown, which is told."""
    diameter_angst = length((found.about or {}).get("csnMaskDiameter_angst"))
    try:
        return tiles(below(results_dir, path), classes, diameter_angst=diameter_angst, most=most)
    except FileNotFoundError:
        problem = f"{path} is missing."
    except (OSError, ValueError) as error:
        problem = f"{path} cannot be shown ({error})."
    if problem not in files.problems:
        files.problems.append(problem)
    return [], 0.0


# ---- over the session ----


def _batches(files: Class2dFiles, table: pd.DataFrame) -> tuple[str, int]:
    """The figure over batches, by the median time of their movies where that is known; and how
    many batches a point stands for."""
    batches = rows.measured(files.live.get("batches"), "batch")
    if len(batches) < 2:
        return "", 1
    along, title = along_session(table)
    placed = batches["batch"].map(pd.Series(along).groupby(table["csnBatch"].to_numpy()).median())
    if title == "movie" or not placed.notna().all():
        placed, title = np.arange(1.0, len(batches) + 1), "batch"
    points, together = rows.thinned(batches.assign(along=np.asarray(placed, float)))
    return Markup(figures.batches_figure(points, points["along"].to_numpy(), title)), together
