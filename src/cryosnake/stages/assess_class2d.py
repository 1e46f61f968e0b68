"""Which classes of a round are good, and what they say of the sample."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.assessment import assess, decisions, read_overrides
from cryosnake.assessment.montage import draw_montage
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.engines.command import EngineError
from cryosnake.errors import BadInputError
from cryosnake.feedback import structural_feedback
from cryosnake.files import write_text
from cryosnake.images import write_png
from cryosnake.particles import read_particles, write_no_particles, write_particles
from cryosnake.picking.size_model import ParticleSize, read_size
from cryosnake.stages.class2d import MASK_MARGIN
from cryosnake.stages.class2d_counts import counts_json
from cryosnake.stages.class2d_files import Round, read_round
from cryosnake.stages.class2d_ranker import ranker_scores
from cryosnake.stages.files import write_decisions
from cryosnake.stages.live_class2d import refresh_live
from cryosnake.tables import write_star

_ASSESSED = [
    "csnClassLabel",
    "csnClassScore",
    "csnClassScoreClip",
    "csnClassScoreEdge",
    "csnClassScoreNoise",
    "csnClassKept",
    "csnClassReason",
]


def assess_round(session: Path, particles: int, config: Config) -> pd.DataFrame:
    """Label the classes of a round, select particles, draw them, and tell what can be learnt.

    Returns
    -------
    The table of the classes with their labels; without rows where the classification failed.

    Raises
    ------
    BadInputError : a file of the round is damaged.
    """
    session = Path(session)
    found = read_round(session, layout.class2d_folder(particles))
    subject = f"class2d {particles}"
    classes, told, table = assess_classes(
        session, found, config, subject=subject, most_populated=config.class2d.most_populated
    )
    if not found.failed:
        counts = session / found.folder / "counts.json"
        write_text(counts, counts_json(session, table, len(classes)))
        told += _feedback(session, subject, found, classes, config)
    write_assessed(session, found, classes, told)
    refresh_live(session, config)
    return classes


def assess_classes(
    session: Path, found: Round, config: Config, *, subject: str, most_populated: int | None
) -> tuple[pd.DataFrame, list[Decision], pd.DataFrame]:
    """Label classes and write the particles of those that go on, and the picture.

    Parameters
    ----------
    subject : of the decisions.
    most_populated : only so many classes, the most populated ones, may go on.

    Returns
    -------
    The classes with their labels, decisions, and all particles. Where the classification failed
    they have no rows, but for the decision that says so.
    """
    if found.failed:
        classes = found.classes.reindex(columns=[*found.classes, *_ASSESSED])
        write_no_particles(session / found.folder / "selected.star")
        return classes, [_failed(subject, found)], pd.DataFrame({"rlnClassNumber": []})
    classes, told = _assessed(session, subject, found, config, most_populated)
    groups, table = read_particles(session / found.folder / "particles.star")
    kept = {number for number, one in enumerate(classes["csnClassKept"], start=1) if one}
    title = f"{len(classes)} classes of {classes['csnClassPopulation'].sum():,} particles"
    picture = draw_montage(
        found.averages,
        classes,
        pixel_size_angst=found.pixel_size_angst,
        diameter_angst=found.mask_diameter_angst,
        title=title,
    )
    write_png(session / found.folder / "montage.png", picture)
    selected = table[table["rlnClassNumber"].isin(kept)]
    write_particles(session / found.folder / "selected.star", groups, selected)
    return classes, told, table


def write_assessed(
    session: Path, found: Round, classes: pd.DataFrame, told: list[Decision]
) -> None:
    """Write decisions, and last the table of the classes: it says that all is there."""
    write_decisions(session / found.folder / "decisions.star", told)
    write_star(session / found.folder / "classes.star", {"classes": classes})


def _assessed(
    session: Path, subject: str, found: Round, config: Config, most_populated: int | None
) -> tuple[pd.DataFrame, list[Decision]]:
    settings = config.class2d
    scores, told = _scores(session, subject, found, config)
    judged = partial(
        assess,
        found.averages,
        found.classes,
        pixel_size_angst=found.pixel_size_angst,
        diameter_angst=found.mask_diameter_angst,
        good_threshold=settings.good_threshold,
        most_populated=most_populated,
        scores=scores,
    )
    overrides = {}
    try:
        # labels by hand are of the rounds alone: the branch has classes of its own
        if found.folder == layout.class2d_folder(found.particles):
            overrides = read_overrides(session / settings.overrides, found.particles)
        classes = judged(overrides=overrides)
    except BadInputError as error:
        # without them an error that is not theirs comes again
        overrides, classes = {}, judged()
        told.append(
            Decision(
                subject=subject,
                rule="class2d_overrides",
                verdict="fail",
                value=str(error),
                threshold="lines of round,class,label[,note] for classes that there are",
                evidence="no label by hand was used",
            )
        )
    told += decisions(
        classes, subject=subject, good_threshold=settings.good_threshold, overrides=overrides
    )
    return classes, told


def _feedback(
    session: Path, subject: str, found: Round, classes: pd.DataFrame, config: Config
) -> list[Decision]:
    size = read_size(session / layout.SIZE)[0]
    told = _mask(subject, found, config, size)
    told += structural_feedback(
        found.averages,
        classes,
        subject=subject,
        pixel_size_angst=found.pixel_size_angst,
        diameter_angst=size.diameter_angst,
        long_axis_angst=size.long_axis_angst,
        short_axis_angst=size.short_axis_angst,
        mask_diameter_angst=found.mask_diameter_angst,
        evidence=f"{found.folder}/montage.png",
    )
    return told


def _scores(
    session: Path, subject: str, found: Round, config: Config
) -> tuple[np.ndarray | None, list[Decision]]:
    """What another program says of the averages; that it failed is told, and the model judges."""
    try:
        return ranker_scores(session, found, config), []
    except (EngineError, BadInputError) as error:
        failure = Decision(
            subject=subject,
            rule="class2d_ranker",
            verdict="fail",
            value=str(error),
            threshold=f"a verdict on every class by {config.class2d.ranker}",
            evidence="the classes were judged by the built-in model",
        )
        return None, [failure]


def _failed(subject: str, found: Round) -> Decision:
    return Decision(
        subject=subject,
        rule="class2d",
        verdict="fail",
        value=found.about["csnProblem"],
        threshold="a classification",
        evidence=f"the log of rule class2d; engine {found.about['csnClassEngine']}",
    )


def _mask(subject: str, found: Round, config: Config, size: ParticleSize) -> list[Decision]:
    """Told where the box had no room for the mask that the particle needs."""
    wanted_angst = config.class2d.mask_diameter_angst or MASK_MARGIN * size.long_axis_angst
    if found.mask_diameter_angst >= 0.99 * wanted_angst:
        return []
    return [
        Decision(
            subject=subject,
            rule="class2d_mask",
            verdict="warn",
            value=f"mask of {found.mask_diameter_angst:.0f} A",
            threshold=f"{wanted_angst:.0f} A, which the box has no room for",
            evidence="particles.box_px",
        )
    ]
