"""A refinement that goes on from the one before."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refine_session import GROUPS, NEW, PARTICLES, ROUND, config, given_table, refined_session
from volumes3d_synthetic import PIXEL, blobs, volume

from cryosnake import layout
from cryosnake.images import write_volume
from cryosnake.particles import read_particles, write_particles
from cryosnake.stages.reextract import reextract
from cryosnake.stages.refine import refine_volume
from cryosnake.stages.refine_engines import going_on, refinement_task
from cryosnake.stages.refine_files import read_json, write_json
from cryosnake.stages.warm_start import NAME, moved_along

EARLIER, NUMBER = 1000, PARTICLES


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def session(tmp_path_factory, tmp_path) -> Path:
    """A session whose first 320 particles were refined in an earlier round; 80 are new."""
    session = tmp_path / "session"
    shutil.copytree(refined_session(tmp_path_factory), session)
    shutil.move(session / layout.REFINE / str(ROUND), session / layout.REFINE / str(EARLIER))
    write_particles(
        session / layout.validation_file(ROUND, "particles.star"), GROUPS, given_table(NUMBER + NEW)
    )
    reextract(session, ROUND, config(), "cpu")
    return session


def start(session: Path):
    return going_on(refinement_task(session, ROUND, config())).start


def test_known_particles_keep_pose_and_half_set_and_new_ones_have_none(session):
    found = start(session)
    path = session / layout.refine_file(EARLIER, "particles.star")
    before = read_particles(path)[1]
    assert np.allclose(found.rot_deg[:NUMBER], before["rlnAngleRot"], atol=1e-4)
    assert (found.half[:NUMBER] == before["rlnRandomSubset"] - 1).all()
    assert np.isnan(found.rot_deg[NUMBER:]).all()
    assert (found.half[NUMBER:] == -1).all()
    assert (found.class_index[NUMBER:] == -1).all()


def test_the_refinement_goes_on_from_it(session):
    result = refine_volume(session, ROUND, config(), "cpu", 1)
    assert result["started_from_poses"]
    before = read_json(session / layout.refine_file(EARLIER, "result.json"))
    assert result["resolution_angst"] < before["resolution_angst"] + 2.0
    table = read_particles(session / layout.refine_file(ROUND, "particles.star"))[1]
    old = read_particles(session / layout.refine_file(EARLIER, "particles.star"))[1]
    halves = ["rlnRandomSubset"]
    assert table[halves].iloc[:NUMBER].equals(old[halves])
    assert set(table["rlnRandomSubset"].iloc[NUMBER:]) == {1, 2}


def other_structure(session):
    path = session / layout.validation_file(ROUND, "chosen.mrc")
    write_volume(path, volume(blobs(7)).astype(np.float32), PIXEL)


def no_resolution(session):
    path = session / layout.refine_file(EARLIER, "result.json")
    write_json(path, read_json(path) | {"resolution_angst": None})


def other_particles(session):
    path = session / layout.refine_file(EARLIER, "particles.star")
    groups, table = read_particles(path)
    names = [f"{i + 1:06d}@other.mrcs" for i in range(len(table))]
    write_particles(path, groups, table.assign(**{NAME: names}))


def no_map(session):
    (session / layout.refine_file(EARLIER, "map.mrc")).unlink()


@pytest.mark.parametrize("change", [other_structure, no_resolution, other_particles, no_map])
def test_it_starts_anew_where_the_earlier_one_is_no_start(session, change):
    change(session)
    assert start(session) is None


def test_origins_follow_the_boxes():
    known = pd.DataFrame(
        {
            NAME: ["a", "b"],
            "rlnCoordinateX": [100.0, 50.0],
            "rlnCoordinateY": [200.0, 60.0],
            "rlnOriginXAngst": [3.0, 0.0],
            "rlnOriginYAngst": [-1.0, 0.0],
            "rlnClassNumber": [1, 1],
            "rlnRandomSubset": [2, 1],
        }
    )
    table = pd.DataFrame(
        {
            NAME: ["c", "a"],
            "rlnOpticsGroup": 1,
            "rlnCoordinateX": [1.0, 98.0],
            "rlnCoordinateY": [1.0, 201.0],
        }
    )
    found = moved_along(GROUPS.assign(rlnMicrographPixelSize=1.5), table, known)
    # the particle is at coordinate - origin / pixel size: (98, 200.667) before and now
    assert found["rlnOriginXAngst"].iloc[1] == pytest.approx(0.0)
    assert found["rlnOriginYAngst"].iloc[1] == pytest.approx(0.5)
    assert found["rlnClassNumber"].tolist() == [0, 1]
    assert found["rlnRandomSubset"].tolist() == [0, 2]
