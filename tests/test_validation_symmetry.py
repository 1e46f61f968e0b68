"""Point groups of maps of Gaussian blobs that have them."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosnake.errors import BadInputError
from cryosnake.validation.align_maps import Pose, moved
from cryosnake.validation.symmetry import find_symmetry
from cryosnake.validation.symmetry_groups import generators, group_matrices

BOX, PIXEL, RESOLUTION = 40, 4.0, 13.0
FRAME = Rotation.from_euler("zyx", [25.0, 40.0, -70.0], degrees=True).as_matrix()
CENTRE_PX = np.array([1.2, -0.7, 0.9])  # (x, y, z)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def places(parts: int, seed: int = 0) -> np.ndarray:
    """(parts, 3) in pixels, away from the centre."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(parts, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * rng.uniform(8.0, 14.0, (parts, 1))


def density(centres: np.ndarray, width: float = 1.3) -> np.ndarray:
    """(n, n, n) of blobs at (x, y, z) from the centre."""
    axis = np.arange(BOX) - BOX // 2
    cube = np.zeros((BOX,) * 3)
    for x, y, z in centres:
        line = [np.exp(-((axis - at) ** 2) / (2 * width**2)) for at in (z, y, x)]
        cube += line[0][:, None, None] * line[1][:, None] * line[2]
    return cube


def symmetric(group: str, parts: int) -> np.ndarray:
    """Blobs with a group, its axes turned by FRAME about a centre that is not the box's."""
    one = places(parts)
    copies = np.concatenate([one @ turn.T for turn in group_matrices(group)])
    return density(copies @ FRAME.T + CENTRE_PX)


def noisy(volume: np.ndarray, level: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return tuple(volume + rng.normal(0.0, level, volume.shape) for _ in range(2))


@pytest.mark.parametrize(
    ("group", "parts"), [("C2", 8), ("C7", 4), ("D2", 6), ("D7", 2), ("T", 2), ("O", 1), ("I", 1)]
)
def test_the_group_is_found_and_its_axes(group, parts):
    halves = noisy(symmetric(group, parts))
    volume = (halves[0] + halves[1]) / 2
    found = find_symmetry(volume, PIXEL, None, RESOLUTION, halves=halves)[0]
    assert found.convincing
    assert found.group == group
    assert found.correlation == pytest.approx(found.expected, abs=0.1)
    # the map is brought onto itself by the group, where it is said to lie
    on_axes = moved(
        volume,
        Pose(found.rotation, -found.rotation @ found.centre_angst, False, 1.0),
        PIXEL,
    )
    for turn in group_matrices(group)[1:4]:
        again = moved(on_axes, Pose(turn, np.zeros(3), False, 1.0), PIXEL)
        assert np.corrcoef(on_axes.ravel(), again.ravel())[0, 1] > 0.8
    if group != "C2" and group != "C7":  # on an axis the centre is free
        assert np.linalg.norm(found.centre_angst - CENTRE_PX * PIXEL) < 1.5


def test_an_asymmetric_map_has_none():
    halves = noisy(density(places(14)))
    found = find_symmetry((halves[0] + halves[1]) / 2, PIXEL, None, RESOLUTION, halves=halves)
    assert not any(one.convincing for one in found)


def test_a_pseudo_symmetry_is_none():
    one = places(8)
    two = one @ group_matrices("C2")[1].T
    halves = noisy(density(np.concatenate([one, two[:5], places(3, seed=5)])))
    found = find_symmetry((halves[0] + halves[1]) / 2, PIXEL, None, RESOLUTION, halves=halves)
    assert not any(one.convincing for one in found)


def test_a_ring_without_subunits_has_no_order():
    turns = np.deg2rad(np.arange(0.0, 360.0, 3.0))
    ring = [
        np.stack([r * np.cos(turns), r * np.sin(turns), 0 * turns + z], 1)
        for r, z in ((12.0, 0.0), (7.0, 6.0))
    ]
    halves = noisy(density(np.concatenate(ring)) / 5.0)
    found = find_symmetry((halves[0] + halves[1]) / 2, PIXEL, None, RESOLUTION, halves=halves)
    assert not any(one.convincing for one in found)


def test_only_the_groups_that_are_asked_for():
    found = find_symmetry(symmetric("D2", 6), PIXEL, None, RESOLUTION, groups=("C2",))
    assert [one.group for one in found] == ["C2"]
    assert found[0].convincing


def test_too_few_shells():
    with pytest.raises(BadInputError, match="5 shells"):
        find_symmetry(symmetric("C2", 3), PIXEL, None, 60.0)


@pytest.mark.parametrize("group", ["C5", "D2", "D7", "T", "O", "I"])
def test_generators_make_the_group(group):
    found = [np.eye(3)]
    for one in found:
        for turn in generators(group):
            if not any(np.allclose(turn @ one, other, atol=1e-6) for other in found):
                found.append(turn @ one)
    whole = group_matrices(group)
    assert len(found) == len(whole)
    assert all(any(np.allclose(one, other, atol=1e-6) for other in whole) for one in found)
    np.testing.assert_allclose(whole[0], np.eye(3), atol=1e-12)


def test_no_such_group():
    with pytest.raises(ValueError, match="X3"):
        group_matrices("X3")


@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION missing")
@pytest.mark.parametrize("group", ["C7", "D2", "D7", "T", "O", "I"])
def test_groups_are_relions(group):
    told = subprocess.run(
        ["relion_refine", "--sym", group, "--print_symmetry_ops"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows: list[list[float]] = []
    for line in told.splitlines():
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            continue
        if len(row) == 3:
            rows.append(row)
    theirs = np.array(rows).reshape(-1, 3, 3)
    mine = group_matrices(group)
    assert len(theirs) == len(mine)
    assert all(np.abs(mine - one).max((1, 2)).min() < 2e-3 for one in theirs)
