"""The newest state of the classes: the last round, and all that was assigned to it since."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from cryosnake import layout
from cryosnake.assessment.montage import draw_montage
from cryosnake.classes2d import load_classification, running_total, updated
from cryosnake.classes2d.particle_table import UNKNOWN, reference_images
from cryosnake.config.model import Config
from cryosnake.decisions import now
from cryosnake.files import write_text
from cryosnake.images import write_mrc, write_png
from cryosnake.session.rounds import Rounds
from cryosnake.stages.class2d_counts import counts_json, developed
from cryosnake.stages.class2d_files import Round, read_assessed, read_round
from cryosnake.tables import read_star, write_star


def count_batch(session: Path, particles: int, batch: str) -> None:
    """Count which classes the particles of a batch were assigned to."""
    session = Path(session)
    blocks = read_star(session / layout.class2d_stream(particles, batch, "star"))
    classes = len(read_assessed(session, layout.class2d_folder(particles)))
    counted = {
        "problem": blocks["general"]["csnProblem"],
        "rows": json.loads(counts_json(session, blocks["particles"], classes)),
    }
    text = json.dumps(counted) + "\n"
    write_text(session / layout.class2d_stream(particles, batch, "json"), text)


def refresh_live(session: Path, config: Config) -> None:
    """Write the newest averages, populations, montage, and how they developed.

    Labels are those of the round: a class keeps its meaning until the next one.
    """
    session = Path(session)
    finished = Rounds(session, config.class2d).finished()
    if not finished:
        return
    with FileLock(session / layout.CLASS2D / ".live.lock"):
        found = read_round(session, layout.class2d_folder(finished[-1]))
        if not found.failed:
            _write_live(session, found, read_assessed(session, found.folder))


def _write_live(session: Path, found: Round, classes: pd.DataFrame) -> None:
    folder = (session / layout.class2d_stream(found.particles, "b", "star")).parent
    counted = sorted(folder.glob("b*.json"))
    rows = json.loads((session / layout.class2d_file(found.particles, "counts.json")).read_text())
    problems = []
    for path in counted:
        batch = json.loads(path.read_text(encoding="utf-8"))
        rows += batch["rows"]
        if batch["problem"] != "-":
            problems.append({"batch": path.stem, "problem": batch["problem"]})
    sums = [path.with_suffix(".pt") for path in counted if path.with_suffix(".pt").exists()]
    averages = found.averages
    if sums:
        model = load_classification(session / layout.class2d_file(found.particles, "model.pt"))
        newest = updated(model, [running_total(folder / "total.pt", sums)]).classes
        averages = newest.averages
        resolution = newest.resolution_angst
        classes = classes.assign(
            csnClassPopulation=newest.population.astype(int),
            rlnClassDistribution=newest.share,
            rlnEstimatedResolution=np.where(np.isfinite(resolution), resolution, UNKNOWN),
        )
    classes = classes.assign(
        rlnReferenceImage=reference_images(layout.class2d_live("mrcs"), len(classes))
    )
    kept = classes["csnClassKept"].to_numpy(int) == 1
    number = sum(row["particles"] for row in rows)
    write_mrc(session / layout.class2d_live("mrcs"), averages, found.pixel_size_angst)
    write_star(session / layout.class2d_live("star"), {"classes": classes})
    title = f"Round of {found.particles:,} particles"
    picture = draw_montage(
        averages,
        classes,
        pixel_size_angst=found.pixel_size_angst,
        diameter_angst=found.mask_diameter_angst,
        title=f"{title}, {number:,} so far" if sums else title,
    )
    write_png(session / layout.class2d_live("png"), picture)
    live = {
        "round": found.particles,
        "engine": found.about["csnClassEngine"],
        "updated": now(),
        "particles": number,
        "classes": len(classes),
        "batches": developed(rows, kept, "batch"),
        "squares": developed(rows, kept, "square"),
        "problems": problems,
    }
    write_text(session / layout.class2d_live("json"), json.dumps(live) + "\n")
