"""The simulator's parts: physics against formulas, referees and measured statistics."""

import math

import gemmi
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosnake.ctf import wavelength_angst
from cryosnake.errors import BadInputError
from cryosnake.fourier import frequencies
from cryosnake.simulate import ice
from cryosnake.simulate.detector import gain_reference, pixel_sensitivity, poisson_counts
from cryosnake.simulate.drift import bad_drift, local_motion, whole_frame_drift
from cryosnake.simulate.potential import (
    SHIPPED,
    atoms_to_phase,
    ice_phase_rad_per_angst,
    read_atoms,
    scattering_factor_angst,
    species_phase,
)
from cryosnake.simulate.projection import Projector, euler_angles, euler_matrix
from cryosnake.simulate.warp import bspline_prefilter, sample_bspline

ANGLES = st.tuples(st.floats(-179, 179), st.floats(0, 180), st.floats(-179, 179))


@given(ANGLES)
@settings(max_examples=50, deadline=None)
def test_euler_matrices_are_relions_and_invert(angles):
    matrix = euler_matrix(*angles)
    # RELION's matrix is the transpose of the intrinsic ZYZ rotation (the referee is scipy).
    referee = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().T
    np.testing.assert_allclose(matrix, referee, atol=1e-12)
    np.testing.assert_allclose(euler_matrix(*euler_angles(matrix)), matrix, atol=1e-6)


def test_shipped_structure_is_the_whole_d7_particle():
    positions, elements, b_factors = read_atoms(SHIPPED, "1")
    assert len(positions) == 46228
    assert set(elements) == {"C", "N", "O", "S"}
    assert b_factors.min() > 0
    seventh = 2 * np.pi / 7
    turned = positions.copy()
    turned[:, 1] = np.sin(seventh) * positions[:, 2] + np.cos(seventh) * positions[:, 1]
    turned[:, 2] = np.cos(seventh) * positions[:, 2] - np.sin(seventh) * positions[:, 1]
    assert cKDTree(positions).query(turned)[0].max() < 0.05  # every atom lands on an atom
    assert SHIPPED.stat().st_size < 300_000


def test_potential_of_one_atom_is_its_scattering_factor():
    volume = atoms_to_phase(
        np.zeros((1, 3), np.float32),
        ["C"],
        np.array([60.0], np.float32),
        pixel_size_angst=1.0,
        voltage_kv=300.0,
    )
    zero = torch.zeros(1)
    carbon = scattering_factor_angst("C", zero) + scattering_factor_angst("H", zero)
    expected = float(carbon) * wavelength_angst(300.0) * (1 + 300 / 510.99895)
    assert float(volume.sum()) == pytest.approx(expected, rel=0.06)
    n = volume.shape[0]
    assert np.unravel_index(int(volume.argmax()), volume.shape) == (n // 2,) * 3


def test_protein_is_denser_than_ice_by_what_its_inner_potential_says():
    phase = species_phase("proteasome", pixel_size_angst=4.0, voltage_kv=300.0)
    # 7 V to 4.6 V in some 850,000 A^3 (700 kDa at 1.21 A^3/Da), 6.53e-4 rad per V A.
    assert float(phase.sum()) * 4.0**2 == pytest.approx(2.4 * 6.53e-4 * 850_000, rel=0.35)
    assert ice_phase_rad_per_angst(300.0) == pytest.approx(4.57 * 6.53e-4, rel=0.02)
    top, side = phase.sum(0), phase.sum(1)
    assert float(top.sum()) == pytest.approx(float(side.sum()), rel=1e-4)


def test_potential_is_kept_and_read_again(tmp_path):
    first = species_phase("proteasome", pixel_size_angst=4.0, voltage_kv=300.0, cache_dir=tmp_path)
    (kept,) = tmp_path.glob("potential_*.npy")
    np.save(kept, np.load(kept) * 2)
    again = species_phase("proteasome", pixel_size_angst=4.0, voltage_kv=300.0, cache_dir=tmp_path)
    torch.testing.assert_close(again, first * 2)


def test_structure_of_the_users_own_and_its_errors(tmp_path):
    path = tmp_path / "one.pdb"
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for i in range(4):
        atom = gemmi.Atom()
        atom.name, atom.element = f"C{i}", gemmi.Element("C")
        atom.pos = gemmi.Position(8.0 * i, 0.0, 0.0)
        residue.add_atom(atom)
    chain.add_residue(residue)
    structure[0].add_chain(chain)
    structure.write_pdb(str(path))
    volume = species_phase(str(path), pixel_size_angst=2.0, voltage_kv=300.0)
    assert float(volume.sum(0).sum(0).max()) > 0  # spread along x, the last axis
    assert float(volume.sum((0, 1)).std()) < float(volume.sum((0, 2)).std())
    with pytest.raises(BadInputError, match="no such file"):
        species_phase(str(tmp_path / "none.pdb"), pixel_size_angst=2.0, voltage_kv=300.0)
    (tmp_path / "text.pdb").write_text("not a structure\n")
    with pytest.raises(BadInputError, match="no"):
        species_phase(str(tmp_path / "text.pdb"), pixel_size_angst=2.0, voltage_kv=300.0)


def _lumps(n: int = 48) -> torch.Tensor:
    axis = torch.arange(n) - n // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    volume = torch.zeros(n, n, n)
    for (cz, cy, cx), weight in (((0, 0, 0), 1.0), ((5, -7, 3), 0.7), ((-8, 2, 6), 0.5)):
        volume += weight * torch.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / 8.0)
    return volume


@pytest.mark.parametrize(
    ("angles", "centres"),
    [
        ((0, 0, 0), [(0, 0), (-7, 3), (2, 6)]),
        ((90, 0, 0), [(0, 0), (-3, -7), (-6, 2)]),
        ((0, 90, 0), [(0, 0), (-7, -5), (2, 8)]),
        ((35, 70, -20), None),
    ],
)
def test_projections_are_where_relions_angles_put_them(angles, centres):
    n = 48
    spectrum = Projector(_lumps(n)).spectra(euler_matrix(*angles)[None])[0]
    image = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=(n, n)))
    if centres is None:  # general view: rotate the centres with the matrix
        points = np.array([(0, 0, 0), (3, -7, 5), (6, 2, -8)]) @ euler_matrix(*angles).T
        centres = [(p[1], p[0]) for p in points]
    axis = torch.arange(n) - n // 2
    expected = torch.zeros(n, n)
    for (cy, cx), weight in zip(centres, (1.0, 0.7, 0.5), strict=True):
        expected += weight * torch.exp(-((axis[:, None] - cy) ** 2 + (axis[None] - cx) ** 2) / 8.0)
    expected *= math.sqrt(8 * math.pi)
    assert float((image - expected).abs().max()) < 0.04 * float(expected.max())


def test_white_spectrum_is_the_transform_of_real_white_noise():
    shape = (64, 48)
    generator = torch.Generator().manual_seed(1)
    noise = torch.stack([ice.white_spectrum(shape, generator) for _ in range(200)])
    images = torch.fft.irfft2(noise, s=shape)
    assert float(images.std()) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(torch.fft.rfft2(images), noise, atol=1e-3, rtol=1e-3)
    power = noise.abs().square().mean(0) / (64 * 48)
    assert float(power[:, 0].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(power[:, 5].mean()) == pytest.approx(1.0, abs=0.05)


def test_amorphous_ice_peaks_at_3p7_angst_and_forgets_fast_what_is_fine():
    k = torch.linspace(0.01, 0.45, 400)
    density = ice.amorphous_ice_density(k, thickness_angst=300.0, voltage_kv=300.0)
    assert float(1 / k[density.argmax()]) == pytest.approx(3.8, abs=0.2)
    twice = ice.amorphous_ice_density(k, thickness_angst=600.0, voltage_kv=300.0)
    torch.testing.assert_close(twice, 2 * density)
    kept = ice.brownian_correlation(torch.tensor([1 / 30.0, 1 / 4.0]), 0.33)
    assert float(kept[0]) > 0.99
    assert float(kept[1]) < 0.7


@pytest.mark.parametrize("mean", [0.05, 1.0, 9.0, 40.0])
def test_counts_are_poisson(mean):
    generator = torch.Generator().manual_seed(3)
    counts = poisson_counts(torch.full((700, 700), mean), generator)
    assert float(counts.mean()) == pytest.approx(mean, abs=5 * math.sqrt(mean / 490_000))
    assert float(counts.var()) == pytest.approx(mean, rel=0.02)
    none = float((counts == 0).float().mean())
    assert none == pytest.approx(math.exp(-mean), abs=0.005)


def test_gain_flattens_and_marks_dead_columns():
    sensitivity = pixel_sensitivity(np.random.default_rng(1), (96, 128), rms=0.04, dead_columns=2)
    gain = gain_reference(sensitivity)
    live = sensitivity > 0
    assert (~live).all(axis=0).sum() == 2
    np.testing.assert_allclose((gain * sensitivity)[live], 1.0, rtol=1e-5)
    assert (gain[~live] == 0).all()
    assert sensitivity[live].std() == pytest.approx(0.04, rel=0.4)


def test_drift_has_the_statistics_of_the_measured_tracks(shared_data):
    table = pd.read_csv(shared_data / "motion_tracks_empiar10204.csv", dtype={"movie": str})
    real = np.stack(
        [g[["shift_y_px", "shift_x_px"]].to_numpy() * 0.885 for _, g in table.groupby("movie")]
    )
    rng = np.random.default_rng(0)
    drawn = np.stack(
        [
            whole_frame_drift(rng, 24, dose_e_per_angst2_per_frame=1.277, direction_rad=2.4)
            for _ in range(400)
        ]
    )
    # The measured steps hold an error of 0.10 A a position that the simulation leaves out.
    drawn_measured = drawn + rng.normal(0, 0.10, drawn.shape)
    for tracks in (drawn, drawn_measured):
        assert (tracks[:, 0] == 0).all() or tracks is drawn_measured
    length = {
        name: np.hypot(*np.moveaxis(np.diff(t, axis=1), -1, 0))
        for name, t in (("real", real), ("drawn", drawn_measured))
    }
    path = {name: values.sum(1) for name, values in length.items()}
    assert path["drawn"].mean() == pytest.approx(path["real"].mean(), rel=0.15)
    assert path["drawn"].std() == pytest.approx(path["real"].std(), rel=0.5)
    end = {n: np.linalg.norm(t[:, -1], axis=1).mean() for n, t in (("r", real), ("d", drawn))}
    assert end["d"] == pytest.approx(end["r"], rel=0.15)
    early = {name: values[:, 1:7].mean() / values[:, -6:].mean() for name, values in length.items()}
    assert early["drawn"] == pytest.approx(early["real"], rel=0.2)


def test_bad_drift_breaks_the_limits_and_normal_drift_does_not():
    rng = np.random.default_rng(0)
    for _ in range(50):
        for frames, dose in ((8, 5.0), (40, 1.0)):
            steps = np.diff(bad_drift(rng, frames, dose_e_per_angst2_per_frame=dose), axis=0)
            size = np.hypot(*steps.T)
            assert size.max() > 10 or size.sum() > 45
            good = whole_frame_drift(
                rng, frames, dose_e_per_angst2_per_frame=dose, direction_rad=0.0
            )
            size = np.hypot(*np.diff(good, axis=0).T)
            assert size.max() < 10
            assert size.sum() < 45


def test_local_motion_starts_at_zero_saturates_and_has_no_mean():
    motion = local_motion(
        np.random.default_rng(2),
        30,
        (100, 140),
        dose_e_per_angst2_per_frame=1.0,
        corner_rms_angst=3.0,
    )
    y, x = np.mgrid[0:100, 0:140]
    assert np.abs(motion.displacement_angst(0, y, x)).max() == 0
    last = motion.displacement_angst(29, y, x)
    np.testing.assert_allclose(last.mean((0, 1)), 0, atol=0.01)
    corners = last[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.sqrt((corners**2).sum(-1).mean()) == pytest.approx(3.0, rel=0.01)
    half = motion.displacement_angst(15, y, x)
    assert np.abs(last - half).max() < 0.1


def test_spline_sampling_moves_a_band_limited_image_as_fourier_does():
    generator = torch.Generator().manual_seed(5)
    shape = (96, 80)
    ky, kx = frequencies(shape)
    band = (torch.sqrt(ky**2 + kx**2) < 0.3).float()
    spectrum = ice.white_spectrum(shape, generator) * band
    coefficients = torch.fft.irfft2(
        spectrum * bspline_prefilter(ky) * bspline_prefilter(kx), s=shape
    )
    dy, dx = 0.37, -1.21
    ramp = torch.polar(torch.ones(96, 41), -2 * math.pi * (ky * dy + kx * dx))
    expected = torch.fft.irfft2(spectrum * ramp, s=shape)
    y = torch.arange(96.0)[:, None].expand(shape) - dy
    x = torch.arange(80.0)[None, :].expand(shape) - dx
    moved = sample_bspline(coefficients, y, x)
    inner = (slice(4, -4), slice(4, -4))
    error = (moved - expected)[inner].std() / expected[inner].std()
    assert float(error) < 0.02
