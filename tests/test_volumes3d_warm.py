"""Refinements that go on from known poses, and searches next to several known views."""

import time
from dataclasses import fields

import numpy as np
import pytest
import torch
from volumes3d_synthetic import DIAMETER, PIXEL, apart_deg, blobs, correlations, particles, volume

from cryosnake.errors import BadInputError
from cryosnake.volumes3d import RefineSchedule, VolumePoses, refine
from cryosnake.volumes3d.ab_initio import _rising
from cryosnake.volumes3d.neighbours import Neighbours
from cryosnake.volumes3d.orientations import random_rotation, view_grid

SIZES = {"pixel_size_angst": PIXEL, "diameter_angst": DIAMETER}
KIND = blobs(0)
MANY, FEW = 500, 300


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def stack():
    return particles(MANY, [KIND], snr=1.2)


def timed(stack, **more):
    """A refinement and its CPU seconds."""
    begin = time.process_time()
    found = refine(stack[0], stack[1], 5.0 * volume(KIND), low_pass_angst=40.0, **more, **SIZES)
    return found, time.process_time() - begin


@pytest.fixture(scope="module")
def cold(stack):
    return timed(stack)


def poses_with(poses: VolumePoses, **values) -> VolumePoses:
    copies = {one.name: getattr(poses, one.name).copy() for one in fields(poses)}
    return VolumePoses(**(copies | values))


def agreement(found) -> float:
    """Mean correlation with the truth over the shells to 15 A."""
    return correlations(found.volume, volume(KIND))[2:14].mean()


def errors_deg(found, stack) -> np.ndarray:
    angles = np.column_stack([found.poses.rot_deg, found.poses.tilt_deg, found.poses.psi_deg])
    return apart_deg(angles, stack[3])


def test_known_poses_make_it_cheaper_and_not_worse(stack, cold):
    first, cold_s = cold
    found, warm_s = timed(stack, initial_poses=first.poses)
    assert warm_s < 0.7 * cold_s
    assert agreement(found) > agreement(first) - 0.01
    assert found.resolution_angst < 1.05 * first.resolution_angst
    np.testing.assert_array_equal(found.poses.half, first.poses.half)


def test_particles_without_a_pose_are_searched_everywhere(stack, cold):
    rot = cold[0].poses.rot_deg.copy()
    half = cold[0].poses.half.copy()
    rot[FEW:], half[FEW:] = np.nan, -1
    poses = poses_with(cold[0].poses, rot_deg=rot, half=half)
    for name in ("tilt_deg", "psi_deg", "origin_x_angst", "origin_y_angst"):
        getattr(poses, name)[FEW:] = np.nan
    found, _ = timed(stack, initial_poses=poses)
    np.testing.assert_array_equal(found.poses.half[:FEW], half[:FEW])
    assert set(found.poses.half[FEW:]) == {0, 1}
    assert np.median(errors_deg(found, stack)[FEW:]) < 9.0
    assert agreement(found) > agreement(cold[0]) - 0.01


def test_the_halves_begin_from_the_poses_and_not_from_the_reference(stack, cold):
    schedule = RefineSchedule(iterations=1)
    other = timed(stack, initial_poses=cold[0].poses, schedule=schedule)[0]
    wrong = refine(
        stack[0],
        stack[1],
        volume(blobs(7)),
        initial_poses=cold[0].poses,
        schedule=schedule,
        **SIZES,
    )
    assert correlations(wrong.volume, other.volume)[2:14].min() > 0.9


def test_as_many_poses_as_particles(stack, cold):
    half = cold[0].poses.half[:-1]
    with pytest.raises(BadInputError, match="poses"):
        timed(stack, initial_poses=VolumePoses.empty(half))


def test_a_view_is_the_neighbour_of_one_known_view_only():
    rng = np.random.default_rng(0)
    grid = view_grid(10.0, random_rotation(rng))
    near = Neighbours(grid, 1.6, 10.0)
    views = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(40, 3, 3))).float(), dim=2)
    views[:, 1] = torch.nn.functional.normalize(views[:, 0] + 0.1 * views[:, 1], dim=1)
    known = torch.ones((40, 3), dtype=torch.bool)
    known[20:, 2] = False
    index, allowed = near.of(views, known)
    cap = np.cos(np.deg2rad(16.0))
    for image in range(40):
        chosen = index[image][allowed[image]]
        assert len(torch.unique(chosen)) == len(chosen)
        count = 3 if image < 20 else 2
        within = (views[image, :count] @ grid.T).amax(0) >= cap
        assert set(chosen.tolist()) == set(torch.nonzero(within)[:, 0].tolist())


def test_batches_go_on_while_the_evidence_rises():
    assert _rising([1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.1])
    assert not _rising([9.0, 1.0, 1.0, 1.0, 1.0, 1.01, 1.01, 1.01, 1.01])
    assert _rising([-2.0] * 4 + [-1.0] * 4)
