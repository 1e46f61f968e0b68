"""The heavy stages of a replay: each takes its time and leaves what the real one leaves."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from report_class2d_session import (
    DIAMETER_ANGST,
    PIXEL_ANGST,
    montage_of,
    round_classes,
    round_decisions,
)

from cryosnake import layout
from cryosnake.files import write_text, written_whole
from cryosnake.images import read_mrc, write_png
from cryosnake.quick_star import read_tables
from cryosnake.session.rounds import Rounds
from cryosnake.stages.files import read_batch, write_decisions
from cryosnake.stages.live_class2d import refresh_live
from cryosnake.tables import read_table, write_star
from replay import movie_tables, particle_tables, volume_stages
from replay.pace import take_time
from replay.plan import Plan
from replay.samples import FOLDER, copy_of
from replay.telling import tell


def replace_heavy_ones() -> None:
    """Put the functions of this room in the place of the stages that scripts import."""
    for module, name, function in (
        ("preprocess.batch", "preprocess_batch", preprocess_batch),
        ("stages.size", "measure_size", measure_size),
        ("stages.training", "pick_training", pick_training),
        ("stages.training", "agree", agree),
        ("stages.training", "train", train),
        ("stages.pick", "pick", pick),
        ("stages.extract", "extract", extract),
        ("stages.class2d", "classify", classify),
        ("stages.assess_class2d", "assess_round", assess_round),
        ("stages.stream_class2d", "stream", stream),
        ("stages.abinitio", "reconstruct", volume_stages.reconstruct),
        ("stages.class3d", "classify", volume_stages.classify3d),
        ("stages.branch2d", "classify_again", volume_stages.classify_again),
        ("stages.branch3d", "reconstruct_again", volume_stages.reconstruct_again),
        ("stages.crossvalidate", "crossvalidate", volume_stages.crossvalidate),
        ("stages.reextract", "reextract", volume_stages.reextract),
        ("stages.refine", "refine_volume", volume_stages.refine_volume),
        ("stages.forecast", "write_forecast", volume_stages.write_forecast),
    ):
        setattr(importlib.import_module(f"cryosnake.{module}"), name, function)


def preprocess_batch(session, batch, config, device) -> pd.DataFrame:
    """Rows, decisions and pictures of a batch; bad and vanished movies are rejected rows."""
    plan = Plan.read(session)
    entries = read_tables([session / layout.batch_star(batch)], "movies")
    take_time("preprocess", len(entries))
    readable = [
        _is_readable(session / movie, bad=plan.is_bad(movie))
        for movie in entries["rlnMicrographMovieName"]
    ]
    table = movie_tables.processed(entries, np.array(readable), int(batch[1:]))
    (session / layout.batch_table(batch)).parent.mkdir(parents=True, exist_ok=True)
    movie_tables.pictures_of(session, table, session / FOLDER)
    write_decisions(session / layout.batch_decisions(batch), movie_tables.decisions_of(table))
    write_star(session / layout.batch_table(batch), {"micrographs": table})
    return table


def _is_readable(movie: Path, *, bad: bool) -> bool:
    """Whether a movie is there and good, or its transfer was repeated."""
    return movie.exists() and (not bad or movie.stat().st_size > 0)


def measure_size(session, config) -> str:
    """A size with its picture."""
    take_time("particle_size")
    copy_of(session, layout.SIZE_PICTURE)
    tell(session, layout.SIZE_DECISIONS, "size")
    copy_of(session, layout.SIZE)
    return "182 A"


def pick_training(session, picker, config, device) -> None:
    """Picks on the training micrographs."""
    micrographs = read_table(session / layout.TRAINING_MICROGRAPHS, "micrographs")
    take_time("pick_training", len(micrographs))
    tell(session, layout.picker_decisions(picker), "picker")
    _write_training(session / layout.picker_star(picker), micrographs, config, session)


def agree(session, config) -> range:
    """Their consensus."""
    micrographs = read_table(session / layout.TRAINING_MICROGRAPHS, "micrographs")
    take_time("consensus")
    tell(session, layout.CONSENSUS_DECISIONS, "consensus")
    copy_of(session, layout.AGREEMENT)
    _write_training(session / layout.CONSENSUS, micrographs, config, session)
    return range(len(micrographs))


def _write_training(path: Path, micrographs: pd.DataFrame, config, session: Path) -> None:
    number = Plan.read(session).particles
    counts = pd.DataFrame({"micrograph": micrographs["rlnMicrographName"], "picks": number})
    particle_tables.write_coordinates(path, counts)


class _Trained:
    """What the script says of a model."""

    chosen = "trained"

    class judgement:
        why = "F1 0.88 against 0.84"


def train(session, version, config, device) -> type[_Trained]:
    """A model."""
    take_time("train_picker")
    (session / layout.model_file(version, "pt")).parent.mkdir(parents=True, exist_ok=True)
    (session / layout.model_file(version, "pt")).write_bytes(b"weights")
    tell(session, layout.model_decisions(version), "model")
    copy_of(session, layout.model_file(version, "json"))
    return _Trained


def pick(session, batch, config, device) -> pd.DataFrame:
    """Coordinates of a batch."""
    names = read_batch(session, layout.batch_table(batch))["rlnMicrographName"]
    take_time("pick", len(names))
    random = np.random.default_rng(int(batch[1:]))
    picks = random.poisson(Plan.read(session).particles, len(names))
    counts = pd.DataFrame({"micrograph": names, "picks": picks})
    (session / layout.picked_counts(batch)).parent.mkdir(parents=True, exist_ok=True)
    _write_csv(session / layout.picked_counts(batch), counts)
    tell(session, layout.coordinates_decisions(batch), "picking", batch)
    particle_tables.write_coordinates(session / layout.coordinates_star(batch), counts)
    return counts


def extract(session, batch, config, device) -> pd.DataFrame:
    """Particles of a batch."""
    rows = read_batch(session, layout.batch_table(batch)).set_index("rlnMicrographName")
    counts = pd.read_csv(session / layout.picked_counts(batch))
    take_time("extract", len(counts))
    found = pd.DataFrame({"micrograph": counts["micrograph"], "picked": counts["picks"]})
    found["extracted"] = (0.93 * found["picked"]).astype(int)
    found["border"], found["flat"] = found["picked"] - found["extracted"], 0
    found["problem"] = "-"
    (session / layout.extracted_counts(batch)).parent.mkdir(parents=True, exist_ok=True)
    _write_csv(session / layout.extracted_counts(batch), found)
    tell(session, layout.particles_decisions(batch), "extraction", batch)
    ctf = rows.loc[found["micrograph"], ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]]
    particle_tables.write_particles(
        session / layout.particles_star(batch),
        layout.particles_stack(batch),
        pd.concat([found.set_index("micrograph"), ctf], axis=1).reset_index(names="micrograph"),
    )
    return found


def classify(session, particles, config, device, threads) -> pd.DataFrame:
    """A round of 2D classification."""
    classes = Rounds(session, config.class2d).classes(particles)
    samples = session / FOLDER / f"classes{classes}"
    take_time("class2d", particles)
    folder = session / layout.class2d_folder(particles)
    particle_tables.write_classified(
        folder / "particles.star", session / layout.particle_subset(particles), classes
    )
    for name in ("model.pt", "classes.mrcs"):
        shutil.copyfile(samples / name, folder / name)
    table = round_classes(particles, classes, 8.0, (0.07, 0.05, 0.09))
    about = {
        "csnClassEngine": "native",
        "csnRoundParticles": particles,
        "csnProblem": "-",
        "csnMaskDiameter_angst": DIAMETER_ANGST,
        "rlnPixelSize": PIXEL_ANGST,
        "rlnImageSize": Plan.read(session).box_px,
    }
    write_star(folder / "averages.star", {"general": about, "classes": table.iloc[:, :9]})
    return table


def assess_round(session, particles, config) -> pd.DataFrame:
    """Labels of its classes, and the particles of the good ones."""
    take_time("assess_class2d")
    folder = session / layout.class2d_folder(particles)
    about = read_table(folder / "averages.star", "classes")
    table = round_classes(particles, len(about), 8.0, (0.07, 0.05, 0.09))
    counts = np.asarray(table["csnClassPopulation"]).tolist()
    row = {"batch": "b00000", "square": "GridSquare_7000", "particles": particles}
    write_text(folder / "counts.json", json.dumps([{**row, "counts": counts, "evidence": 41.5}]))
    averages = read_mrc(folder / "classes.mrcs")[0]
    write_png(folder / "montage.png", montage_of(averages, table, f"{particles:,} particles"))
    particle_tables.write_part(folder / "selected.star", folder / "particles.star", 0.8, 10**9)
    write_star(folder / "decisions.star", {"decisions": round_decisions(particles, table)})
    write_star(folder / "classes.star", {"classes": table})
    refresh_live(session, config)
    return table


def stream(session, particles, batch, config, device) -> int:
    """The particles of a batch in the classes of a round."""
    classes = len(read_table(session / layout.class2d_file(particles, "averages.star"), "classes"))
    path = session / layout.class2d_stream(particles, batch, "star")
    path.parent.mkdir(parents=True, exist_ok=True)
    sums = session / layout.class2d_stream(particles, batch, "pt")
    sums.unlink(missing_ok=True)
    sums.hardlink_to(session / FOLDER / f"classes{classes}" / "contribution.pt")
    number = particle_tables.write_assigned(path, session / layout.particles_star(batch), classes)
    take_time("stream_class2d", number)
    return number


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False)
