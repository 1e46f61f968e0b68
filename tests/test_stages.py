"""From curated micrographs to particles, stage by stage, on a small session made of discs."""

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.particles import read_images
from cryosnake.picking.pickers import PICKERS
from cryosnake.session.picked import later_decisions, picked_counts
from cryosnake.session.tables import micrograph_blocks
from cryosnake.stages import pick as pick_stage
from cryosnake.stages import training
from cryosnake.stages.extract import extract
from cryosnake.stages.size import drawn, measure_size
from cryosnake.tables import read_table, write_star

PIXEL_ANGST = 4.0
DIAMETER_ANGST = 140.0
SHAPE = (420, 500)  # no square detector
BATCHES = ["b00000", "b00001"]


def config(**picking):
    picking = {"pickers": ["log", "correlation"], "train": False, "size_micrographs": 3} | picking
    return load_config(
        {"picking": picking, "particles": {"output_px": 64}, "compute": {"device": "cpu"}}
    )


def discs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A micrograph of dark balls in noise, and their centres (x, y)."""
    rng = np.random.default_rng(seed)
    radius = DIAMETER_ANGST / PIXEL_ANGST / 2
    truth = []
    while len(truth) < 24:
        point = rng.uniform(45, np.array(SHAPE[::-1]) - 45)
        if all(np.hypot(*(point - other)) > 3 * radius for other in truth):
            truth.append(point)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(100, 1.0, SHAPE)
    for cx, cy in truth:
        image -= 1.2 * np.sqrt(np.clip(1 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2, 0, None))
    return image.astype(np.float32), np.array(truth)


def row(batch: str, name: str, number: int, accepted: int) -> dict:
    return {
        "rlnMicrographName": f"{layout.PREPROCESS}/{batch}/{name}.mrc",
        "rlnMicrographMovieName": f"movies/{name}.tif",
        "csnBatch": batch,
        "csnGridSquare": f"square{number % 2}",
        "rlnMicrographOriginalPixelSize": PIXEL_ANGST,
        "rlnMicrographPixelSize": PIXEL_ANGST,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnDefocusU": 12000.0 + 1000 * number,
        "rlnDefocusV": 11900.0 + 1000 * number,
        "rlnDefocusAngle": 30.0,
        "rlnCtfMaxResolution": 4.0,
        "csnAccepted": accepted,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """Two preprocessed batches and their frozen subsets, and the truth."""
    session = tmp_path_factory.mktemp("stages")
    truth, rows = {}, []
    for number in range(8):
        batch = BATCHES[number // 4]
        one = row(batch, f"m{number}", number, accepted=int(number != 2))
        image, truth[one["rlnMicrographName"]] = discs(number)
        path = session / one["rlnMicrographName"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path) as mrc:
            mrc.set_data(image)
            mrc.voxel_size = PIXEL_ANGST
        rows.append(one)
    table = pd.DataFrame(rows)
    for batch, part in table.groupby("csnBatch"):
        write_star(session / layout.batch_table(batch), {"micrographs": part})
    accepted = table[table["csnAccepted"] == 1]
    for milestone in ("size", "training"):
        write_star(session / layout.subset_star(milestone), micrograph_blocks(accepted, config()))
    return session, truth


@pytest.fixture
def session(made, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made[0], tmp_path / "session"))


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory) -> Path:
    """A copy with the size measured and a picking model chosen."""
    session = Path(shutil.copytree(made[0], tmp_path_factory.mktemp("trained") / "session"))
    prepare(session, config())
    training.train(session, 1, config(), "cpu")
    return session


def prepare(session: Path, settings) -> None:
    measure_size(session, settings)
    training.choose_training(session, settings)
    for picker in settings.picking.pickers:
        training.pick_training(session, picker, settings, "cpu")
    training.agree(session, settings)


def f1(table: pd.DataFrame, truth: dict[str, np.ndarray]) -> float:
    hits = 0
    for name, part in table.groupby("rlnMicrographName"):
        xy = part[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
        distance, which = cKDTree(truth[name]).query(xy)
        hits += len(set(which[distance < 8]))
    return 2 * hits / (len(table) + sum(map(len, truth.values())))


def decisions_of(session: Path) -> pd.DataFrame:
    return later_decisions(session, BATCHES, load_config({}))


def test_from_micrographs_to_particles(trained, made, tmp_path):
    session = Path(shutil.copytree(trained, tmp_path / "session"))
    truth = {name: xy for name, xy in made[1].items() if "m2" not in name}
    size = json.loads((session / layout.SIZE).read_text())
    assert size["diameter_angst"] == pytest.approx(DIAMETER_ANGST, rel=0.15)
    assert (session / layout.SIZE_PICTURE).read_bytes()[:4] == b"\x89PNG"
    about = json.loads((session / layout.model_file(1, "json")).read_text())
    assert about["chosen"] == "consensus"
    assert set(json.loads((session / layout.AGREEMENT).read_text())["pickers"]) == {
        "log",
        "correlation",
    }
    found = []
    for batch in BATCHES:
        pick_stage.pick(session, batch, config(), "cpu")
        found.append(read_table(session / layout.coordinates_star(batch), "coordinates"))
    # what was rejected is not picked
    assert not pd.concat(found)["rlnMicrographName"].str.contains("m2").any()
    assert f1(pd.concat(found), truth) > 0.9
    counts = extract(session, "b00001", config(), "cpu")
    particles = read_table(session / layout.particles_star("b00001"), "particles")
    assert len(particles) == counts["extracted"].sum() > 60
    images = read_images(session / layout.particles_stack("b00001"), np.arange(len(particles)) + 1)
    average = images.mean(0)
    middle = average.shape[0] // 2
    assert average[middle - 4 : middle + 4, middle - 4 : middle + 4].mean() > 0.5  # white
    table = pd.concat(
        [read_table(session / layout.batch_table(batch), "micrographs") for batch in BATCHES]
    )
    yields = picked_counts(session, table)
    assert yields["picks"].sum() == sum(map(len, found))
    assert len(yields) == 7
    told = decisions_of(session)
    assert {"particle_size", "consensus", "picking_model", "picking", "extraction"} == set(
        told["csnRule"]
    )


def test_a_picker_that_crashes_is_left_out_and_told(session, monkeypatch):
    def crash(*_arguments, **_options):
        raise RuntimeError("no luck today")

    monkeypatch.setitem(PICKERS, "network", crash)
    settings = config(pickers=["log", "correlation", "network"])
    prepare(session, settings)
    agreement = json.loads((session / layout.AGREEMENT).read_text())
    assert agreement["pickers"]["network"]["failed"]
    assert agreement["consensus"] > 100
    told = decisions_of(session)
    failed = told[(told["csnRule"] == "picker_network") & (told["csnVerdict"] == "fail")]
    assert failed["csnValue"].str.contains("no luck today").all()
    assert len(failed) == 1


def test_pickers_may_look_at_denoised_micrographs(session, made):
    measure_size(session, config())
    training.choose_training(session, config())
    truth = {name: xy for name, xy in made[1].items() if "m2" not in name}
    picks = training.pick_training(session, "log", config(denoise=True), "cpu")
    plain = training.pick_training(session, "log", config(), "cpu")
    assert not picks["rlnCoordinateX"].equals(plain["rlnCoordinateX"])
    assert f1(picks, truth) > 0.85


def test_a_training_that_crashes_leaves_the_consensus(session, monkeypatch):
    def crash(*_arguments, **_options):
        raise RuntimeError("out of memory")

    prepare(session, config())
    monkeypatch.setattr(training, "pretrained_detector", crash)
    result = training.train(session, 1, config(train=True), "cpu")
    assert result.chosen == "consensus"
    told = decisions_of(session)
    told = told[told["csnRule"] == "picking_model"]
    assert told["csnValue"].str.contains("the training failed: out of memory").any()


def test_a_damaged_micrograph_costs_itself_only(trained, tmp_path):
    session = Path(shutil.copytree(trained, tmp_path / "session"))
    bad = session / layout.PREPROCESS / "b00001" / "m5.mrc"
    bad.write_bytes(bad.read_bytes()[:5000])
    counts = pick_stage.pick(session, "b00001", config(), "cpu")
    assert len(counts) == 3
    assert (counts["picks"] > 15).all()
    told = decisions_of(session)
    (problem,) = told[(told["csnRule"] == "picking") & (told["csnVerdict"] == "fail")].to_dict(
        "records"
    )
    assert "m5.mrc" in problem["csnSubject"]
    assert len(extract(session, "b00001", config(), "cpu")) == 4


def test_a_batch_of_rejected_micrographs_is_an_empty_table(trained, tmp_path):
    session = Path(shutil.copytree(trained, tmp_path / "session"))
    path = session / layout.batch_table("b00000")
    write_star(path, {"micrographs": read_table(path, "micrographs").assign(csnAccepted=0)})
    assert pick_stage.pick(session, "b00000", config(), "cpu").empty
    assert extract(session, "b00000", config(), "cpu").empty
    assert read_table(session / layout.coordinates_star("b00000"), "coordinates").empty
    assert read_table(session / layout.particles_star("b00000"), "particles").empty
    assert not (session / layout.particles_stack("b00000")).exists()


def test_micrographs_without_particles_are_picked_and_extracted_as_such(trained, tmp_path):
    session = Path(shutil.copytree(trained, tmp_path / "session"))
    for number in range(4):
        path = session / layout.PREPROCESS / "b00000" / f"m{number}.mrc"
        with mrcfile.open(path, "r+") as mrc:
            mrc.data[:] = np.random.default_rng(number).normal(100, 1, SHAPE)
    counts = pick_stage.pick(session, "b00000", config(), "cpu")
    assert (counts["picks"] <= 3).all()
    extracted = extract(session, "b00000", config(), "cpu")
    assert (extracted["problem"] == "-").all()


def test_the_configured_consensus_is_that_of_the_final_picks_too(trained, tmp_path):
    number = {}
    for mode in ("and", "or"):
        session = Path(shutil.copytree(trained, tmp_path / mode))
        pick_stage.pick(session, "b00000", config(consensus=mode), "cpu")
        number[mode] = len(read_table(session / layout.coordinates_star("b00000"), "coordinates"))
    assert 0 < number["and"] < number["or"]


def test_a_given_diameter_is_taken_and_a_contradiction_told(session):
    size = measure_size(session, config(diameter_angst=400.0))
    assert size.diameter_angst == 400.0
    told = decisions_of(session)
    assert (told["csnVerdict"] == "warn").any()
    assert told["csnValue"].str.contains("diameter_angst = 400").any()


def test_a_box_that_is_too_small_is_told(trained, tmp_path):
    session = Path(shutil.copytree(trained, tmp_path / "session"))
    small = config().model_copy(
        update={"particles": config().particles.model_copy(update={"box_px": 32, "output_px": 32})}
    )
    pick_stage.pick(session, "b00001", small, "cpu")
    assert extract(session, "b00001", small, "cpu")["extracted"].sum() > 60
    told = decisions_of(session)
    assert told["csnValue"].str.contains("box_px = 32").any()


def test_the_draw_is_the_same_for_the_same_seed():
    table = pd.DataFrame({"n": range(100)})
    assert drawn(table, 8, 1)["n"].tolist() == drawn(table, 8, 1)["n"].tolist()
    assert drawn(table, 8, 1)["n"].tolist() != drawn(table, 8, 2)["n"].tolist()
    assert drawn(table, 8, 1)["n"].is_monotonic_increasing
    assert len(drawn(table, 200, 1)) == 100
