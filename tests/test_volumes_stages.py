"""From selected particles to the volume that the class averages speak for, as the jobs do it."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refine_session import GIVEN, GROUPS, write_sizes
from scipy.ndimage import gaussian_filter
from volumes3d_synthetic import BOX, DIAMETER, PIXEL, blobs, particles, volume

from cryosnake import layout
from cryosnake.classes2d.particle_table import CLASS_COLUMNS
from cryosnake.config import load_config
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import read_particles, write_particles
from cryosnake.stages.abinitio import reconstruct
from cryosnake.stages.branch2d import classify_again
from cryosnake.stages.branch3d import reconstruct_again
from cryosnake.stages.class3d import classify
from cryosnake.stages.crossvalidate import crossvalidate
from cryosnake.stages.volume_files import Volumes, read_volumes, volume_table, write_volumes
from cryosnake.tables import read_star, read_table, write_star
from cryosnake.validation.align_maps import align_maps

ROUND, NUMBER = 1000, 700
SELECTED = f"{layout.class2d_folder(ROUND)}/selected.star"


def config(**sections):
    return load_config(
        {
            "compute": {"device": "cpu"},
            "class2d": {
                "rounds": [{"particles": ROUND, "classes": 8}],
                # blobs are not what the labels were learnt from
                "good_threshold": 0.001,
            },
            "abinitio": {"volumes": 1, "restarts": 1},
            "validation": {
                "rounds2d": [
                    {"classes": 8, "most_populated": 6},
                    {"classes": 6, "most_populated": 5},
                ],
                "volumes": 1,
            },
            **sections,
        }
    )


def told(session: Path, folder: str) -> dict[str, dict]:
    rows = read_table(session / folder / "decisions.star", "decisions").to_dict("records")
    return {row["csnRule"]: row for row in rows}


def write_selected(session: Path, images: np.ndarray, optics) -> None:
    """A 2D round that selected these particles."""
    write_mrc(session / GIVEN, images, PIXEL)
    number = len(images)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@{GIVEN}" for i in range(number)],
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
            "rlnClassNumber": 1,
        }
    )
    write_particles(session / SELECTED, GROUPS, table)
    classes = pd.DataFrame(0.0, index=[0, 1], columns=list(CLASS_COLUMNS)).assign(
        csnClassPopulation=[number, 5 * number], csnClassKept=[1, 0]
    )
    write_star(session / layout.class2d_file(ROUND, "classes.star"), {"classes": classes})
    write_sizes(session)


def write_first(session: Path, kinds: list[np.ndarray]) -> None:
    """Ab initio volumes that are the structures, one turned over, out of focus."""
    found = [gaussian_filter(volume(one), 1.5).astype(np.float32) for one in kinds]
    folder = layout.abinitio_folder(ROUND)
    about = {
        "csnVolumeEngine": "native",
        "csnRoundParticles": ROUND,
        "csnEmptyShare": 0.0,
        "csnMaskDiameter_angst": DIAMETER,
        "rlnPixelSize": PIXEL,
        "rlnImageSize": BOX,
        "csnProblem": "-",
    }
    equal = [1 / len(kinds)] * len(kinds)
    table = volume_table(folder, equal, [1] * len(kinds), [30.0] * len(kinds), [1.0] * len(kinds))
    write_volumes(session, Volumes(folder, about, table, found))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """3D classification of two species, 70 to 30; and which particle is which."""
    session = tmp_path_factory.mktemp("first")
    images, optics, kind, *_ = particles(NUMBER, [blobs(0)] * 7 + [blobs(5)] * 3, snr=1.0, seed=2)
    write_selected(session, images, optics)
    write_first(session, [blobs(0), blobs(5)])
    classify(session, ROUND, config(), "cpu", 1)
    return session, kind // 7


@pytest.fixture(scope="module")
def validated(first, tmp_path_factory) -> Path:
    session = Path(shutil.copytree(first[0], tmp_path_factory.mktemp("validated") / "session"))
    for number in (1, 2):
        classify_again(session, ROUND, number, config(), "cpu", 1)
    reconstruct_again(session, ROUND, config(), "cpu", 1)
    crossvalidate(session, ROUND, config())
    return session


def test_volumes_and_their_tables(first):
    session, kind = first
    found = read_volumes(session, layout.class3d_folder(ROUND))
    assert found.problem is None
    assert [one.shape for one in found.volumes] == [(40, 40, 40)] * 2
    sorted_out = found.about["csnEmptyShare"] * len(kind)
    assert found.table["csnVolumePopulation"].sum() + sorted_out == pytest.approx(len(kind))
    assert found.table["csnVolumeChosen"].sum() == 1
    assert (session / layout.class3d_file(ROUND, "volumes.png")).exists()
    _, table = read_particles(session / layout.class3d_file(ROUND, "particles.star"))
    assert len(table) == len(kind)
    assert set(table["rlnRandomSubset"]) == {1, 2}
    # none of these is an edge of film
    assert (table["csnParticleResidual"] < 3.5).mean() > 0.95


def test_the_larger_species_goes_on_and_the_other_is_told_of(first):
    session, kind = first
    folder = layout.class3d_folder(ROUND)
    _, kept = read_particles(session / folder / "selected.star")
    index = kept["rlnImageName"].str[:6].astype(int).to_numpy() - 1
    assert (kind[index] == 0).mean() > 0.9
    assert len(index) > 0.9 * (kind == 0).sum()
    about = told(session, folder)
    assert about["class3d"]["csnVerdict"] == "pass"
    assert about["class3d_heterogeneity"]["csnVerdict"] == "warn"
    # five of six particles were in classes that are not good
    assert about["minority"]["csnVerdict"] == "warn"


def test_the_class_averages_choose_the_true_volume(validated):
    blocks = read_star(validated / layout.validation_file(ROUND, "crossvalidation.star"))
    table = blocks["volumes"]
    assert blocks["general"]["csnProblem"] == "-"
    assert next(iter(table["csnVolume"])).startswith("class3d ")
    assert table["csnVolumeChosen"].sum() == 1
    assert (validated / layout.CROSSVALIDATION).read_text() == (
        validated / layout.validation_file(ROUND, "crossvalidation.star")
    ).read_text()
    assert (validated / layout.validation_file(ROUND, "crossvalidation.png")).exists()
    chosen, pixel = read_mrc(validated / layout.validation_file(ROUND, "chosen.mrc"))
    truth = volume(blobs(0)).astype(np.float32)
    assert align_maps(truth, chosen, pixel, 25.0).best.correlation > 0.8
    _, kept = read_particles(validated / layout.validation_file(ROUND, "particles.star"))
    _, before = read_particles(validated / layout.class3d_file(ROUND, "selected.star"))
    # two ab initio volumes of one structure, of either hand, are refined together
    assert len(kept) > 0.8 * len(before)
    assert (
        told(validated, f"{layout.VALIDATION}/{ROUND}")["crossvalidation"]["csnVerdict"] == "pass"
    )


def test_the_branch_in_2d_goes_from_round_to_round(validated):
    for number, most in ((1, 6), (2, 5)):
        folder = layout.branch2d_folder(ROUND, number)
        classes = read_table(validated / folder / "classes.star", "classes")
        assert classes["csnClassKept"].sum() <= most
        assert (validated / folder / "montage.png").exists()
    _, one = read_particles(validated / layout.branch2d_folder(ROUND, 1) / "selected.star")
    _, two = read_particles(validated / layout.branch2d_folder(ROUND, 2) / "particles.star")
    assert set(one["rlnImageName"]) == set(two["rlnImageName"])
    assert "rlnAngleRot" not in two


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda g, t: (g, t.iloc[:40]), "40 particles; expected 50"),
        (lambda g, t: (g, t.iloc[:0]), "no particle"),
        (lambda g, t: (g, t.assign(rlnDefocusU=np.nan)), "rlnDefocusU of"),
    ],
)
def test_what_cannot_be_reconstructed_is_told_and_passed_on(first, tmp_path, change, expected):
    session = Path(shutil.copytree(first[0], tmp_path / "session"))
    write_particles(session / SELECTED, *change(*read_particles(session / SELECTED)))
    assert expected in reconstruct(session, ROUND, config(), "cpu", 1).problem
    assert expected in classify(session, ROUND, config(), "cpu", 1).problem
    for number in (1, 2):
        assert classify_again(session, ROUND, number, config(), "cpu", 1).empty
    assert reconstruct_again(session, ROUND, config(), "cpu", 1).problem
    assert crossvalidate(session, ROUND, config()) is None
    assert told(session, layout.class3d_folder(ROUND))["class3d"]["csnVerdict"] == "fail"
    about = told(session, f"{layout.VALIDATION}/{ROUND}")["crossvalidation"]
    assert about["csnVerdict"] == "fail"


def test_noise_gives_no_volume_that_goes_on(tmp_path):
    images, optics, *_ = particles(300, [blobs(0)], snr=1.0, seed=1)
    noise = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    write_selected(tmp_path, noise, optics)
    write_first(tmp_path, [blobs(0)])
    classify(tmp_path, ROUND, config(), "cpu", 1)
    _, kept = read_particles(tmp_path / layout.class3d_file(ROUND, "selected.star"))
    assert kept.empty
    about = told(tmp_path, layout.class3d_folder(ROUND))["class3d"]
    assert about["csnValue"] == "no volume looks like a particle"


@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
def test_relion_sorts_particles_as_the_same_step(first, tmp_path):
    session = Path(shutil.copytree(first[0], tmp_path / "session"))
    groups, table = read_particles(session / SELECTED)
    write_particles(session / SELECTED, groups, table.iloc[:120])
    settings = config(class3d={"engine": "relion", "relion_iterations": 2})
    found = classify(session, ROUND, settings, "cpu", 1)
    assert found.problem is None
    assert found.about["csnVolumeEngine"] == "relion"
    assert found.table["csnVolumePopulation"].sum() == 120
    _, sorted_table = read_particles(session / layout.class3d_file(ROUND, "particles.star"))
    assert {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"} <= set(sorted_table)
    assert sorted_table["rlnClassNumber"].between(1, 2).all()


def test_an_engine_that_is_missing_is_told(first, tmp_path):
    session = Path(shutil.copytree(first[0], tmp_path / "session"))
    settings = config(class3d={"engine": "relion", "relion_command": "no_such_relion"})
    assert "no_such_relion" in classify(session, ROUND, settings, "cpu", 1).problem
