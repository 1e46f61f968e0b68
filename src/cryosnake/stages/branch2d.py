"""The 2D branch of the validation: the particles kept in 3D, classified again in two rounds."""

from pathlib import Path

import pandas as pd
import torch

from cryosnake import layout
from cryosnake.classes2d import Schedule
from cryosnake.config.model import Config
from cryosnake.stages.assess_class2d import assess_classes, write_assessed
from cryosnake.stages.class2d import Classification, run
from cryosnake.stages.class2d_files import read_round

#: More batches than a round of the session has, and for the second round smaller steps as well.
_MORE = Schedule(batches=120, full_passes=2)
_SLOWER = Schedule(batches=160, full_passes=2, forget=(0.7, 0.15))
#: RELION goes on for so many times its iterations.
_RELION_MORE = (1.4, 2.0)


def classify_again(
    session: Path,
    particles: int,
    number: int,
    config: Config,
    device: torch.device | str,
    threads: int,
) -> pd.DataFrame:
    """Round `number`, from 1, of the branch: classes with their labels, written to its folder.

    The first takes the particles that the 3D classification kept, the second those of the good
    classes of the first.
    """
    session, settings = Path(session), config.validation.rounds2d[number - 1]
    before = (
        layout.class3d_folder(particles)
        if number == 1
        else layout.branch2d_folder(particles, number - 1)
    )
    task = Classification(
        session=session,
        table=f"{before}/selected.star",
        folder=layout.branch2d_folder(particles, number),
        particles=particles,
        classes=settings.classes,
        schedule=_MORE if number == 1 else _SLOWER,
        slowly=_RELION_MORE[number - 1],
    )
    run(task, config, device, threads)
    found = read_round(session, task.folder)
    classes, told, _ = assess_classes(
        session,
        found,
        config,
        subject=f"branch2d {particles} round {number}",
        most_populated=settings.most_populated,
    )
    write_assessed(session, found, classes, told)
    return classes
