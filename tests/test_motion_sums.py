"""Exposure weights, interpolation and sums against direct computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.motion import dose, spline
from cryosnake.motion.correction import RawMovie
from cryosnake.motion.sums import combined, weighted_sums
from cryosnake.motion.workers import Workers
from cryosnake.movies import FrameCorrector

ONE = Workers(None, 1)


def test_critical_exposure_has_the_published_values():
    # 0.245 k^-1.665 + 2.81 at 10 A, 5 A and 3 A; 0.8 of it at 200 kV
    np.testing.assert_allclose(
        dose.critical_exposure_e_per_angst2([0.1, 0.2, 1 / 3], 300.0),
        [14.14, 6.38, 4.34],
        atol=0.01,
    )
    ratio = dose.critical_exposure_e_per_angst2(0.2, 200.0) / dose.critical_exposure_e_per_angst2(
        0.2, 300.0
    )
    assert ratio == pytest.approx(0.80, abs=0.005)


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 120),
    dose_per_frame=st.floats(0.05, 5.0),
    pre_exposure=st.floats(0, 100),
    voltage=st.sampled_from([100.0, 200.0, 300.0]),
)
def test_weights_are_normalised_and_of_low_rank(frames, dose_per_frame, pre_exposure, voltage):
    frequency = dose.radial_frequencies_per_angst(0.8, 300)
    exposures = dose.frame_exposures_e_per_angst2(frames, dose_per_frame, pre_exposure)
    weights = dose.normalised_weights(dose.exposure_amplitudes(frequency, exposures, voltage))
    np.testing.assert_allclose((weights**2).sum(axis=0), 1.0, atol=1e-9)
    left, right = dose.low_rank(weights)
    assert left.shape[1] <= 12
    assert np.linalg.norm(weights - left @ right, axis=0).max() <= 1e-3


def make_corrector(shape, rng):
    gain = rng.uniform(0.8, 1.2, shape).astype(np.float32)
    defects = rng.random(shape) < 0.01
    defects[10:13, 20:22] = True
    return FrameCorrector(gain, defects)


@settings(max_examples=40, deadline=None)
@given(top=st.integers(-30, 90), left=st.integers(-30, 110), seed=st.integers(0, 3))
def test_windows_are_parts_of_the_corrected_frame(top, left, seed):
    rng = np.random.default_rng(seed)
    shape = (80, 100)
    corrector = make_corrector(shape, rng)
    movie = RawMovie(corrector, shape, 2, "cpu")
    frames = [rng.poisson(5, shape).astype(np.uint8) for _ in range(2)]
    for index, frame in enumerate(frames):
        movie.add(index, frame)
    window = movie.window(1, top, left, torch.empty(20, 30))
    whole = np.pad(corrector(frames[1]).numpy(), 160, mode="symmetric")
    expected = whole[top + 160 : top + 180, left + 160 : left + 190]
    np.testing.assert_allclose(window.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "float32"])
def test_frames_of_every_type_are_taken(kind):
    rng = np.random.default_rng(0)
    corrector = make_corrector((40, 50), rng)
    frame = rng.poisson(5, (40, 50)).astype(kind)
    movie = RawMovie(corrector, (40, 50), 1, "cpu")
    whole = movie.add(0, frame)
    np.testing.assert_allclose(movie.window(0, 0, 0, torch.empty(40, 50)), whole, rtol=1e-6)


def test_sum_equals_fourier_shifts_and_direct_weights():
    """White noise, the hardest input, moved by known amounts: against exact Fourier shifts."""
    rng = np.random.default_rng(0)
    shape, count = (120, 150), 12
    base = rng.normal(size=shape)
    ky = np.fft.fftfreq(shape[0])[:, None]
    kx = np.fft.rfftfreq(shape[1])[None]
    shifts = rng.uniform(-4, 4, (count, 2))
    transform = np.fft.rfft2(base)
    frames = [  # the displacement is minus the shift
        np.fft.irfft2(transform * np.exp(2j * np.pi * (ky * y + kx * x)), s=shape)
        for y, x in shifts
    ]
    movie = RawMovie(FrameCorrector(), shape, count, "cpu")
    for index, frame in enumerate(frames):
        movie.add(index, frame.astype(np.float32))
    frequency = dose.radial_frequencies_per_angst(1.0)
    exposures = dose.frame_exposures_e_per_angst2(count, 2.0)
    weights = dose.normalised_weights(dose.exposure_amplitudes(frequency, exposures, 300.0))
    left, right = dose.low_rank(weights)

    def shift_at(y, _x):
        return np.repeat(shifts[:, None], np.size(y), axis=1)

    (image,) = combined(
        weighted_sums(movie, shift_at, left, ONE), [right], shifts_px=shifts, binning=1, team=ONE
    )
    radius = np.hypot(ky, kx)
    expected = transform * np.interp(radius, frequency, weights.sum(axis=0))
    inner = np.s_[12:-12, 12:-12]  # mirrored edges differ from periodic ones
    low = radius < 0.33
    got = np.fft.irfft2(np.fft.rfft2(image.numpy()) * low, s=shape)[inner]
    want = np.fft.irfft2(expected * low, s=shape)[inner]
    assert np.std(got - want) < 0.03 * np.std(want)


def test_frames_without_motion_are_summed_exactly():
    rng = np.random.default_rng(0)
    movie = RawMovie(FrameCorrector(), (64, 96), 4, "cpu")
    frames = rng.poisson(3, (4, 64, 96)).astype(np.uint8)
    for index, frame in enumerate(frames):
        movie.add(index, frame)
    shifts = np.zeros((4, 1, 2))
    sums = weighted_sums(movie, lambda y, x: np.zeros((4, np.size(y), 2)), np.ones((4, 1)), ONE)
    (image,) = combined(sums, [np.ones((1, 64))], shifts_px=shifts, binning=1, team=ONE)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(image.numpy()[inner], frames.sum(axis=0)[inner], atol=0.05)
    (half,) = combined(sums, [np.ones((1, 64))], shifts_px=shifts, binning=2, team=ONE)
    assert half.shape == (32, 48)
    assert float(half.mean()) == pytest.approx(4 * 3, rel=0.05)


def test_response_is_one_at_zero_frequency_and_falls():
    frequency = torch.linspace(0, 0.5, 50)
    response = spline.response(np.random.default_rng(0).uniform(0, 1, 5000), frequency)
    assert float(response[0]) == pytest.approx(1.0, abs=1e-6)
    assert (response.diff() < 0).all()
