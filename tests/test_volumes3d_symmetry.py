"""Sums and refinements with a point group."""

import numpy as np
import pytest
import torch
from volumes3d_synthetic import BOX, DIAMETER, PIXEL, blobs, correlations, particles, volume

from cryosnake.alignment.slices import SliceGrid
from cryosnake.classes2d.model import Geometry
from cryosnake.classes2d.window import window_for
from cryosnake.validation.symmetry_groups import group_matrices
from cryosnake.volumes3d import RefineSchedule, refine
from cryosnake.volumes3d.model import VolumeSums
from cryosnake.volumes3d.orientations import view_grid, view_matrices
from cryosnake.volumes3d.symmetrised import SymmetricGrid

SIZES = {"pixel_size_angst": PIXEL, "diameter_angst": DIAMETER}


def all_copies(kind: np.ndarray, group: str) -> np.ndarray:
    """Blobs with their copies by a point group."""
    turns = group_matrices(group)
    return np.concatenate([np.hstack([kind[:, :3] @ turn.T, kind[:, 3:]]) for turn in turns])


def symmetric(group: str, seed: int = 3, parts: int = 4) -> np.ndarray:
    """Some blobs with a point group."""
    kind = blobs(seed)[:parts]
    kind[:, :3] = np.random.default_rng(seed).uniform(-8.0, 8.0, (parts, 3))
    return all_copies(kind, group)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("group", ["C3", "D2", "T"])
def test_slices_of_one_copy_give_the_volume_of_all(group):
    geometry = Geometry(window_for(BOX, PIXEL, DIAMETER, 12.0), DIAMETER, torch.device("cpu"))
    transform = geometry.transform(geometry.band(12.0, shift_angst=10.0))
    grid = SymmetricGrid(BOX, 0.45, "cpu", group)
    table = grid.table(torch.as_tensor(volume(blobs()), dtype=torch.float32))
    matrices = view_matrices(view_grid(8.0))
    real, imaginary = grid.slices(table, matrices, transform)
    weights = torch.ones((transform.band.rings, len(matrices)))
    sums = VolumeSums(grid, 1, transform.band.rings)
    grid.insert(sums.tables[0, 0], real, imaginary, weights, matrices, transform)
    closed = SliceGrid.closed(sums.tables[0, 0])
    found = grid.volume(closed[:2] / (closed[2] + 1e-3 * closed[2].mean())).numpy()
    expected = volume(all_copies(blobs(), group)) / len(group_matrices(group))
    assert correlations(found, expected)[:9].min() > 0.98
    assert (found * expected).sum() / (expected**2).sum() == pytest.approx(1.0, abs=0.05)


def test_noisy_symmetric_particles_reach_further_with_their_group():
    kind = symmetric("D3")
    images, optics, *_ = particles(250, [kind], snr=0.55, seed=5)
    truth = volume(kind)
    quick = RefineSchedule(wide=3, iterations=4)
    reached = {}
    for group in ("C1", "D3"):
        found = refine(
            images, optics, truth, low_pass_angst=40.0, symmetry=group, schedule=quick, **SIZES
        )
        reached[group] = correlations(found.volume, truth)[2 : BOX // 2].clip(0.0).sum()
        if group == "D3":
            assert correlations(*found.halves)[2:5].min() > 0.8
    assert reached["D3"] > 1.1 * reached["C1"]


def test_noise_gains_nothing_from_a_group():
    images, optics, *_ = particles(300, [symmetric("D3")], empty=1.1, seed=2)
    found = refine(
        images, optics, volume(symmetric("D3")), low_pass_angst=40.0, symmetry="D3", **SIZES
    )
    assert found.resolution_angst == np.inf
