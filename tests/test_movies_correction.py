"""Correcting frames: gain, defects, hot pixels."""

import mrcfile
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.errors import BadInputError
from cryosnake.movies import FrameCorrector, find_hot_pixels, read_defects

SHAPE = (64, 80)


def frame(dtype=np.uint8, mean=4.0, seed=0):
    return np.random.default_rng(seed).poisson(mean, SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "float16", "float32"])
def test_gain_is_multiplied(dtype):
    gain = np.random.default_rng(1).uniform(0.8, 1.2, SHAPE).astype(np.float32)
    raw = frame(dtype)
    corrected = FrameCorrector(gain)(raw)
    assert corrected.dtype == torch.float32
    assert np.allclose(corrected.numpy(), raw.astype(np.float32) * gain)


def test_without_gain_and_defects_the_counts_are_kept():
    raw = frame()
    corrector = FrameCorrector()
    assert corrector.bad_pixels == 0
    assert np.array_equal(corrector(raw).numpy(), raw)
    assert np.array_equal(corrector(torch.from_numpy(raw)).numpy(), raw)
    assert np.array_equal(corrector(raw[::-1]).numpy(), raw[::-1])


def test_writing_into_a_given_tensor():
    raw = frame()
    stack = torch.zeros(2, *SHAPE)
    given_back = FrameCorrector()(raw, out=stack[1])
    assert given_back.data_ptr() == stack[1].data_ptr()
    assert np.array_equal(stack[1].numpy(), raw)
    assert not stack[0].any()


def test_bad_pixels_become_the_mean_of_good_neighbours():
    raw = frame(np.float32)
    defects = np.zeros(SHAPE, bool)
    defects[10, 20] = defects[10, 21] = defects[0, 0] = True
    gain = np.ones(SHAPE, np.float32)
    gain[30, 40] = 0
    corrected = FrameCorrector(gain, defects)(raw).numpy()
    block = raw[9:12, 19:22].copy()
    assert corrected[10, 20] == pytest.approx((block.sum() - raw[10, 20] - raw[10, 21]) / 7)
    assert corrected[0, 0] == pytest.approx((raw[0, 1] + raw[1, 0] + raw[1, 1]) / 3)
    assert corrected[30, 40] == pytest.approx((raw[29:32, 39:42].sum() - raw[30, 40]) / 8)
    good = ~defects & (gain > 0)
    assert np.array_equal(corrected[good], raw[good])


def test_the_inside_of_a_large_bad_area_is_filled_from_its_rim():
    raw = np.full(SHAPE, 3.0, np.float32)
    defects = np.zeros(SHAPE, bool)
    defects[5:20, 30:41] = True
    defects[:, 60:63] = True
    raw[defects] = 1e6
    assert np.allclose(FrameCorrector(None, defects)(raw).numpy(), 3.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.001, 0.19))
def test_nothing_of_a_bad_pixel_is_left(seed, fraction):
    """Replaced values lie between the smallest and the largest good pixel; good ones are kept."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(1, 2, (24, 31)).astype(np.float32)
    defects = rng.random(raw.shape) < fraction
    if defects.mean() > 0.2:
        return
    expected = raw.copy()
    raw[defects] = 1e9
    corrected = FrameCorrector(None, defects)(raw).numpy()
    assert np.array_equal(corrected[~defects], expected[~defects])
    assert corrected.min() >= expected[~defects].min() - 1e-5
    assert corrected.max() <= expected[~defects].max() + 1e-5


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"bad\.shape"):
        FrameCorrector(np.ones((4, 5)), np.zeros((5, 4), bool))
    with pytest.raises(BadInputError, match=r"80 x 64 pixels; expected 64 x 80"):
        FrameCorrector(np.ones(SHAPE[::-1]))(frame())


def test_too_many_bad_pixels_are_a_wrong_file():
    defects = np.zeros(SHAPE, bool)
    defects[:30] = True
    with pytest.raises(BadInputError, match=r"46.9 % of the detector's pixels are bad"):
        FrameCorrector(None, defects)


# --- defect files ---


def test_defect_rectangles_count_from_the_bottom_left(tmp_path):
    path = tmp_path / "defects.txt"
    path.write_text("# bad columns\n10 0 2 64\n\n3 5 1 1  # one pixel\n78 60 10 10\n")
    expected = np.zeros(SHAPE, bool)
    expected[:, 10:12] = expected[5, 3] = expected[60:, 78:] = True
    assert np.array_equal(read_defects(path, SHAPE), expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 2 3\n", "line 1 is '1 2 3'"),
        ("1 2 3 4\n1 2 3 x", "line 2 is '1 2 3 x'"),
        ("1 2 0 4", "80 x 64"),
        ("90 2 1 4", "80 x 64"),
        ("-3 2 1 4", "80 x 64"),
    ],
)
def test_wrong_defect_lines(tmp_path, text, match):
    path = tmp_path / "defects.txt"
    path.write_text(text)
    with pytest.raises(BadInputError, match=match):
        read_defects(path, SHAPE)


def test_defect_masks(tmp_path):
    mask = np.zeros(SHAPE, np.int8)
    mask[2, 70] = 1
    with mrcfile.new(tmp_path / "mask.mrc") as mrc:
        mrc.set_data(mask)
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    assert np.array_equal(read_defects(tmp_path / "mask.mrc", SHAPE), mask != 0)
    assert np.array_equal(read_defects(tmp_path / "mask.tif", SHAPE), mask[::-1] != 0)
    with pytest.raises(BadInputError, match=r"80 x 64 pixels; expected 64 x 80"):
        read_defects(tmp_path / "mask.mrc", SHAPE[::-1])


def test_missing_or_binary_defect_file(tmp_path):
    with pytest.raises(BadInputError, match="No such file"):
        read_defects(tmp_path / "none.txt", SHAPE)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80" * 30)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_defects(tmp_path / "binary.txt", SHAPE)


# --- hot pixels ---


@pytest.mark.parametrize("mean", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("scale", [1 / 20, 1.0, 100.0])
def test_counting_noise_has_no_hot_pixels(mean, scale):
    """Whatever the number of frames averaged and the counts an electron makes."""
    rng = np.random.default_rng(3)
    total = sum(find_hot_pixels(rng.poisson(mean, (512, 512)) * scale).sum() for _ in range(4))
    assert total <= 1


def test_hot_and_dead_pixels_are_found():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:512, :512]
    rate = 40 * np.where(x + y < 600, 1.0, 0.6)  # the edge of the carbon is not a row of hot pixels
    image = rng.poisson(rate) / 20.0
    places = [(10, 10), (100, 250), (101, 250), (300, 511), (511, 0)]
    for place in places:
        image[place] = 8.0
    image[50, 60] = 0.0
    expected = np.zeros(image.shape, bool)
    for place in [*places, (50, 60)]:
        expected[place] = True
    assert np.array_equal(find_hot_pixels(image), expected)


def test_flat_frames_have_none():
    assert not find_hot_pixels(np.ones((64, 64))).any()
    assert not find_hot_pixels(np.zeros((64, 64))).any()
