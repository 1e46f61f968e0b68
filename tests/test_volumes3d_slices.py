"""Orientations, central slices and their adjoint, against sums of Gaussians and RELION."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from volumes3d_synthetic import BOX, DIAMETER, PIXEL, blobs, correlations, euler, projection, volume

from cryosnake.alignment.slices import SliceGrid
from cryosnake.classes2d.model import Geometry
from cryosnake.classes2d.stack import window_for
from cryosnake.fourier import bin_image
from cryosnake.images import write_mrc
from cryosnake.tables import write_star
from cryosnake.volumes3d.cubes import in_box, in_window
from cryosnake.volumes3d.orientations import (
    angles_of_views,
    matrices,
    random_rotation,
    view_grid,
    view_matrices,
)

ANGLES = np.array([(0, 0, 0), (30, 70, -50), (-120, 100, 10), (75, 180, 20), (10, 90, 90)], float)


@pytest.fixture(scope="module")
def geometry():
    torch.set_num_threads(1)
    window = window_for(BOX, PIXEL, DIAMETER, 2.1 * PIXEL)
    return Geometry(window, DIAMETER, torch.device("cpu"))


def of_window(array, geometry):
    """The part of a box that the window keeps."""
    low = BOX // 2 - geometry.window.window_px // 2
    cut = (slice(low, low + geometry.window.window_px),) * array.ndim
    assert geometry.window.side_px == geometry.window.window_px
    return torch.tensor(array[cut], dtype=torch.float32)


def test_matrices_are_products_of_elementary_rotations():
    found = matrices(*ANGLES.T.copy()).numpy()
    for angles, matrix in zip(ANGLES, found, strict=True):
        np.testing.assert_allclose(matrix, euler(*angles), atol=1e-6)


def test_views_give_their_angles_back():
    views = view_grid(11.0, random_rotation(np.random.default_rng(3)))
    rot, tilt = angles_of_views(views)
    np.testing.assert_allclose(matrices(rot, tilt, 0 * rot)[:, 2].numpy(), views, atol=1e-5)
    np.testing.assert_allclose(view_matrices(views)[:, 2].numpy(), views, atol=1e-5)


@pytest.mark.parametrize("step_deg", [25.0, 8.0])
def test_views_are_a_step_apart_everywhere(step_deg):
    views = view_grid(step_deg)
    cosine = views @ views.T - 3 * torch.eye(len(views))
    nearest = torch.rad2deg(torch.arccos(cosine.amax(0)))
    assert nearest.min() > 0.75 * step_deg
    random = torch.nn.functional.normalize(torch.randn(500, 3), dim=1)
    farthest = torch.rad2deg(torch.arccos((random @ views.T).amax(1))).max()
    assert farthest < 0.75 * step_deg


def test_slices_are_transforms_of_projections(geometry):
    kind = blobs()
    transform = geometry.transform(geometry.band(2.1 * PIXEL))
    grid = SliceGrid(geometry.window.side_px, PIXEL / 9.0)
    table = grid.table(of_window(volume(kind), geometry))
    real, imaginary = grid.slices(table, matrices(*ANGLES.T.copy()), transform)
    images = torch.stack([of_window(projection(kind, one), geometry) for one in ANGLES])
    wanted = transform.rings_of(geometry.window.disc.split(images))
    for got, want in zip((real, imaginary), wanted, strict=True):
        assert (got - want).norm() < 0.02 * torch.stack(wanted).norm()


def test_psi_turns_a_slice_as_it_turns_a_reference(geometry):
    transform = geometry.transform(geometry.band(20.0))
    grid = SliceGrid(geometry.window.side_px, PIXEL / 15.0)
    table = grid.table(of_window(volume(blobs()), geometry))
    step = 360.0 / transform.band.angles
    both = matrices(torch.tensor([40.0] * 2), torch.tensor([65.0] * 2), torch.tensor([0, 3 * step]))
    real, _ = grid.slices(table, both, transform)
    # F_image(theta) = F_reference(theta + psi)
    torch.testing.assert_close(real[:-3, :, 1], real[3:, :, 0], atol=0.02, rtol=0.02)


def test_slices_put_back_make_the_volume(geometry):
    cube = of_window(volume(blobs()), geometry)
    transform = geometry.transform(geometry.band(2.1 * PIXEL))
    grid = SliceGrid(geometry.window.side_px, PIXEL / 9.0)
    turned = view_matrices(view_grid(9.0, random_rotation(np.random.default_rng(1))))
    real, imaginary = grid.slices(grid.table(cube), turned, transform)
    sums = torch.zeros(3, *grid.shape)
    weights = torch.full((transform.band.rings, len(turned)), 2.0)
    grid.insert(sums, 2.0 * real, 2.0 * imaginary, weights, turned, transform)
    closed = SliceGrid.closed(sums)
    found = grid.volume(closed[:2] / closed[2].clamp_min(0.01 * closed[2].mean()))
    curve = correlations(found.numpy(), cube.numpy())
    assert curve[1:12].min() > 0.99
    assert abs(float((found * cube).sum() / cube.square().sum()) - 1.0) < 0.05


def test_putting_back_is_the_adjoint(geometry):
    transform = geometry.transform(geometry.band(20.0))
    grid = SliceGrid(geometry.window.side_px, PIXEL / 15.0)
    torch.manual_seed(0)
    turned = view_matrices(view_grid(40.0, random_rotation(np.random.default_rng(2))))
    table = torch.randn(2, *grid.shape)
    real, imaginary = grid.slices(table, turned, transform)
    one, two = torch.randn_like(real), torch.randn_like(real)
    sums = torch.zeros(3, *grid.shape)
    grid.insert(sums, one, two, torch.ones(transform.band.rings, len(turned)), turned, transform)
    area = transform.band.areas()[:, None] * (grid.padded_px**2 / transform.band.angles)
    there = float((area * (one * real + two * imaginary)).sum())
    back = float((sums[:2] * table).sum())
    assert back == pytest.approx(there, rel=1e-3)
    assert float(sums[2].sum()) == pytest.approx(float(area.expand_as(real).sum()), rel=1e-3)


def test_smaller_windows_keep_the_grey_values_of_projections():
    window = window_for(BOX, PIXEL, DIAMETER, 20.0)
    coarse = Geometry(window, DIAMETER, torch.device("cpu"))
    assert window.side_px < window.window_px
    cube = volume(blobs()).astype(np.float32)
    small = in_window(cube, coarse)
    image = torch.tensor(projection(blobs(), (0, 0, 0)), dtype=torch.float32)
    low = BOX // 2 - window.window_px // 2
    cut = slice(low, low + window.window_px)
    wanted = bin_image(image[cut, cut], (window.side_px,) * 2)
    assert (small.sum(0) - wanted).norm() < 0.01 * wanted.norm()
    assert np.corrcoef(in_box(small, coarse).ravel(), cube.ravel())[0, 1] > 0.97


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_project") is None, reason="relion_project not installed")
def test_projections_are_those_of_relion(tmp_path):
    kind = blobs()
    write_mrc(tmp_path / "map.mrc", volume(kind).astype(np.float32), PIXEL)
    origin = np.array([(0, 0), (6, -10), (-10, 0), (0, 15), (5, 5)], float)  # (x, y) in angstrom
    rows = pd.DataFrame(ANGLES, columns=["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]).assign(
        rlnOriginXAngst=origin[:, 0],
        rlnOriginYAngst=origin[:, 1],
        rlnOpticsGroup=1,
        rlnImageName=[f"{i + 1:06d}@none.mrcs" for i in range(len(ANGLES))],
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnImagePixelSize": [PIXEL],
            "rlnImageSize": [BOX],
            "rlnImageDimensionality": [2],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
        }
    )
    write_star(tmp_path / "angles.star", {"optics": optics, "particles": rows})
    command = f"relion_project --i map.mrc --o made --ang angles.star --angpix {PIXEL}"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with mrcfile.open(tmp_path / "made.mrcs") as file:
        made = file.data.copy()
    for image, angles, (x, y) in zip(made, ANGLES, origin, strict=True):
        want = projection(kind, angles, (y / PIXEL, x / PIXEL))
        assert np.corrcoef(np.ravel(image), want.ravel())[0, 1] > 0.999
