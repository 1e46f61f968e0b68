"""Particles of a refinement cut out anew: centred, with their own CTF, whole or as they were."""

import numpy as np
import pandas as pd
import pytest
import torch
from refine_session import GROUPS, ROUND, config, told, write_chosen, write_given, write_sizes

from cryosnake import layout
from cryosnake.classes2d.particle_table import read_input
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import read_particles, write_particles
from cryosnake.picking.size_model import ParticleSize
from cryosnake.stages.reextract import reextract
from cryosnake.stages.refine_box import LARGEST_BOX, LEAST_BOX, refinement_box
from cryosnake.tables import read_table

PHYSICAL = 1.25  # A
NAMES = [f"results/preprocess/b00000/m{i}.mrc" for i in range(3)]
SHAPE = (900, 1000)
WIDTH = 20.0  # A


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def session(tmp_path):
    """Three micrographs with dark blobs, and coordinates that are off by the origins."""
    rng = np.random.default_rng(3)
    rows = []
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number, name in enumerate(NAMES):
        image = rng.normal(20.0, 0.2, SHAPE)
        for i, j in np.ndindex(3, 3):
            true = np.array([220.0 + 270 * i, 210.0 + 240 * j]) + rng.uniform(-20, 20, 2)
            off_angst = rng.uniform(-30, 30, 2)
            picked = np.round(true + off_angst / PHYSICAL)
            origin = (picked - true) * PHYSICAL
            image -= 4.0 * np.exp(
                -((x - true[0]) ** 2 + (y - true[1]) ** 2) / (2 * (WIDTH / PHYSICAL) ** 2)
            )
            rows.append((name, *picked, *origin, 12000.0 + 1000 * number, 1 + number % 2))
        write_mrc(tmp_path / name, image.astype(np.float32), PHYSICAL)
    columns = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnOriginXAngst"]
    columns += ["rlnOriginYAngst", "rlnDefocusU", "rlnOpticsGroup"]
    table = pd.DataFrame(rows, columns=columns).assign(
        rlnImageName=[f"{i + 1:06d}@given.mrcs" for i in range(len(rows))],
        rlnDefocusV=11000.0,
        rlnDefocusAngle=30.0,
        rlnAngleRot=np.arange(len(rows), dtype=float),
        rlnAngleTilt=90.0,
        rlnAnglePsi=0.0,
        csnLogEvidence=5.0,
    )
    groups = pd.concat([GROUPS, GROUPS.assign(rlnOpticsGroup=2, rlnOpticsGroupName="second")])
    groups = groups.assign(rlnMicrographPixelSize=PHYSICAL, rlnImagePixelSize=4.0)
    write_particles(tmp_path / layout.validation_file(ROUND, "particles.star"), groups, table)
    write_chosen(tmp_path)
    write_sizes(tmp_path)
    return tmp_path


def stack(session):
    return session / layout.refine_file(ROUND, "stack/particles.mrcs")


def centre_px(image: np.ndarray) -> np.ndarray:
    """(x, y) of the density's centre of mass, less the box's centre."""
    n = len(image)
    weight = np.clip(image - 0.3 * image.max(), 0, None)
    axis = np.arange(n) - n // 2
    return np.array([(weight * axis).sum(), (weight * axis[:, None]).sum()]) / weight.sum()


def test_particles_lie_in_the_middle_of_their_boxes_at_the_new_pixel_size(session):
    reextract(session, ROUND, config(), "cpu")
    images, pixel = read_mrc(stack(session))
    groups, table = read_particles(session / layout.refine_file(ROUND, "stack/particles.star"))
    assert len(images) == len(table) == 27
    assert pixel == pytest.approx(1.5, rel=0.01)
    assert groups["rlnImagePixelSize"].tolist() == pytest.approx([pixel] * 2)
    assert (groups["rlnImageSize"] == images.shape[-1]).all()
    assert table[["rlnOriginXAngst", "rlnOriginYAngst"]].abs().max().max() <= PHYSICAL / 2 + 1e-6
    for image, row in zip(images, table.to_dict("records"), strict=True):
        off_angst = centre_px(image) * pixel
        # a particle lies at the centre less its origin
        assert off_angst == pytest.approx(
            [-row["rlnOriginXAngst"], -row["rlnOriginYAngst"]], abs=0.5
        )


def test_poses_defocus_and_optics_groups_go_with_their_particles(session):
    before = read_table(session / layout.validation_file(ROUND, "particles.star"), "particles")
    table = reextract(session, ROUND, config(), "cpu")
    for column in ("rlnMicrographName", "rlnDefocusU", "rlnOpticsGroup", "rlnAngleRot"):
        assert table[column].tolist() == before[column].tolist()
    given = read_input(session / layout.refine_file(ROUND, "stack/particles.star"), session)
    assert given.optics.defocus_u_angst.tolist() == before["rlnDefocusU"].tolist()
    assert told(session, "stack/decisions.star")["reextraction"]["csnVerdict"] == "info"


def test_the_physical_pixel_is_kept_where_it_is_coarser(session):
    reextract(session, ROUND, config(refine={"pixel_size_angst": 1.0}), "cpu")
    assert read_mrc(stack(session))[1] == pytest.approx(PHYSICAL)


def test_a_micrograph_that_is_gone_costs_its_own_particles(session):
    (session / NAMES[1]).unlink()
    table = reextract(session, ROUND, config(), "cpu")
    assert set(table["rlnMicrographName"]) == {NAMES[0], NAMES[2]}
    row = told(session, "stack/decisions.star")["reextraction"]
    assert row["csnVerdict"] == "warn"
    assert NAMES[1] in row["csnEvidence"]


@pytest.mark.parametrize("lost", [NAMES[:2], NAMES])
def test_where_most_micrographs_are_gone_the_given_images_go_on(session, lost):
    for name in lost:
        (session / name).unlink()
    before = read_table(session / layout.validation_file(ROUND, "particles.star"), "particles")
    table = reextract(session, ROUND, config(), "cpu")
    assert table["rlnImageName"].tolist() == before["rlnImageName"].tolist()
    assert not stack(session).exists()
    assert "micrograph" in told(session, "stack/decisions.star")["reextraction"]["csnThreshold"]


def test_a_micrograph_of_nan_costs_its_own_particles(session):
    write_mrc(session / NAMES[0], np.full(SHAPE, np.nan, np.float32), PHYSICAL)
    table = reextract(session, ROUND, config(), "cpu")
    assert NAMES[0] not in set(table["rlnMicrographName"])


def test_a_box_larger_than_the_micrographs_leaves_the_given_images(session):
    table = reextract(session, ROUND, config(particles={"box_px": 1024}), "cpu")
    assert table["rlnImageName"].iloc[0] == "000001@given.mrcs"


def test_an_earlier_problem_is_passed_on(tmp_path):
    write_given(tmp_path, 4)
    write_chosen(tmp_path, problem="nothing looks like a particle")
    assert reextract(tmp_path, ROUND, config(), "cpu").empty
    row = told(tmp_path, "stack/decisions.star")["reextraction"]
    assert (row["csnVerdict"], row["csnValue"]) == ("fail", "nothing looks like a particle")


@pytest.mark.parametrize(
    ("long_axis", "defocus", "axes"),
    [
        (400.0, 3_000.0, LEAST_BOX),  # little is carried out: room for the background
        (300.0, 40_000.0, LARGEST_BOX),  # more is than masks keep
    ],
)
def test_the_box_has_room_for_the_particle_and_what_the_ctf_carries_out(long_axis, defocus, axes):
    size = ParticleSize(0.8 * long_axis, 2.0, long_axis, 0.7 * long_axis, False, 200)
    box_px, output_px = refinement_box(
        size, PHYSICAL, config(), defocus_angst=defocus, voltage_kv=300.0
    )
    assert box_px * PHYSICAL == pytest.approx(axes * long_axis, rel=0.09)
    assert box_px * PHYSICAL / output_px == pytest.approx(1.5, rel=0.01)
    assert box_px % 2 == output_px % 2 == 0
