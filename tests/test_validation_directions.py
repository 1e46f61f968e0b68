"""Resolution by direction, sampling of views, preferred orientation, and the forecast."""

import math

import numpy as np
import pytest
from validation_synthetic import molecule, noisy_halves, without_cone

from cryosnake.errors import BadInputError
from cryosnake.validation.directional import directional_fsc
from cryosnake.validation.forecast import fit_resolution, forecast
from cryosnake.validation.fsc import corrected_fsc, lasting_crossing_shell
from cryosnake.validation.mask import spherical_mask
from cryosnake.validation.orientations import (
    euler_angles,
    euler_matrices,
    half_sphere_points,
    rotation_grid,
    sphere_points,
    view_angles,
    views,
)
from cryosnake.validation.preferred import preferred_orientation, recommended_tilt_deg
from cryosnake.validation.sampling import orientation_distribution, sampling, tilted_views

PIXEL = 4.0


def even_views(number: int, seed: int = 1) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((number, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def views_near_z(number: int, spread_deg: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.array([0, 0, 1]) + rng.normal(0, math.radians(spread_deg) / 1.4, (number, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def halves_of(volume: np.ndarray, noise: float = 1.0, seed: int = 1) -> list[np.ndarray]:
    return noisy_halves(volume, noise, seed=seed)


def test_even_noise_gives_the_same_in_all_directions():
    halves = halves_of(np.random.default_rng(7).standard_normal((48,) * 3).astype(np.float32))
    cones = directional_fsc(*halves, PIXEL)
    np.testing.assert_allclose(cones.curves[:, 8:].mean(1), 0.5, atol=0.06)
    assert cones.area_ratio > 0.65
    assert cones.mean_angst == pytest.approx(
        corrected_fsc(*halves, PIXEL).resolution_angst, rel=0.05
    )


def test_missing_cone_is_found_where_it_is():
    halves = [
        without_cone(half, 30.0) + 0.02 * other
        for half, other in zip(
            halves_of(molecule(48), 0.3), halves_of(np.zeros((48,) * 3), 1.0, seed=9), strict=True
        )
    ]
    cones = directional_fsc(*halves, PIXEL)
    worst = cones.directions[np.argmax(cones.resolution_angst)]
    assert worst[2] > np.cos(np.deg2rad(15.0))
    equator = np.abs(cones.directions[:, 2]) < 0.5
    assert cones.worst_angst > 2 * np.median(cones.resolution_angst[equator])
    assert cones.areas.min() < 0.4 * cones.areas.max()
    assert cones.deviation_angst > 3.0


def test_cones_of_noise_claim_nothing_under_a_mask():
    rng = np.random.default_rng(2)
    halves = rng.standard_normal((2, 48, 48, 48)).astype(np.float32)
    cones = directional_fsc(*halves, PIXEL, spherical_mask(48, 50.0, PIXEL, 2.0))
    assert np.percentile(cones.resolution_angst, 5) > 20.0


def test_a_dip_does_not_end_a_cone():
    curve = np.full(30, 0.6)
    curve[[8, 9]] = 0.0  # where the molecule has no signal
    curve[20:] = 0.0
    assert lasting_crossing_shell(curve) == pytest.approx(19.8, abs=1.0)


def test_sampling_scores_of_known_distributions():
    assert sampling(even_views(10_000)).score > 0.97
    angle = np.linspace(0, 2 * np.pi, 5000)
    side = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], 1)
    assert sampling(side).score == pytest.approx(8 / math.pi**2, abs=0.02)
    assert sampling(side).empty_fraction == 0.0
    top = sampling(np.tile([0.0, 0.0, 1.0], (1000, 1)))
    assert top.score < 0.15
    assert top.empty_fraction > 0.9


def test_score_does_not_depend_on_the_number_of_views():
    few, many = sampling(views_near_z(1000, 20.0)), sampling(views_near_z(9000, 20.0, seed=2))
    assert few.score == pytest.approx(many.score, abs=0.05)


def test_orientation_distribution_counts_every_view():
    centres, counts = orientation_distribution(views_near_z(3000, 5.0), 300)
    assert counts.sum() == 3000
    assert centres[np.argmax(counts)][2] > 0.95


def test_tilting_moves_every_view_by_the_tilt():
    given = even_views(500)
    moved = tilted_views(given, 25.0)
    np.testing.assert_allclose(np.rad2deg(np.arccos((given * moved).sum(1))), 25.0, atol=1e-6)


def test_preferred_orientation_is_called_with_a_tilt():
    found_views = views_near_z(3000, 6.0)
    halves = [
        without_cone(half, 60.0) + 0.05 * other
        for half, other in zip(
            halves_of(molecule(48), 0.3), halves_of(np.zeros((48,) * 3), 1.0, seed=9), strict=True
        )
    ]
    found = preferred_orientation(directional_fsc(*halves, PIXEL), found_views)
    assert found.verdict == "preferred"
    assert found.tilt_deg >= 20
    assert found.score_at_tilt[found.tilt_deg] > found.score_at_tilt[0]
    assert "tilt" in found.evidence


def test_clean_views_give_no_verdict_against_them():
    cones = directional_fsc(*halves_of(molecule(48), 0.5), PIXEL)
    found = preferred_orientation(cones, even_views(3000))
    assert found.verdict == "none"
    assert found.tilt_deg is None
    assert found.confidence > 0.8


def test_map_and_views_that_disagree_are_unsure():
    cones = directional_fsc(*halves_of(molecule(48), 0.5), PIXEL)
    assert preferred_orientation(cones, views_near_z(3000, 6.0)).verdict == "unsure"
    assert preferred_orientation(cones, even_views(50)).verdict == "unsure"


def test_the_least_tilt_that_is_enough_is_recommended():
    assert recommended_tilt_deg({0: 0.2, 10: 0.3, 20: 0.55, 30: 0.7}) == 20
    assert recommended_tilt_deg({0: 0.2, 10: 0.21, 20: 0.3, 30: 0.31}) == 20


def test_grids_are_even_and_angles_come_back():
    for points in (sphere_points(2000), half_sphere_points(1000)):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    assert np.abs(sphere_points(2000).mean(0)).max() < 1e-3
    assert np.linalg.eigvalsh(np.cov(sphere_points(2000).T)) == pytest.approx(1 / 3, abs=0.01)
    rng = np.random.default_rng(1)
    rot, tilt, psi = (
        rng.uniform(-180, 180, 50),
        rng.uniform(0.1, 179, 50),
        rng.uniform(-180, 180, 50),
    )
    matrices = euler_matrices(rot, tilt, psi)
    np.testing.assert_allclose(euler_angles(matrices), np.stack([rot, tilt, psi], 1), atol=1e-6)
    np.testing.assert_allclose(matrices[:, 2], views(rot, tilt), atol=1e-9)
    np.testing.assert_allclose(np.stack(view_angles(matrices[:, 2])), [rot, tilt], atol=1e-6)
    turns = euler_matrices([0.0, 0.0], [0.0, 180.0], [30.0, -70.0])
    np.testing.assert_allclose(euler_matrices(*euler_angles(turns).T), turns, atol=1e-9)


def test_rotation_grid_leaves_no_hole():
    grid = rotation_grid(4608)
    others = np.linalg.qr(np.random.default_rng(3).standard_normal((200, 3, 3)))[0]
    others *= np.sign(np.linalg.det(others))[:, None, None]
    trace = np.einsum("aij,bij->ab", others, grid).max(1)
    assert np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1))).max() < 20.0


def on_the_line(counts, b_factor_angst2: float, intercept: float) -> np.ndarray:
    return np.sqrt(0.5 * b_factor_angst2 / (np.log(counts) - intercept))


def test_forecast_of_points_on_the_line():
    counts = np.array([1e4, 2e4, 4e4, 8e4])
    found = on_the_line(counts, 200.0, 6.0)
    fit = fit_resolution(counts, found)
    assert fit.b_factor_angst2 == pytest.approx(200.0)
    assert fit.resolution_at(3e5) == pytest.approx(on_the_line(3e5, 200.0, 6.0))
    ahead = forecast(
        fit, on_the_line(3e5, 200.0, 6.0), pixel_size_angst=1.0, particles_per_hour=2e4
    )
    assert ahead.verdict == "forecast"
    assert ahead.particles == pytest.approx(3e5, rel=1e-6)
    assert ahead.low < 3e5 < ahead.high
    assert ahead.hours == pytest.approx((3e5 - 8e4) / 2e4)


def test_forecast_knows_its_limits():
    counts = np.array([1e4, 2e4, 4e4, 8e4])
    found = on_the_line(counts, 200.0, 6.0)
    fit = fit_resolution(counts, found)
    assert forecast(fit, 8.0, pixel_size_angst=1.0).verdict == "reached"
    assert forecast(fit, 1.9, pixel_size_angst=1.0).verdict == "out of reach"
    assert forecast(fit, 2.5, pixel_size_angst=1.0).verdict == "unsure"  # too far
    assert math.isnan(forecast(fit, 4.2, pixel_size_angst=1.0).hours)
    assert (
        forecast(fit_resolution(counts[:2], found[:2]), 4.5, pixel_size_angst=1.0).verdict
        == "unsure"
    )
    flat = forecast(fit_resolution(counts, [6.0, 6.3, 6.2, 6.4]), 5.0, pixel_size_angst=1.0)
    assert flat.verdict == "unsure"
    assert math.isnan(flat.particles)
    coarse = fit_resolution(counts, [30.0, 25.0, 22.0, 20.0])
    assert forecast(coarse, 18.0, pixel_size_angst=1.0).verdict == "unsure"


def test_forecast_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    counts = np.array([1e4, 2e4, 4e4, 8e4])
    target = on_the_line(3e5, 200.0, 6.0)
    held = 0
    for _ in range(200):
        found = on_the_line(counts, 200.0, 6.0) * (1 + 0.04 * rng.standard_normal(4))
        fit = fit_resolution(counts, found)
        if fit.gain_per_angst2 <= 0:
            continue
        ahead = forecast(fit, target, pixel_size_angst=1.0)
        held += ahead.low <= 3e5 <= ahead.high
    assert 0.5 < held / 200 < 0.9


def test_bad_points_are_refused():
    with pytest.raises(BadInputError, match="finite resolutions"):
        fit_resolution([1e4, 2e4], [8.0, math.inf])
    with pytest.raises(BadInputError, match="two or more"):
        fit_resolution([1e4, 1e4], [8.0, 7.0])
