"""Where 2D classification is: its rounds, and what comes between them."""

from dataclasses import dataclass

from cryosnake.config.model import Config
from cryosnake.report import class2d_rows as rows
from cryosnake.report.class2d_files import Class2dFiles, RoundFiles
from cryosnake.report.json_values import whole_number
from cryosnake.report.status import count, percent
from cryosnake.report.summary import Milestone, duration


@dataclass(frozen=True)
class Step:
    """A round, or what comes between rounds: `done`, `now`, `waits` or `failed`.

    Parameters
    ----------
    have, need : particles, where the round waits for them.
    """

    title: str
    state: str
    words: str
    have: int = 0
    need: int = 0


def steps_of(
    files: Class2dFiles, config: Config, particles: int, per_hour: float | None
) -> list[Step]:
    """Each round, the configured ones and those on disk, and the particles since the last one."""
    begun = {found.particles: found for found in files.rounds}
    classes = {one.particles: one.classes for one in config.class2d.rounds}
    steps = []
    for need in sorted({*begun, *classes}):
        title = f"Round of {need:,} particles"
        if need in classes:
            title += f", {classes[need]} classes"
        if need in begun:
            steps.append(Step(title, *_state(begun[need])))
        elif particles >= need:
            steps.append(Step(title, "now", "enough particles, about to begin"))
        else:
            words = f"for {need:,} particles ({particles:,} so far"
            if per_hour:
                words += f", the rest in about {duration(3600 * (need - particles) / per_hour)}"
            steps.append(Step(title, "waits", f"{words})", particles, need))
    done = [found for found in files.rounds if found.done]
    if done and config.class2d.streaming and config.class2d.engine == "native":
        since = streamed(files, done[-1])
        words = f"{count(since, 'particle')} since the last round"
        place = 1 + max(i for i, step in enumerate(steps) if step.state == "done")
        steps.insert(place, Step("New particles into these classes", "now", words))
    return steps


def next_threshold(steps: list[Step]) -> list[Milestone]:
    """The first round that waits for particles, if one does."""
    waits = [("2D classes: particles of the next round", s.have, s.need) for s in steps if s.need]
    return waits[:1]


def _state(found: RoundFiles) -> tuple[str, str]:
    """State and words of a round that has begun."""
    if found.failure:
        return "failed", found.failure
    if found.done:
        return "done", rows.short_words(rows.round_row(found, found.classes))
    if found.damaged:
        return "waits", "for a file that can be read"
    if found.about is not None:
        return "now", "the classes are being assessed"
    return "now", "being classified"


def is_live(files: Class2dFiles, newest: RoundFiles) -> bool:
    """Whether the newest state is one of the newest round (it may not be written yet)."""
    return (
        files.live_classes is not None
        and len(files.live_classes) == len(newest.classes)
        and whole_number(files.live.get("round")) == newest.particles
    )


def streamed(files: Class2dFiles, newest: RoundFiles) -> int:
    """Particles that were sorted into the classes of the newest round after it."""
    if not is_live(files, newest):
        return 0
    more = files.live_classes["csnClassPopulation"].sum()
    return max(0, int(more - newest.classes["csnClassPopulation"].sum()))


def since_words(files: Class2dFiles, newest: RoundFiles) -> str:
    """What came of the particles after the newest round; empty where there are none."""
    since = streamed(files, newest)
    if not since:
        return ""
    now = rows.round_row(newest, files.live_classes)
    return (
        f"With the {count(since, 'particle')} that came since, {now.kept_particles:,} of"
        f" {now.sorted_particles:,} are in kept classes"
        f" ({percent(now.kept_particles, now.sorted_particles)})."
    )
