"""Maps aligned to maps, class averages matched with projections, and the choice between volumes."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from validation_synthetic import molecule, turned

from cryosnake.errors import BadInputError
from cryosnake.simulate.projection import Projector, euler_matrix
from cryosnake.validation.align_maps import align_maps, mirrored, moved
from cryosnake.validation.average_set import AverageSet
from cryosnake.validation.class_match import match_averages, matched_projections
from cryosnake.validation.crossvalidate import Candidate, cross_validate, rotational_average
from cryosnake.validation.shells import low_pass, shells, transform
from cryosnake.validation.volume_transform import VolumeTransform, resampled

PIXEL, N, DIAMETER = 4.0, 48, 150.0


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def simulated_averages(volume: np.ndarray, number: int, *, noise: float = 0.5, seed: int = 1):
    """(K, n, n) projections by the simulator with noise, moved by whole pixels, and their truth."""
    rng = np.random.default_rng(seed)
    angles = np.stack(
        [
            rng.uniform(-180, 180, number),
            np.rad2deg(np.arccos(rng.uniform(-1, 1, number))),
            rng.uniform(-180, 180, number),
        ],
        1,
    )
    spectra = Projector(torch.as_tensor(volume)).spectra(euler_matrix(*angles.T))
    images = torch.fft.fftshift(torch.fft.irfft2(spectra, s=(N, N)), dim=(1, 2)).numpy()
    shifts = rng.integers(-2, 3, (number, 2))
    images = np.stack(
        [np.roll(image, (y, x), (0, 1)) for image, (x, y) in zip(images, shifts, strict=True)]
    )
    return images + noise * images.std() * rng.standard_normal(images.shape), angles, shifts


def sharpened_noise(like: np.ndarray, seed: int = 1) -> np.ndarray:
    """Noise in the outline of a volume, with its power in every shell and more at high ones."""
    rng = np.random.default_rng(seed)
    outline = ndimage.gaussian_filter(np.abs(turned(like, 70.0, (0, 2))), 3.0)
    blob = outline * (
        1.0 + 0.8 * ndimage.gaussian_filter(rng.standard_normal(like.shape), 0.8) / 0.3
    )
    where = shells(len(like))
    power = [where.sums(np.abs(transform(v)) ** 2) for v in (like, blob)]
    boost = np.sqrt(power[0] / power[1]) * np.linspace(1.0, 2.0, where.count)
    return np.fft.irfftn(transform(blob) * where.spread(boost), s=like.shape, axes=(0, 1, 2))


def test_projections_are_sums_along_the_beam():
    volume = molecule(N)
    table = VolumeTransform(volume)
    straight = table.projections(np.eye(3)[None])[0].numpy()
    assert np.corrcoef(straight.ravel(), volume.sum(0).ravel())[0, 1] > 0.999
    quarter = table.projections(euler_matrix([0.0], [90.0], [0.0]))[0].numpy()
    # at tilt 90 the beam runs along x and the image's x along -z
    along_x = np.roll(volume.sum(2).T[:, ::-1], 1, 1)
    assert np.corrcoef(quarter.ravel(), along_x.ravel())[0, 1] > 0.999


def test_resampling_keeps_density_and_centre():
    volume = low_pass(molecule(N), PIXEL, 16.0)
    small = resampled(volume, 32)
    assert small.max() == pytest.approx(volume.max(), rel=0.1)
    expected = ndimage.center_of_mass(np.clip(volume, 0, None)) - np.full(3, N // 2)
    found = ndimage.center_of_mass(np.clip(small, 0, None)) - np.full(3, 16)
    np.testing.assert_allclose(found * 1.5, expected, atol=0.3)


@pytest.mark.parametrize("flipped", [False, True])
def test_maps_are_brought_onto_each_other(flipped):
    volume = molecule(N)
    given = mirrored(volume) if flipped else volume
    given = turned(turned(given, 130.0, (0, 1)), -65.0, (1, 2))
    given = ndimage.shift(given, (2.5, -3.0, 1.2), order=3)
    given = given + 0.7 * np.random.default_rng(1).standard_normal(given.shape)
    given = low_pass(given.astype(np.float32), PIXEL, 10.0)
    found = align_maps(volume, given, PIXEL, 12.0)
    assert found.hand == ("mirrored" if flipped else "same")
    assert found.best.correlation > 0.6
    back = moved(given, found.best, PIXEL)
    expected = low_pass(volume, PIXEL, 12.0)
    assert np.corrcoef(low_pass(back, PIXEL, 12.0).ravel(), expected.ravel())[0, 1] > 0.9


def test_different_maps_and_maps_without_a_hand():
    one, other = molecule(N), molecule(N, seed=7)
    assert align_maps(one, other, PIXEL, 12.0).hand == "different"
    both = one + mirrored(one)
    assert align_maps(both, turned(both, 50.0, (0, 2)), PIXEL, 12.0).hand == "unsure"


def test_views_angles_and_shifts_are_found():
    volume = molecule(N)
    images, angles, shifts = simulated_averages(volume, 8)
    averages = AverageSet(images, PIXEL, DIAMETER, 12.0)
    found = match_averages(averages, volume, PIXEL, 10.0)
    apart = euler_matrix(*found.angles_deg.T) @ np.swapaxes(euler_matrix(*angles.T), 1, 2)
    error = np.rad2deg(np.arccos(np.clip((np.trace(apart, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.median(error) < 3.0
    assert error.max() < 8.0
    assert np.abs(found.shift_angst - shifts * PIXEL).max() < 0.4 * PIXEL
    assert found.correlation.min() > 0.7
    shown = matched_projections(averages, volume, PIXEL, found)
    for one, other in zip(shown, averages.images.numpy(), strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.85


def test_neither_hand_nor_scale_nor_sharpening_changes_a_match():
    volume = molecule(N)
    averages = AverageSet(simulated_averages(volume, 4)[0], PIXEL, DIAMETER, 12.0)
    plain = match_averages(averages, volume, PIXEL, 12.0).correlation
    boost = np.exp(np.linspace(0, 2, N // 2 + 1))
    sharp = np.fft.irfftn(
        transform(volume) * shells(N).spread(boost), s=volume.shape, axes=(0, 1, 2)
    )
    np.testing.assert_allclose(
        match_averages(averages, 5 * sharp, PIXEL, 12.0).correlation, plain, atol=0.03
    )
    other_hand = match_averages(averages, mirrored(volume), PIXEL, 12.0).correlation
    np.testing.assert_allclose(other_hand, plain, atol=0.01)


def test_averages_speak_for_the_true_volume():
    """Against sharpened noise that claims more, another molecule, and the true one's mirror image,
    which is no rival but reported."""
    truth = molecule(N)
    averages = AverageSet(simulated_averages(truth, 8)[0], PIXEL, DIAMETER, 12.0)
    noisy = truth + np.random.default_rng(2).standard_normal(truth.shape)
    low = low_pass(noisy.astype(np.float32), PIXEL, 14.0)
    found = cross_validate(
        [
            Candidate("blob", sharpened_noise(truth), PIXEL, 8.0),
            Candidate("true", low, PIXEL, 14.0),
            Candidate("other", molecule(N, seed=7), PIXEL, 10.0),
            Candidate("mirror", turned(mirrored(low), 40.0, (0, 2)), PIXEL, 14.0),
        ],
        averages,
    )
    winner = found.winner.name
    assert winner in ("true", "mirror")
    assert found.verdict == "pass"
    assert found.winner.hand == "undetermined"
    hands = {v.name: v.hand for v in found.volumes}
    assert hands["mirror" if winner == "true" else "true"] == "mirrored"
    assert hands["blob"] == hands["other"] == "different"
    table = found.table().set_index("csnVolume")
    assert table["csnVolumeChosen"].sum() == 1
    assert table.loc["other", "csnVolumeScore"] < table.loc[winner, "csnVolumeScore"] - 0.1
    assert found.featureless < found.winner.score - 0.1
    assert "mirror" in found.evidence


def test_nothing_but_noise_is_unsure():
    """Averages that no volume explains, and two blobs: whoever is ahead, it is not sure, or no
    better than a featureless ball."""
    truth = molecule(N)
    rng = np.random.default_rng(4)
    images = ndimage.gaussian_filter(rng.standard_normal((6, N, N)), (0, 1.5, 1.5))
    averages = AverageSet(images, PIXEL, DIAMETER, 14.0)
    one = ndimage.gaussian_filter(np.abs(truth), 4.0)
    found = cross_validate(
        [
            Candidate("one", one + 1e-3 * molecule(N, seed=3), PIXEL, 30.0),
            Candidate("two", turned(one, 30.0, (0, 1)) + 1e-3 * molecule(N, seed=5), PIXEL, 30.0),
        ],
        averages,
    )
    assert found.verdict == "unsure"


def test_rotational_average_has_no_direction():
    ball = rotational_average(molecule(N))
    cut = slice(8, N - 7)
    np.testing.assert_allclose(
        ball[cut, cut, cut], ball.transpose(2, 0, 1)[cut, cut, cut], atol=1e-3
    )
    assert np.linalg.norm(ball) < np.linalg.norm(molecule(N))


def test_bad_input_is_refused():
    images = simulated_averages(molecule(N), 4)[0]
    with pytest.raises(BadInputError, match="circle"):
        AverageSet(images, PIXEL, 200.0, 12.0)
    with pytest.raises(BadInputError, match="averages of shape"):
        AverageSet(images[0], PIXEL, DIAMETER, 12.0)
    averages = AverageSet(images, PIXEL, DIAMETER, 12.0)
    with pytest.raises(BadInputError, match="as the averages"):
        match_averages(averages, molecule(N), 2.0, 12.0)
    with pytest.raises(BadInputError, match="a volume"):
        cross_validate([], averages)
    with pytest.raises(BadInputError, match="4 shells"):
        align_maps(molecule(N), molecule(N), PIXEL, 80.0)
