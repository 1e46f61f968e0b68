"""Refinement as the workflow's jobs run it: extraction again, half maps, what is told of them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from refine_session import (
    BOX,
    GIVEN,
    PARTICLES,
    PIXEL,
    ROUND,
    config,
    refined_session,
    told,
    write_chosen,
    write_given,
)
from volumes3d_synthetic import blobs, correlations, volume

from cryosnake import layout
from cryosnake.images import read_mrc, write_mrc, write_volume
from cryosnake.particles import read_particles, write_particles
from cryosnake.picking.size_model import ParticleSize, write_size
from cryosnake.stages import refine_engines
from cryosnake.stages.postprocess import postprocess, with_relion
from cryosnake.stages.reextract import reextract
from cryosnake.stages.refine import refine_volume
from cryosnake.stages.refine_decisions import figures
from cryosnake.stages.refine_files import MAPS, read_refinement
from cryosnake.tables import read_star, read_table
from cryosnake.validation.orientations import sphere_points


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def refined(tmp_path_factory) -> Path:
    return refined_session(tmp_path_factory)


def refine_file(session: Path, name: str) -> Path:
    return session / layout.refine_file(ROUND, name)


def test_a_refinement_leaves_all_that_is_promised(refined):
    for name in MAPS:
        found, pixel = read_mrc(refine_file(refined, f"{name}.mrc"))
        assert found.shape == (BOX,) * 3
        assert np.isfinite(found).all()
        assert pixel == pytest.approx(PIXEL)
    blocks = read_star(refine_file(refined, "fsc.star"))
    assert blocks["general"]["rlnFinalResolution"] < 25.0
    assert len(blocks["fsc"]) == BOX // 2 + 1
    cones = read_star(refine_file(refined, "cfsc.star"))
    assert len(cones["cones"]) == 200
    assert cones["general"]["csnConeBest_angst"] <= cones["general"]["csnConeWorst_angst"]
    assert refine_file(refined, "orientations.png").stat().st_size > 2000


def test_the_map_is_the_true_one(refined):
    truth = volume(blobs())
    found = read_mrc(refine_file(refined, "map.mrc"))[0]
    assert correlations(found, truth)[1:7].min() > 0.8


def test_the_particles_keep_what_they_had_and_get_poses(refined):
    optics, table = read_particles(refine_file(refined, "particles.star"))
    assert (len(table), len(optics)) == (PARTICLES, 1)
    assert (table["rlnClassNumber"] == 1).all()
    assert set(table["rlnRandomSubset"]) == {1, 2}
    truth = read_table(refined / layout.validation_file(ROUND, "particles.star"), "particles")
    origins = ["rlnOriginXAngst", "rlnOriginYAngst"]
    off = table[origins].to_numpy() - truth[origins].to_numpy()
    assert np.median(np.hypot(off[:, 0], off[:, 1])) < 5.0  # a pixel
    assert (table["rlnDefocusU"] == truth["rlnDefocusU"]).all()


def test_the_result_tells_figures_that_fit_the_files(refined):
    result = read_refinement(refined, ROUND).result
    assert (result["problem"], result["particles"]) == (None, PARTICLES)
    assert result["mean_log_evidence"] > 0
    final = read_star(refine_file(refined, "fsc.star"))["general"]["rlnFinalResolution"]
    assert result["resolution_angst"] == pytest.approx(final, abs=1e-3)
    local = result["local_resolution_angst"]
    assert local["p5"] <= local["median"] <= local["p95"]
    assert result["orientation"]["verdict"] == "none"
    assert result["box"]["verdict"] == "large enough"
    assert result["known_map"]["hand"] == "same"
    assert result["known_map"]["resolution_angst"] < 25.0


def test_the_decisions_of_a_good_refinement_raise_no_alarm(refined):
    rows = told(refined)
    assert {"refine", "refine_noise", "refine_mask", "refine_orientation", "refine_box"} < set(rows)
    assert {row["csnVerdict"] for row in rows.values()} <= {"pass", "info"}


def test_the_newest_result_lies_beside_the_rounds(refined):
    top = json.loads((refined / layout.REFINE / "result.json").read_text())
    assert top == json.loads(refine_file(refined, "result.json").read_text())
    assert (refined / layout.REFINE / "map.mrc").exists()


def test_noise_claims_no_resolution(tmp_path):
    write_given(tmp_path, 160, noise=True)
    reextract(tmp_path, ROUND, config(), "cpu")
    result = refine_volume(tmp_path, ROUND, config(), "cpu", 1)
    rows = told(tmp_path)
    assert not np.isfinite(result["resolution_angst"])
    assert json.loads(refine_file(tmp_path, "result.json").read_text())["resolution_angst"] is None
    assert rows["refine_noise"]["csnVerdict"] == "warn"
    assert rows["refine"]["csnVerdict"] == "unsure"
    final = read_star(refine_file(tmp_path, "fsc.star"))["general"]["rlnFinalResolution"]
    assert final == 999.0
    assert not refine_file(tmp_path, "sharpened.mrc").exists()


def test_a_mask_that_cuts_the_molecule_is_told_with_what_it_should_be(tmp_path):
    write_given(tmp_path, 160)
    reextract(tmp_path, ROUND, config(), "cpu")
    small = config(class2d={"mask_diameter_angst": 85.0})
    result = refine_volume(tmp_path, ROUND, small, "cpu", 1)
    assert result["box"]["verdict"] == "too small"
    assert result["box"]["needed_mask_angst"] > 100.0
    row = told(tmp_path)["refine_box"]
    assert row["csnVerdict"] == "warn"
    # the box has room for it
    assert row["csnValue"].endswith("A are needed")


def test_a_mask_from_2d_that_is_too_small_is_made_larger(tmp_path):
    write_given(tmp_path, 160)
    size = ParticleSize(60.0, 3.0, 70.0, 50.0, False, BOX)
    write_size(tmp_path / layout.SIZE, size, {})
    reextract(tmp_path, ROUND, config(), "cpu")
    result = refine_volume(tmp_path, ROUND, config(), "cpu", 1)
    assert result["diameter_angst"] > 1.2 * 1.25 * 70.0
    assert result["started_from_poses"]
    assert result["mean_log_evidence"] > 0


def damaged_stack(session):
    (session / GIVEN).unlink()


def nan_everywhere(session):
    images, pixel = read_mrc(session / GIVEN)
    write_mrc(session / GIVEN, np.full_like(images, np.nan), pixel)


def one_particle(session):
    path = session / layout.validation_file(ROUND, "particles.star")
    groups, table = read_particles(path)
    write_particles(path, groups, table.iloc[:1])


def no_particle(session):
    path = session / layout.validation_file(ROUND, "particles.star")
    groups, table = read_particles(path)
    write_particles(path, groups, table.iloc[:0])


def no_chosen_volume(session):
    (session / layout.validation_file(ROUND, "chosen.mrc")).unlink()


def chosen_volume_of_nan(session):
    path = session / layout.validation_file(ROUND, "chosen.mrc")
    write_volume(path, np.full((BOX,) * 3, np.nan, np.float32), PIXEL)


def earlier_problem(session):
    write_chosen(session, problem="no good class averages")


@pytest.mark.parametrize(
    "damage",
    [
        damaged_stack,
        nan_everywhere,
        one_particle,
        no_particle,
        no_chosen_volume,
        chosen_volume_of_nan,
        earlier_problem,
    ],
)
def test_what_prevents_a_refinement_is_written_in_its_place(tmp_path, damage):
    write_given(tmp_path, 40)
    damage(tmp_path)
    reextract(tmp_path, ROUND, config(), "cpu")
    result = refine_volume(tmp_path, ROUND, config(), "cpu", 1)
    assert result["problem"]
    assert result["resolution_angst"] is None
    assert told(tmp_path)["refine"]["csnVerdict"] == "fail"
    assert len(read_table(refine_file(tmp_path, "particles.star"), "particles")) == 0
    assert read_refinement(tmp_path, ROUND).problem == result["problem"]
    if damage is earlier_problem:
        assert "no good class averages" in result["problem"]


def test_a_failed_attempt_leaves_nothing_of_an_earlier_one(refined, tmp_path):
    session = Path(shutil.copytree(refined, tmp_path / "session"))
    no_chosen_volume(session)
    refine_volume(session, ROUND, config(), "cpu", 1)
    assert not refine_file(session, "map.mrc").exists()
    assert not (session / layout.REFINE / "map.mrc").exists()


def test_what_cannot_be_done_is_told_and_costs_nothing_else(tmp_path):
    write_given(tmp_path, 100)
    reextract(tmp_path, ROUND, config(), "cpu")
    asked = config(
        validation={"known_map": "absent.mrc"},
        refine={"symmetry": "D2", "per_particle_defocus": True},
    )
    result = refine_volume(tmp_path, ROUND, asked, "cpu", 1)
    assert (result["problem"], result["known_map"]) == (None, None)
    assert result["symmetry"] == "C1"
    rows = told(tmp_path)
    for rule in ("refine_known_map", "symmetry"):
        assert rows[rule]["csnVerdict"] == "fail"
    assert rows["refine_defocus"]["csnVerdict"] == "info"


@pytest.mark.skipif(shutil.which("relion_postprocess") is None, reason="RELION missing")
def test_relion_postprocesses_the_same_halves(refined, tmp_path):
    for name in ("half1", "half2", "mask"):
        shutil.copy(refine_file(refined, f"{name}.mrc"), tmp_path)
    halves = [read_mrc(tmp_path / f"{name}.mrc")[0] for name in ("half1", "half2")]
    ours = postprocess(*halves, PIXEL, sphere_points(300), diameter_angst=170.0)
    theirs = with_relion(ours, tmp_path, "relion_postprocess")
    shell = BOX * PIXEL / ours.resolution_angst
    assert BOX * PIXEL / theirs.resolution_angst == pytest.approx(shell, abs=1.5)
    assert np.allclose(theirs.curves.unmasked, ours.curves.unmasked, atol=0.1)
    assert theirs.sharpened.shape == ours.sharpened.shape
    result = figures(theirs, PIXEL)
    assert result["resolution_angst"] == theirs.resolution_angst


def test_an_engine_that_tells_less_is_enough(refined, tmp_path, monkeypatch):
    session = Path(shutil.copytree(refined, tmp_path / "session"))
    table = read_particles(refine_file(session, "particles.star"))[1]
    halves = np.stack([read_mrc(refine_file(session, f"half{i}.mrc"))[0] for i in (1, 2)])
    known = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    asked = {}

    def auto_refine(particles_star, folder, **settings):
        asked.update(settings)
        columns = table[[*known, "rlnClassNumber", "rlnRandomSubset"]]
        return SimpleNamespace(halves=halves, particles=columns, version="5", command="run")

    monkeypatch.setattr(refine_engines, "auto_refine", auto_refine)
    monkeypatch.setattr(refine_engines, "on_axes", lambda reference, *_: reference)
    relion = config(refine={"engine": "relion", "symmetry": "C2"})
    result = refine_volume(session, ROUND, relion, "cpu", 3)
    assert (asked["symmetry"], asked["threads"], asked["gpu"]) == ("C2", 1, None)
    assert asked["reference"].shape == (BOX,) * 3
    assert (result["engine"], result["symmetry"], result["problem"]) == ("relion", "C2", None)
    assert json.loads(refine_file(session, "result.json").read_text())["mean_log_evidence"] is None
    assert told(session)["symmetry"]["csnVerdict"] == "info"


def test_an_engine_that_fails_is_told(tmp_path):
    write_given(tmp_path, 40)
    reextract(tmp_path, ROUND, config(), "cpu")
    missing = config(refine={"engine": "relion", "relion_mpi": "no_such_program"})
    assert "no_such_program" in refine_volume(tmp_path, ROUND, missing, "cpu", 1)["problem"]


def test_the_mask_is_that_of_the_configuration(refined):
    found = read_refinement(refined, ROUND).result["diameter_angst"]
    assert found == (BOX - 6) * PIXEL  # the long axis asks for more than the box has room for


def test_the_table_of_a_given_stack_goes_on_as_it_is(refined):
    given = read_table(refined / layout.validation_file(ROUND, "particles.star"), "particles")
    stack = read_table(refine_file(refined, "stack/particles.star"), "particles")
    pd.testing.assert_frame_equal(given, stack[given.columns])
    assert stack["rlnImageOriginalName"].tolist() == given["rlnImageName"].tolist()
    assert told(refined, "stack/decisions.star")["reextraction"]["csnVerdict"] == "info"
