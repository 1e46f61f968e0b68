"""The CTF fit against known truth: accuracy, rows and angles, phase plates, tilt, bad input."""

import math

import numpy as np
import pytest
import torch
from ctf_synthetic import micrograph
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.config.model import CtfConfig
from cryosnake.ctf_fit import draw_ctf, fit_ctf
from cryosnake.ctf_fit.profile import equiphase_frequency, fit_resolution_angst
from cryosnake.ctf_fit.search import Optics
from cryosnake.errors import BadInputError

OPTICS = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}


def fitted(image, pixel_size_angst=1.0, **settings):
    return fit_ctf(image, pixel_size_angst=pixel_size_angst, config=CtfConfig(**settings), **OPTICS)


def angle_error_deg(found, truth):
    return abs((found - truth + 90.0) % 180.0 - 90.0)


@pytest.fixture(scope="module")
def typical():
    """40 e/A^2, rings to about 4 A: U 15300, V 14700, angle 25."""
    return micrograph(
        (1024, 1024), pixel_size_angst=1.0, u_angst=15300, v_angst=14700, angle_deg=25, seed=7
    )


@pytest.mark.parametrize(
    ("u_angst", "v_angst", "angle_deg"),
    [(5200, 4800, -70), (10000, 10000, 0), (16000, 14000, 85), (30000, 29200, -20)],
)
def test_defocus_astigmatism_and_angle_are_found(u_angst, v_angst, angle_deg):
    image = micrograph(
        (1024, 1024),
        pixel_size_angst=1.0,
        u_angst=u_angst,
        v_angst=v_angst,
        angle_deg=angle_deg,
        seed=u_angst,
    )
    fit = fitted(image)
    assert fit.defocus_u_angst >= fit.defocus_v_angst
    assert fit.defocus_u_angst == pytest.approx(u_angst, abs=max(100, 0.01 * u_angst))
    assert fit.defocus_v_angst == pytest.approx(v_angst, abs=max(100, 0.01 * v_angst))
    if u_angst - v_angst > 300:
        assert angle_error_deg(fit.defocus_angle_deg, angle_deg) < 10
    assert fit.max_resolution_angst < 5.5


def test_weak_rings_on_a_strong_background_are_still_found():
    image = micrograph(
        (2048, 2048),
        pixel_size_angst=0.8,
        u_angst=21300,
        v_angst=20700,
        angle_deg=50,
        seed=3,
        signal_to_noise=0.5,
        b_factor_angst2=120,
        low_frequency=5,
    )
    fit = fitted(image, 0.8)
    assert fit.defocus_u_angst == pytest.approx(21300, abs=210)
    assert fit.defocus_v_angst == pytest.approx(20700, abs=210)
    assert 3.5 < fit.max_resolution_angst < 10.0


def test_more_signal_fits_further_and_scores_higher(typical):
    weak = micrograph(
        (1024, 1024),
        pixel_size_angst=1.0,
        u_angst=15300,
        v_angst=14700,
        angle_deg=25,
        seed=7,
        b_factor_angst2=300,
    )
    good, poor = fitted(typical), fitted(weak)
    assert good.max_resolution_angst < poor.max_resolution_angst
    assert good.figure_of_merit > poor.figure_of_merit


@settings(max_examples=4, deadline=None)
@given(scale=st.floats(1e-3, 1e4), offset=st.floats(-1e4, 1e4))
def test_grey_values_do_not_matter(typical_small, scale, offset):
    one = fitted(typical_small)
    other = fitted((typical_small / typical_small.std()) * scale + offset * scale)
    assert other.defocus_u_angst == pytest.approx(one.defocus_u_angst, abs=3)
    assert other.defocus_v_angst == pytest.approx(one.defocus_v_angst, abs=3)


@pytest.fixture(scope="module")
def typical_small(typical):
    return typical[:640, :600]


def test_the_angle_is_counted_from_columns_with_row_0_at_the_bottom(typical):
    upright, flipped, turned = fitted(typical), fitted(typical[::-1]), fitted(typical.T)
    assert angle_error_deg(upright.defocus_angle_deg, 25) < 10
    assert angle_error_deg(flipped.defocus_angle_deg, -25) < 10
    assert angle_error_deg(turned.defocus_angle_deg, 65) < 10


def test_an_oblong_micrograph_of_awkward_size(typical):
    image = micrograph(
        (1151, 1009), pixel_size_angst=0.7, u_angst=9500, v_angst=9000, angle_deg=-40, seed=2
    )
    fit = fitted(image, 0.7)
    assert fit.defocus_u_angst == pytest.approx(9500, abs=100)
    assert fit.defocus_v_angst == pytest.approx(9000, abs=100)
    assert angle_error_deg(fit.defocus_angle_deg, -40) < 10


def test_phase_plate():
    image = micrograph(
        (1024, 1024),
        pixel_size_angst=1.2,
        u_angst=8200,
        v_angst=7800,
        angle_deg=20,
        seed=1,
        shift_deg=90,
    )
    fit = fitted(image, 1.2, phase_plate=True)
    assert fit.phase_shift_deg == pytest.approx(90, abs=8)
    assert fit.defocus_u_angst == pytest.approx(8200, abs=120)
    assert fitted(image, 1.2).figure_of_merit < fit.figure_of_merit


@pytest.mark.parametrize(("tilt_deg", "axis_deg"), [(30, 200), (45, 100)])
def test_tilt_and_axis(tilt_deg, axis_deg):
    slope, direction = math.tan(math.radians(tilt_deg)), math.radians(axis_deg + 90)
    image = micrograph(
        (1536, 1536),
        pixel_size_angst=1.5,
        u_angst=18150,
        v_angst=17850,
        angle_deg=20,
        seed=1,
        slope_y=slope * math.sin(direction),
        slope_x=slope * math.cos(direction),
    )
    flat, tilted = fitted(image, 1.5), fitted(image, 1.5, tilted=True)
    assert math.isnan(flat.tilt_deg)
    assert tilted.tilt_deg == pytest.approx(tilt_deg, abs=3)
    assert abs((tilted.tilt_axis_deg - axis_deg + 180) % 360 - 180) < 5
    assert tilted.defocus_u_angst == pytest.approx(18150, abs=180)
    assert tilted.max_resolution_angst < flat.max_resolution_angst


def test_no_tilt_is_no_tilt(typical):
    assert fitted(typical, tilted=True).tilt_deg < 6


@pytest.mark.parametrize("side", [600, 1024, 2048])
def test_noise_has_no_rings(side):
    noise = np.random.default_rng(side).normal(100, 10, (side, side)).astype(np.float32)
    fit = fitted(noise)
    assert fit.max_resolution_angst == 30.0
    assert fit.figure_of_merit < 0.06
    assert fit.ice_ring_score < 6


def test_smooth_and_empty_images_have_no_rings():
    """A denoised view has a steep spectrum and nothing in it."""
    rng = np.random.default_rng(4)
    image = micrograph(
        (1024, 1024),
        pixel_size_angst=1.0,
        u_angst=1e4,
        v_angst=1e4,
        angle_deg=0,
        seed=2,
        signal_to_noise=0.0,
        low_frequency=30,
    )
    assert fitted(image).max_resolution_angst > 8
    blurred = np.fft.rfft2(rng.normal(size=(1024, 1024)))
    k2 = np.fft.fftfreq(1024)[:, None] ** 2 + np.fft.rfftfreq(1024)[None] ** 2
    blurred = np.fft.irfft2(blurred * np.exp(-k2 / (2 * 0.08**2)))
    assert fitted(blurred).max_resolution_angst > 8


def test_ice_rings():
    score = {}
    for ring in (0.0, 0.5, 2.0):
        image = micrograph(
            (1024, 1024),
            pixel_size_angst=1.0,
            u_angst=15000,
            v_angst=15000,
            angle_deg=0,
            seed=5,
            ice_ring=ring,
        )
        score[ring] = fitted(image).ice_ring_score
    assert score[0.0] < 5 < score[0.5] < score[2.0]
    coarse = fitted(image[:700, :700], 1.8)
    assert math.isnan(coarse.ice_ring_score)


def test_the_spots_of_one_ice_crystal_count(typical):
    y, x = np.mgrid[:1024, :1024]
    lattice = np.cos(2 * np.pi * (0.8 * x + 0.6 * y) / 3.66) * (np.hypot(y - 500, x - 300) < 250)
    assert fitted(typical + 4 * lattice).ice_ring_score > fitted(typical).ice_ring_score + 3


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((512, 512), 7.0), "constant"),
        (np.where(np.eye(512) > 0, np.nan, 1.0), "512 pixels are not finite"),
        (np.random.default_rng(1).normal(size=(100, 900)), "too small"),
        (np.random.default_rng(1).normal(size=(3, 256, 256)), "shape"),
    ],
)
def test_images_that_cannot_be_used_are_refused_in_words(image, words):
    with pytest.raises(BadInputError, match=words):
        fitted(image)


def test_pixels_too_large_are_refused():
    with pytest.raises(BadInputError, match="pixel size 12 A"):
        fitted(np.random.default_rng(1).normal(size=(512, 512)), 12.0)


def test_hot_pixels_do_not_disturb(typical):
    hot = typical.copy()
    hot[np.random.default_rng(1).integers(0, 1024, (40, 2)).T.tolist()[0], 5] = 60_000
    assert fitted(hot).defocus_u_angst == pytest.approx(15300, abs=150)


def test_a_tensor_is_as_good_as_an_array(typical_small):
    one = fitted(typical_small)
    other = fitted(torch.from_numpy(np.ascontiguousarray(typical_small)))
    assert other.defocus_u_angst == one.defocus_u_angst


def test_the_same_image_gives_the_same_fit(typical_small):
    one, other = fitted(typical_small), fitted(typical_small)
    assert one.defocus_u_angst == other.defocus_u_angst
    np.testing.assert_array_equal(one.radial_data, other.radial_data)


def test_the_picture_shows_data_and_model(typical):
    picture = draw_ctf(fitted(typical))
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (512, 3)
    rings = picture[-512:].astype(float).mean(axis=2)
    # row 0 is the bottom, so the rings are the last 512; half a turn about the centre brings the
    # model of the left half onto the averaged data of the lower right quarter
    model, quarter = rings[::-1, ::-1], (slice(156, 250), slice(300, 400))
    assert np.corrcoef(model[quarter].ravel(), rings[quarter].ravel())[0, 1] > 0.6


@settings(max_examples=50, deadline=None)
@given(k=st.floats(0.03, 0.33), local=st.floats(4000, 50000), mean=st.floats(4000, 50000))
def test_lines_of_equal_phase(k, local, mean):
    """The frequency found has, at the mean defocus, the phase of the pixel at its own."""
    optics = Optics(300.0, 2.7, 0.1)
    half = 0.5 * optics.wavelength_angst**2 * 2.7e7
    aim = k**2 * (local - half * k**2)
    found = float(equiphase_frequency(torch.tensor(k).double(), torch.tensor(local), mean, optics))
    if mean**2 > 4 * half * aim:
        assert found**2 * (mean - half * found**2) == pytest.approx(aim, rel=1e-5)
    else:
        assert found == pytest.approx(k)


def test_fit_resolution_is_where_the_correlation_falls():
    k = np.linspace(0.04, 0.33, 100)
    falling = 1.0 / (1.0 + np.exp((k - 0.2) / 0.01))
    assert fit_resolution_angst(k, falling, 30.0) == pytest.approx(5.0, abs=0.02)
    dip = falling.copy()
    dip[20:22] = 0.2
    assert fit_resolution_angst(k, dip, 30.0) == pytest.approx(5.0, abs=0.02)
    assert fit_resolution_angst(k, 0.0 * k, 30.0) == 30.0
    late = np.where(k > 0.2, 0.9, 0.1)
    assert fit_resolution_angst(k, late, 30.0) == 30.0
    assert fit_resolution_angst(k, 0.0 * k + 0.9, 30.0) == pytest.approx(1 / 0.33)
