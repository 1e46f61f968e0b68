"""Ab initio reconstruction and refinement of particles with known truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from volumes3d_synthetic import (
    BOX,
    DIAMETER,
    PIXEL,
    apart_deg,
    blobs,
    correlations,
    particles,
    placed,
    volume,
)

from cryosnake.errors import BadInputError
from cryosnake.volumes3d import AbInitioSchedule, RefineSchedule, Stage, ab_initio, refine

SIZES = {"pixel_size_angst": PIXEL, "diameter_angst": DIAMETER}
KIND = blobs(0)
SHORT = AbInitioSchedule(
    trial=Stage(1 / 6, 25, 200, (0.7, 0.5)), stages=(Stage(1 / 9, 8, 400, (0.5, 0.3)),)
)
QUICK = RefineSchedule(wide=2, iterations=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def stack():
    return particles(600, [KIND], snr=1.2)


@pytest.fixture(scope="module")
def refined(stack):
    images, optics, *_ = stack
    return refine(images, optics, 5.0 * volume(KIND), low_pass_angst=40.0, **SIZES)


def angles_of(poses) -> np.ndarray:
    return np.column_stack([poses.rot_deg, poses.tilt_deg, poses.psi_deg])


def resolution(curve, threshold):
    below = np.flatnonzero(curve[2:] < threshold)
    return BOX * PIXEL / ((below[0] + 2) if len(below) else len(curve))


def test_refinement_finds_what_the_reference_did_not_hold(refined):
    curve = correlations(refined.volume, volume(KIND))
    assert resolution(curve, 0.5) < 20.0  # the reference ends at 40 A
    halves = correlations(*refined.halves)
    assert halves[2:5].min() > 0.8


def test_refined_poses_are_relions(stack, refined):
    _, _, _, angles, origin = stack
    poses = refined.poses
    assert np.median(apart_deg(angles_of(poses), angles)) < 9.0
    found = np.column_stack([poses.origin_y_angst, poses.origin_x_angst])
    assert np.median(np.hypot(*(found - origin).T)) < 2.5
    assert abs(poses.contrast.mean() - 1.0) < 0.1
    assert np.median(poses.log_evidence) > 5.0


def test_reported_resolution_is_that_to_the_truth(refined):
    to_truth = resolution(correlations(refined.volume, volume(KIND)), 0.5)
    assert refined.resolution_angst == pytest.approx(to_truth, rel=0.2)


def test_same_seed_same_result(stack):
    images, optics, *_ = stack
    one, two = (
        refine(
            images[:150],
            _first(optics, 150),
            volume(KIND),
            resolution_angst=20.0,
            schedule=QUICK,
            **SIZES,
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.volume, two.volume)
    np.testing.assert_array_equal(one.poses.rot_deg, two.poses.rot_deg)


def test_few_particles_lead_and_all_follow(stack):
    images, optics, _, angles, _ = stack
    schedule = RefineSchedule(few=200, wide=4, iterations=3)
    found = refine(images, optics, volume(KIND), low_pass_angst=40.0, schedule=schedule, **SIZES)
    assert np.median(apart_deg(angles_of(found.poses), angles)) < 9.0
    assert resolution(correlations(found.volume, volume(KIND)), 0.5) < 20.0


@pytest.mark.parametrize("seed", [1, 3])  # the scale of the reference is 0, and above 0
def test_noise_refines_to_nothing(seed):
    images, optics, *_ = particles(500, [KIND], empty=1.1, seed=seed)
    found = refine(images, optics, volume(KIND), low_pass_angst=40.0, seed=seed, **SIZES)
    assert found.resolution_angst == np.inf
    assert found.poses.log_evidence.mean() < -1.0


def test_ab_initio_from_random_orientations(stack):
    images, optics, *_ = stack
    (found,) = ab_initio(images, optics, restarts=2, schedule=SHORT, **SIZES)
    curve = correlations(found.volume, volume(placed(found.volume, KIND)))
    assert resolution(curve, 0.5) < 22.0
    assert found.share == 1.0


def test_a_small_budget_changes_nothing_but_memory(stack):
    images, optics, *_ = stack
    one, two = (
        refine(
            images[:150],
            _first(optics, 150),
            volume(KIND),
            resolution_angst=20.0,
            budget_mb=budget_mb,
            schedule=QUICK,
            **SIZES,
        )
        for budget_mb in (1.0, 2000.0)
    )
    np.testing.assert_allclose(one.fsc, two.fsc, atol=0.01)
    assert np.median(apart_deg(angles_of(one.poses), angles_of(two.poses))) < 0.1


def test_bad_images_have_no_class(stack):
    images, optics, *_ = stack
    images = images[:150].copy()
    images[[3, 70]] = np.nan
    found = refine(
        images,
        _first(optics, 150),
        volume(KIND),
        resolution_angst=20.0,
        schedule=QUICK,
        **SIZES,
    )
    assert np.flatnonzero(found.poses.class_index == -1).tolist() == [3, 70]
    assert np.isfinite(found.volume).all()


@pytest.mark.parametrize(
    "reference", [np.ones((BOX,) * 3), np.zeros((BOX + 2,) * 3), np.full((BOX,) * 3, np.nan)]
)
def test_useless_references_are_named(stack, reference):
    images, optics, *_ = stack
    with pytest.raises(BadInputError, match="reference"):
        refine(images, optics, reference, **SIZES)


def test_too_few_particles_are_named(stack):
    images, optics, *_ = stack
    with pytest.raises(BadInputError, match="usable particles"):
        refine(images[:5], _first(optics, 5), volume(KIND), **SIZES)


def _first(optics, number):
    names = ("defocus_u_angst", "defocus_v_angst", "defocus_angle_deg")
    return replace(optics, **{name: getattr(optics, name)[:number] for name in names})
