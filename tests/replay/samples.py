"""Pictures, volumes and classes that all results of a replay are copies of; made once a session."""

import os
from pathlib import Path

import numpy as np
import torch
from report_class2d_session import BOX_PX, DIAMETER_ANGST, PIXEL_ANGST
from report_picking_session import agreement_json, model_json, size_json, write_header, write_json
from report_picking_session import write_size_picture as draw_size
from report_volumes_session import write_volume_round

from cryosnake import layout
from cryosnake.classes2d import Optics, Schedule, assign, classify2d
from cryosnake.images import write_mrc, write_png
from cryosnake.report.picking_files import below

FOLDER = "replay_samples"
#: The round that the samples in 3D are of; other rounds have its number replaced.
ROUND = 100_000
_QUICK = Schedule(batches=2, full_passes=1)


def make_samples(session: Path, classes: set[int], *, volumes: bool) -> None:
    """Write the samples of a session.

    Parameters
    ----------
    classes : numbers of classes of its 2D rounds.
    volumes : whether it goes on to 3D.
    """
    folder = Path(session) / FOLDER
    folder.mkdir()
    random = np.random.default_rng(0)
    for suffix in ("_thumb.png", "_ctf.png"):
        grey = np.clip(random.normal(128, 30, (512, 512)), 0, 255).astype(np.uint8)
        write_png(folder / f"sample{suffix}", grey)
    write_header(folder / "sample.mrc")
    write_json(folder, layout.SIZE, size_json())
    draw_size(folder)
    write_json(folder, layout.AGREEMENT, agreement_json())
    write_json(folder, layout.model_file(1, "json"), model_json())
    if volumes:
        write_volume_round(folder, ROUND, 1.5)
    for number in classes:
        _write_classes(folder / f"classes{number}", number)


def _write_classes(folder: Path, classes: int) -> None:
    """A classification of noise, with one contribution."""
    folder.mkdir()
    random = np.random.default_rng(classes)
    number = max(300, 4 * classes)
    images = random.normal(0, 1, (number, BOX_PX, BOX_PX)).astype(np.float32)
    defocus = random.uniform(9000, 20000, number)
    optics = Optics(defocus, defocus - 200, np.zeros(number), 300.0, 2.7, 0.1)
    torch.set_num_threads(1)
    found = classify2d(
        images,
        optics,
        pixel_size_angst=PIXEL_ANGST,
        diameter_angst=DIAMETER_ANGST,
        classes=classes,
        schedule=_QUICK,
    )
    found.save(folder / "model.pt")
    assign(images, optics, found).contribution.save(folder / "contribution.pt")
    write_mrc(folder / "classes.mrcs", found.classes.averages, PIXEL_ANGST)


def copy_of(session: Path, path: str, particles: int | None = None) -> None:
    """Put the sample of a file in its place; one that holds a round's number is of that round.

    Parameters
    ----------
    path : as `layout` has it, for the round `particles`.
    """
    session = Path(session)
    sample = path if particles is None else path.replace(f"/{particles}/", f"/{ROUND}/")
    source, place = below(session / FOLDER, sample), session / path
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}-{os.getpid()}")
    if source.suffix in (".star", ".json"):
        text = source.read_text()
        temporary.write_text(
            text if particles is None else text.replace(str(ROUND), str(particles))
        )
    else:
        temporary.unlink(missing_ok=True)
        temporary.hardlink_to(source)
    os.replace(temporary, place)


def copies_below(session: Path, folder: str, particles: int) -> None:
    """Put the samples of all files of a folder (not of its folders) of a round in their places."""
    sample = below(Path(session) / FOLDER, folder.replace(str(particles), str(ROUND)))
    for source in sample.iterdir():
        if source.is_file():
            copy_of(session, f"{folder}/{source.name}", particles)
