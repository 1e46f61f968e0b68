"""Fourier shell correlation, masks and sharpening."""

import dataclasses
import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
from scipy import ndimage, special
from validation_synthetic import molecule, noisy_halves

from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc
from cryosnake.tables import read_star
from cryosnake.validation.fsc import (
    corrected_fsc,
    correlation_of,
    crossing_shell,
    fsc_blocks,
    fsc_table,
    phase_randomised,
    resolution_angst,
    shell_correlation,
)
from cryosnake.validation.local_resolution import local_resolution
from cryosnake.validation.mask import automatic_mask, spherical_mask
from cryosnake.validation.sharpen import fsc_weight, guinier_fit, sharpened
from cryosnake.validation.shells import filtered, low_pass, shells, transform

PIXEL = 4.0
RELION = shutil.which("relion_postprocess")


def test_shells_hold_every_coefficient_once():
    where = shells(16)
    counts = where.sums(np.ones(where.index.shape))
    full = np.fft.fftfreq(16, 1 / 16)
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + full**2)
    expected = np.bincount(np.rint(radius).astype(int).ravel())[: where.count]
    np.testing.assert_array_equal(counts, expected)


def test_correlation_of_known_noise():
    """Signal and noise of equal power correlate to 1/2; a constant factor changes nothing."""
    rng = np.random.default_rng(1)
    signal, one, two = rng.standard_normal((3, 48, 48, 48)).astype(np.float32)
    curve = shell_correlation(signal + one, 7.0 * (signal + two))
    assert np.abs(curve[8:] - 0.5).max() < 0.08
    assert abs(curve[8:].mean() - 0.5) < 0.01


def test_crossing_is_interpolated():
    curve = np.array([1.0, 1.0, 1.0, 0.6, 0.2, 0.9, 0.0])
    assert crossing_shell(curve, 0.5) == pytest.approx(3.25)
    assert resolution_angst(curve, 2.0, 0.5) == pytest.approx(12 * 2.0 / 3.25)
    assert crossing_shell(np.ones(7)) == 6.0
    assert resolution_angst(np.zeros(7), 2.0) == float("inf")


def test_randomised_map_is_real_and_keeps_its_amplitudes():
    where = shells(32)
    spectrum = transform(molecule(32))
    random = transform(phase_randomised(spectrum, where, 5, np.random.default_rng(1)))
    low = where.index < 5
    assert np.abs(random - spectrum)[low].max() < 1e-3 * np.abs(spectrum).max()
    np.testing.assert_allclose(
        where.sums(np.abs(random) ** 2), where.sums(np.abs(spectrum) ** 2), rtol=1e-4
    )
    beyond = ~low & (where.index < where.count)
    assert abs(np.corrcoef(random[beyond].real, spectrum[beyond].real)[0, 1]) < 0.05


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_resolution_from_noise_under_a_tight_mask(seed):
    """The mask alone correlates noise halves that share nothing; the correction takes it out."""
    rng = np.random.default_rng(seed)
    halves = [
        low_pass(rng.standard_normal((48,) * 3), PIXEL, 12.0).astype(np.float32) for _ in range(2)
    ]
    mask = spherical_mask(48, 40.0, PIXEL, 2.0)
    curves = corrected_fsc(*halves, PIXEL, mask)
    assert curves.resolution_angst > 20.0


def test_correction_finds_the_resolution_of_the_truth():
    """Common signal up to a shell, independent beyond: the corrected curve ends there, where the
    masked one does not."""
    rng = np.random.default_rng(3)
    n, cut = 48, 9
    truth = molecule(n)
    spectrum = transform(truth)
    where = shells(n)
    halves = []
    for _ in range(2):
        halves.append(phase_randomised(spectrum, where, cut, rng))
    mask = automatic_mask(truth, PIXEL, extend_px=0.5, edge_px=1.5)
    curves = corrected_fsc(*halves, PIXEL, mask)
    shell = n * PIXEL / curves.resolution_angst
    assert cut - 1 < shell <= cut + 2  # two shells about the border are not corrected
    assert crossing_shell(curves.masked) > cut + 4  # what the mask would have claimed
    assert abs(curves.corrected[cut + 2 :].mean()) < 0.05


def test_table_has_relions_columns():
    curves = corrected_fsc(*noisy_halves(molecule(32), 1.0), PIXEL)
    blocks = fsc_blocks(curves)
    table = blocks["fsc"]
    assert blocks["general"]["rlnFinalResolution"] == pytest.approx(curves.resolution_angst)
    assert list(table["rlnSpectralIndex"]) == list(range(17))
    assert table["rlnAngstromResolution"].iloc[8] == pytest.approx(32 * PIXEL / 8)
    assert table["rlnResolution"].iloc[8] == pytest.approx(8 / (32 * PIXEL))


def test_bad_maps_are_refused():
    good = molecule(32)
    with pytest.raises(BadInputError, match="equal cubes"):
        corrected_fsc(good, good[:30], PIXEL)
    with pytest.raises(BadInputError, match="finite"):
        corrected_fsc(good, np.where(good > 3, np.nan, good), PIXEL)
    with pytest.raises(BadInputError, match="same everywhere"):
        automatic_mask(np.zeros((32,) * 3), PIXEL)


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_mask_holds_the_molecule_and_little_else(noise):
    truth = molecule(48)
    outline = ndimage.gaussian_filter(truth, 1.0) > 0.4
    mask = automatic_mask(sum(noisy_halves(truth, noise)) / 2, PIXEL)
    assert mask.min() == 0.0
    assert mask.max() == 1.0
    held = np.clip(truth, 0, None)
    assert (held * mask).sum() / held.sum() > 0.97
    assert mask.sum() < 5 * outline.sum()


def test_mask_drops_loose_density():
    volume = molecule(48)
    volume[4:7, 4:7, 4:7] = volume.max()
    assert automatic_mask(volume, PIXEL)[5, 5, 5] == 0.0


def test_sharpening_undoes_a_known_decay():
    """Atoms blurred by B = 300 A^2: the fit finds it, the sharpened map has it back."""
    n, pixel, b_factor = 64, 2.0, 300.0
    rng = np.random.default_rng(2)
    atoms = np.zeros((n,) * 3, np.float32)
    atoms[tuple(rng.integers(20, 44, (3, 400)))] = 1.0
    squared = shells(n).frequencies_per_angst(pixel) ** 2
    blurred = filtered(atoms, np.exp(-0.25 * b_factor * squared))
    halves = noisy_halves(blurred, 0.0002)
    curves = corrected_fsc(*halves, pixel)
    fit = guinier_fit(sum(halves) / 2, curves)
    assert fit.b_factor_angst2 == pytest.approx(b_factor, rel=0.15)
    back = sharpened(*halves, curves, fit.b_factor_angst2)
    expected = low_pass(atoms, pixel, curves.resolution_angst)
    assert np.corrcoef(back.ravel(), expected.ravel())[0, 1] > 0.95
    assert np.corrcoef(blurred.ravel(), expected.ravel())[0, 1] < 0.85


def test_no_b_factor_from_a_coarse_map():
    halves = noisy_halves(molecule(48), 1.0)
    curves = corrected_fsc(*halves, PIXEL)
    assert guinier_fit(sum(halves) / 2, curves) is None


def test_weight_is_the_expected_correlation_with_the_truth():
    np.testing.assert_allclose(
        fsc_weight(np.array([1.0, 0.143, 0.0, -0.3])), [1, 0.5, 0, 0], atol=1e-3
    )


def test_local_resolution_tells_the_blurred_half():
    rng = np.random.default_rng(4)
    n, pixel = 64, 2.0
    sharp = rng.standard_normal((n,) * 3).astype(np.float32)
    fine, coarse = 2.0 * low_pass(sharp, pixel, 6.0), 4.0 * low_pass(sharp, pixel, 14.0)
    left = special.expit((np.arange(n) - n // 2) / 1.0)[:, None, None].astype(np.float32)
    halves = noisy_halves(fine * left + coarse * (1 - left), 1.0)
    mask = spherical_mask(n, 54.0, pixel)
    found = local_resolution(*halves, mask, pixel, 9.0, max_windows=300)
    assert found.shape == (n,) * 3
    fine_side, coarse_side = (np.median(found[z : z + 6, 26:38, 26:38]) for z in (46, 12))
    assert fine_side == pytest.approx(6.0, abs=1.0)
    assert coarse_side == pytest.approx(14.0, abs=3.0)


@pytest.mark.relion
@pytest.mark.skipif(RELION is None, reason="needs relion_postprocess")
def test_curves_are_those_of_relion(tmp_path):

    n, pixel = 64, 2.0
    truth = molecule(n, atoms=900)
    halves = noisy_halves(truth, 3.0)
    mask = automatic_mask(sum(halves) / 2, pixel)
    for name, data in (("half1", halves[0]), ("half2", halves[1]), ("mask", mask)):
        with mrcfile.new(tmp_path / f"{name}.mrc", data.astype(np.float32)) as file:
            file.voxel_size = pixel
    (tmp_path / "post").mkdir()  # for its log file
    subprocess.run(
        [RELION, "--i", "half1.mrc", "--i2", "half2.mrc", "--o", "post", "--angpix", str(pixel)]
        + ["--mask", "mask.mrc", "--auto_bfac", "--autob_lowres", "10"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    blocks = read_star(tmp_path / "post.star")
    theirs = blocks["fsc"]
    curves = corrected_fsc(*halves, pixel, mask)
    ours = fsc_table(curves)
    assert set(ours.columns) <= set(theirs.columns)
    for column in ours.columns[:3]:
        np.testing.assert_allclose(ours[column][1:], theirs[column].astype(float)[1:], rtol=1e-4)
    # the corrected curve holds the random phases of either program
    for kind, tolerance in (("UnmaskedMaps", 0.02), ("MaskedMaps", 0.02), ("Corrected", 0.12)):
        column = f"rlnFourierShellCorrelation{kind}"
        difference = (ours[column] - theirs[column].astype(float)).abs()[2:]
        assert difference.max() < tolerance, column
    # RELION counts coefficients with kx = 0 twice; counted so, the curves are the same
    as_relion = dataclasses.replace(shells(n), weight=np.ones(n // 2 + 1, np.float32))
    for kind, factor in (("UnmaskedMaps", 1.0), ("MaskedMaps", mask)):
        curve = correlation_of(as_relion, *(transform(half * factor) for half in halves))
        column = theirs[f"rlnFourierShellCorrelation{kind}"].astype(float)
        np.testing.assert_allclose(curve[1:], column[1:], atol=1e-4)
    final = float(blocks["general"]["rlnFinalResolution"])
    shell = n * pixel / final
    assert abs(n * pixel / curves.resolution_angst - shell) <= 1.0  # RELION gives whole shells
    fit = guinier_fit(sum(halves) / 2, curves)
    assert -fit.b_factor_angst2 == pytest.approx(
        float(blocks["general"]["rlnBfactorUsedForSharpening"]), rel=0.15, abs=10
    )
    written = read_mrc(tmp_path / "post.mrc")[0]
    mine = sharpened(*halves, curves, fit.b_factor_angst2)
    assert shell_correlation(mine, written)[2 : int(shell)].min() > 0.99
