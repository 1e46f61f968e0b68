"""Room for the molecule, maps in another box, comparison with a known map."""

import numpy as np
import pytest
from validation_synthetic import molecule, noisy_halves

from cryosnake.errors import BadInputError
from cryosnake.validation.align_maps import mirrored
from cryosnake.validation.box import check_box
from cryosnake.validation.known_map import compare_with_known
from cryosnake.validation.mask import automatic_mask, spherical_mask
from cryosnake.validation.resize import resized

PIXEL = 4.0


def blob(n: int, pixel: float, centre=(10.0, -7.0, 5.0), width: float = 12.0) -> np.ndarray:
    """A Gaussian in angstrom, whatever the grid."""
    axis = (np.arange(n) - n // 2) * pixel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    away = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.exp(-0.5 * away / width**2)


@pytest.mark.parametrize(
    ("n", "pixel"), [(80, 1.5), (60, 3.0), (30, 5.0), (96, 2.1), (40, PIXEL), (24, 4.0)]
)
def test_a_map_is_the_same_on_another_grid(n, pixel):
    found = resized(blob(40, PIXEL), PIXEL, n, pixel)
    assert found.shape == (n,) * 3
    assert found.dtype == np.float32
    assert np.allclose(found, blob(n, pixel), atol=2e-4)


def test_an_odd_box_keeps_its_centre():
    assert np.allclose(resized(blob(41, PIXEL), PIXEL, 64, 2.5), blob(64, 2.5), atol=1e-4)


def test_detail_that_the_new_pixels_cannot_hold_is_left_out():
    wave = np.cos(2 * np.pi * 0.4 * np.arange(40))[:, None, None] * np.ones((40, 40, 40))
    assert np.abs(resized(wave, 2.0, 20, 4.0)).max() < 1e-4


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 6)), np.full((4, 4, 4), np.nan)])
def test_what_is_no_map_is_refused(bad):
    with pytest.raises(BadInputError):
        resized(bad, 1.0, 8, 1.0)


@pytest.mark.parametrize("pixel", [0.0, -1.0, np.nan])
def test_a_pixel_size_must_be_positive(pixel):
    with pytest.raises(BadInputError):
        resized(np.zeros((4, 4, 4)), pixel, 8, 1.0)


# --- the box ---


def ball(n: int, diameter_angst: float, noise: float, seed: int = 1) -> np.ndarray:
    solid = spherical_mask(n, diameter_angst / 2, PIXEL, edge_px=2.0)
    return solid + noise * np.random.default_rng(seed).standard_normal((n,) * 3)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_a_molecule_with_room_around_it(noise):
    found = check_box(ball(48, 100.0, noise), PIXEL, 150.0, 12.0)
    assert found.verdict == "large enough"
    assert found.needed_box_angst is None
    assert found.extent_angst == pytest.approx(100.0, abs=15.0)
    assert found.edge_density_ratio < 0.7


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_molecule_that_its_mask_cuts(noise):
    cut = ball(48, 160.0, noise) * spherical_mask(48, 65.0, PIXEL, edge_px=2.0)
    found = check_box(cut, PIXEL, 130.0, 12.0)
    assert found.verdict == "too small"
    assert found.needed_mask_angst >= 160.0
    assert found.needed_box_angst >= found.needed_mask_angst
    assert found.edge_density_ratio > 0.7


def test_an_arm_that_is_cut_is_enough():
    volume = ball(48, 70.0, 0.02)
    volume[24:28, 24:28, 24:] += 1.0
    volume *= spherical_mask(48, 60.0, PIXEL, edge_px=2.0)
    assert check_box(volume, PIXEL, 120.0, 12.0).verdict == "too small"


def test_a_neighbour_at_the_edge_is_not_the_molecule():
    volume = ball(64, 90.0, 0.02)
    volume[32 - 3 : 32 + 3, 32 - 3 : 32 + 3, 58:64] += 1.0
    assert check_box(volume, PIXEL, 240.0, 12.0).verdict == "large enough"


def test_an_empty_map_has_room():
    assert check_box(np.zeros((32, 32, 32)), PIXEL, 100.0, 12.0).verdict == "large enough"


# --- a known map ---


@pytest.mark.parametrize(("other_hand", "hand"), [(False, "same"), (True, "mirrored")])
def test_a_known_map_in_another_box_and_hand(other_hand, hand):
    truth = molecule(36, seed=2)
    volume = mirrored(truth) if other_hand else truth
    volume = (sum(noisy_halves(volume, 0.3)) / 2).astype(np.float32)
    mask = automatic_mask(volume, PIXEL)
    known = resized(truth, PIXEL, 50, 3.0)
    found = compare_with_known(volume, PIXEL, mask, known, 3.0, resolution_angst=12.0)
    assert found.hand == hand
    assert found.resolution_angst < 12.0
    assert found.curve[2:10].min() > 0.8


def test_another_structure_is_told():
    volume, other = molecule(32, seed=2), molecule(32, seed=5)
    mask = automatic_mask(volume, PIXEL)
    found = compare_with_known(volume, PIXEL, mask, other, PIXEL, resolution_angst=12.0)
    assert found.resolution_angst > 1.5 * 12.0
    assert found.correlation < 0.75
