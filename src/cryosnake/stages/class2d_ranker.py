"""Verdicts on class averages by another program, where the configuration names one."""

from pathlib import Path

import numpy as np

from cryosnake.config.model import Config
from cryosnake.engines.class_rankers import (
    assess2d_command,
    class_ranker_command,
    read_assess2d,
    read_class_ranker,
)
from cryosnake.engines.command import run_program
from cryosnake.errors import BadInputError
from cryosnake.stages.class2d_files import Round


def ranker_scores(session: Path, found: Round, config: Config) -> np.ndarray | None:
    """What the configured program says of the averages of a round; None for the model's own.

    Returns
    -------
    (K,) probability of good (RELION's class ranker), or (K, 4) of the labels (2DAssess).

    Raises
    ------
    EngineError : the program is missing or fails.
    BadInputError : its output does not fit the classes, or what it needs is missing.
    """
    settings, classes = config.class2d, len(found.classes)
    if settings.ranker == "native":
        return None
    folder = Path(session) / found.folder / settings.ranker
    if settings.ranker == "2dassess":
        stack = Path(session) / found.folder / "classes.mrcs"
        command = assess2d_command(
            stack,
            folder,
            model=Path(session) / settings.ranker_model,
            command=settings.ranker_command or "2dassess",
        )
        run_program(command, folder=session, log=folder.with_suffix(".log"))
        blank = np.flatnonzero(found.averages.sum(axis=(1, 2)) == 0) + 1
        return read_assess2d(folder, classes, blank=blank.tolist())
    command = class_ranker_command(
        _optimiser(Path(session) / found.folder / "relion"),
        folder,
        command=settings.ranker_command or "relion_class_ranker",
    )
    run_program(command, folder=session, log=folder.with_suffix(".log"))
    # empty classes are not ranked
    return np.nan_to_num(read_class_ranker(folder / "rank_model.star", classes), nan=0.0)


def _optimiser(folder: Path) -> Path:
    """What RELION's classification left for the ranker."""
    left = sorted(folder.glob("run_it*_optimiser.star"))
    if not left:
        raise BadInputError(folder, "no run_it*_optimiser.star", "a classification by RELION")
    return left[-1]
