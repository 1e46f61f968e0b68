"""Motion correction against the truth of simulated movies."""

import functools

import numpy as np
import pytest
import torch
from motion_movies import rms_errors, simulate_movie

from cryosnake.config.model import MotionConfig
from cryosnake.errors import BadInputError
from cryosnake.motion import correct_motion, write_motion_star
from cryosnake.movies import FrameCorrector
from cryosnake.simulate import SimulationConfig
from cryosnake.simulate import simulate_movie as simulate
from cryosnake.tables import read_star


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corrected(movie, frames=None, corrector=None, super_resolution=1, **config):
    frames = movie.frames if frames is None else frames
    return correct_motion(
        iter(frames),
        len(frames),
        frames.shape[1:],
        FrameCorrector() if corrector is None else corrector,
        pixel_size_angst=movie.pixel_size_angst,
        voltage_kv=movie.voltage_kv,
        dose_e_per_angst2_per_frame=movie.dose_e_per_angst2_per_frame,
        pre_exposure_e_per_angst2=0.0,
        super_resolution=super_resolution,
        config=MotionConfig(**config),
    )


def shifts_of(result):
    def shifts(y, x):
        total = np.repeat(result.shifts_px[:, None], len(y), axis=1)
        if result.local is not None:
            frames = np.arange(len(total))[:, None]
            total = total + np.stack(result.local.shift_px(frames, y[None], x[None]), axis=-1)
        return total

    return shifts


@functools.cache
def local_movie():
    return simulate_movie((1024, 1024), 20, contrast=2.0, local_px=4.0, seed=2)


@functools.cache
def small_movie():
    return simulate_movie((512, 512), 16, contrast=3.0, local_px=0.0, seed=4)


def test_whole_frame_and_local_motion_against_truth():
    movie = local_movie()
    result = corrected(movie)
    assert result.problem is None
    whole, local = rms_errors(movie, shifts_of(result))
    assert whole <= 0.25
    assert local <= 0.35
    single = corrected(movie, patches=(1, 1))
    assert single.local is None
    assert local < 0.75 * rms_errors(movie, shifts_of(single))[1]
    # The sum with local motion holds more of the specimen's signal between 8 A and 4 A.
    assert signal(result.plain, movie) > 1.03 * signal(single.plain, movie)


def signal(image, movie, coarse_angst=8.0, fine_angst=4.0):
    """Projection on the truth in a band: the part of the specimen's amplitude that is left."""
    ky = np.fft.fftfreq(image.shape[0], movie.pixel_size_angst)[:, None]
    kx = np.fft.rfftfreq(image.shape[1], movie.pixel_size_angst)[None]
    radius = np.hypot(ky, kx)
    band = (radius > 1 / coarse_angst) & (radius < 1 / fine_angst)
    # A mean displacement of all frames is no blur: take the truth to the mean place.
    middle = movie.displacement(image.shape[0] / 2, image.shape[1] / 2)[0]
    truth = np.fft.rfft2(movie.clean) * np.exp(-2j * np.pi * (ky * middle[0] + kx * middle[1]))
    found = np.fft.rfft2(image)
    return (found * truth.conj())[band].real.sum() / (np.abs(truth[band]) ** 2).sum()


def test_global_shifts_follow_the_drift():
    movie = small_movie()
    result = corrected(movie)
    np.testing.assert_allclose(result.shifts_px[0], 0, atol=1e-9)
    assert rms_errors(movie, shifts_of(result))[0] <= 0.25
    assert result.shifts_px.shape == (16, 2)
    path = np.hypot(*np.diff(movie.whole, axis=0).T).sum()
    assert result.drift_path_angst == pytest.approx(path, rel=0.35)
    assert result.drift_max_angst <= result.drift_path_angst
    assert result.accumulated_total_angst == pytest.approx(
        result.accumulated_early_angst + result.accumulated_late_angst
    )
    np.testing.assert_allclose(result.frame_mean, movie.frames.mean(axis=(1, 2)), rtol=1e-3)


def test_low_dose_frames_are_aligned():
    movie = simulate_movie((512, 512), 60, dose=0.3, contrast=3.0, local_px=0.0, seed=5)
    result = corrected(movie)
    assert rms_errors(movie, shifts_of(result))[0] <= 0.4


def test_jump_of_the_stage_is_followed():
    whole = np.zeros((16, 2))
    whole[7:] = (14.0, -9.0)
    movie = simulate_movie((512, 512), 16, contrast=3.0, local_px=0.0, seed=4, whole=whole)
    result = corrected(movie)
    assert rms_errors(movie, shifts_of(result))[0] <= 0.4
    assert result.drift_max_angst > 10


def test_fixed_pattern_does_not_hold_the_alignment():
    """An error of the gain in every pixel and in rows and columns, larger than a real one."""
    rng = np.random.default_rng(1)
    shape = (512, 512)
    pattern = 1 + 0.03 * rng.normal(size=shape)
    pattern += 0.02 * rng.normal(size=(512, 1)) + 0.02 * rng.normal(size=(1, 512))
    movie = simulate_movie(shape, 16, contrast=3.0, local_px=0.0, seed=4, gain=1 / pattern)
    assert rms_errors(movie, shifts_of(corrected(movie)))[0] <= 0.3


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_alone_gives_no_wild_shifts(seed):
    frames = np.random.default_rng(seed).poisson(1.0, (20, 512, 512)).astype(np.uint8)
    result = corrected(small_movie(), frames)
    assert "too little in common" in result.problem
    assert not result.shifts_px.any()
    assert result.plain.mean() == pytest.approx(20, rel=0.01)


def test_empty_ice_is_not_aligned_and_thin_signal_is():
    options = {"height_px": 384, "width_px": 384, "frames": 12, "hot_pixels": 0}
    config = SimulationConfig(**options, particles_per_um2=1500)
    for scenario, refused in (("empty", True), ("good", False)):
        simulated = simulate(config, 0, scenario=scenario)
        result = correct_motion(
            simulated.frames(),
            12,
            config.shape,
            FrameCorrector(simulated.gain),
            pixel_size_angst=config.pixel_size_angst,
            voltage_kv=config.voltage_kv,
            dose_e_per_angst2_per_frame=config.dose_e_per_angst2_per_frame,
            config=MotionConfig(),
        )
        assert (result.problem is not None) == refused
        if not refused:
            error = result.shifts_px - simulated.truth.shift_px
            assert np.sqrt(((error - error.mean(axis=0)) ** 2).mean()) < 0.25


def test_implausible_shift_is_reported_and_not_applied():
    whole = np.linspace(0, 1, 16)[:, None] * np.array([[40.0, 0.0]])
    movie = simulate_movie((512, 512), 16, contrast=3.0, local_px=0.0, seed=4, whole=whole)
    result = corrected(movie, max_shift_angst=25)
    assert "beyond 25 A" in result.problem
    assert not result.shifts_px.any()


def test_super_resolution_is_binned_and_shifts_are_in_output_pixels():
    movie = simulate_movie(
        (768, 768), 10, pixel_size_angst=0.5, dose=3.0, contrast=3.0, local_px=0.0, seed=6
    )
    result = corrected(movie, super_resolution=2)
    assert result.plain.shape == result.dose_weighted.shape == (384, 384)
    assert result.pixel_size_angst == 1.0
    truth = -movie.whole / 2
    error = result.shifts_px - truth
    assert np.sqrt(((error - error.mean(axis=0)) ** 2).mean()) < 0.3
    assert result.plain.mean() == pytest.approx(movie.frames.sum(axis=0).mean(), rel=0.01)


def test_wrong_number_and_shape_of_frames_are_refused():
    movie = small_movie()
    for count in (15, 17):
        with pytest.raises(BadInputError, match="frames"):
            correct_motion(
                iter(movie.frames),
                count,
                (512, 512),
                FrameCorrector(),
                pixel_size_angst=1.0,
                voltage_kv=300.0,
                dose_e_per_angst2_per_frame=1.0,
                config=MotionConfig(),
            )
    with pytest.raises(BadInputError, match="512"):
        correct_motion(
            iter([movie.frames[0], movie.frames[1][:-1]]),
            2,
            (512, 512),
            FrameCorrector(),
            pixel_size_angst=1.0,
            voltage_kv=300.0,
            dose_e_per_angst2_per_frame=1.0,
            config=MotionConfig(),
        )


def test_same_input_gives_the_same_result():
    movie = small_movie()
    first, second = corrected(movie, patches=(2, 2)), corrected(movie, patches=(2, 2))
    np.testing.assert_array_equal(first.shifts_px, second.shifts_px)
    np.testing.assert_array_equal(first.dose_weighted, second.dose_weighted)


def test_two_frames_and_one_frame():
    movie = small_movie()
    for count in (1, 2, 3):
        result = corrected(movie, movie.frames[:count])
        assert result.shifts_px.shape == (count, 2)
        assert np.isfinite(result.dose_weighted).all()


def test_motion_star_is_read_back(tmp_path):
    movie = small_movie()
    result = corrected(movie, patches=(3, 3))
    path = tmp_path / "movie.star"
    write_motion_star(
        path,
        result,
        "movies/a b.tif",
        frame_shape=(512, 512),
        frame_pixel_size_angst=1.0,
        voltage_kv=300.0,
    )
    blocks = read_star(path)
    assert list(blocks) == ["general", "global_shift", "local_motion_model", "local_shift"]
    assert blocks["general"]["rlnMicrographMovieName"] == "movies/a b.tif"
    table = blocks["global_shift"]
    np.testing.assert_allclose(table.rlnMicrographShiftX, result.shifts_px[:, 1], atol=1e-5)
    coefficients = blocks["local_motion_model"].rlnMotionModelCoeff.astype(float)
    np.testing.assert_allclose(
        coefficients[:18], result.local.coefficients_x, rtol=1e-5, atol=1e-12
    )
    np.testing.assert_allclose(
        coefficients[18:], result.local.coefficients_y, rtol=1e-5, atol=1e-12
    )
