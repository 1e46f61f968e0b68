"""Gain references: reading, turning, resizing, and finding the orientation from the movie."""

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.errors import BadInputError
from cryosnake.movies import (
    ALREADY_CORRECTED,
    GAIN_ORIENTATIONS,
    UNSURE,
    check_gain_shape,
    find_gain_orientation,
    orient_gain,
    read_gain,
    resize_gain,
)

SQUARE, WIDE = (288, 288), (256, 352)
INVERSE = {"rotate_90": "rotate_270", "rotate_270": "rotate_90"}


def simulated_gain(rng, shape, rms=0.04, kind="all"):
    """Columns, blocks of a read-out, single pixels, with the given relative spread."""
    columns = np.broadcast_to(rng.standard_normal((1, shape[1])), shape)
    blocks = np.kron(rng.standard_normal((20, 20)), np.ones((32, 32)))[: shape[0], : shape[1]]
    pixels = rng.standard_normal(shape)
    structure = {"columns": columns, "pixels": pixels, "all": columns + blocks + pixels}[kind]
    return (1 + rms * structure / structure.std()).clip(0.3).astype(np.float32)


def specimen(rng, shape):
    """Ice of a changing thickness, particles and the edge of the carbon."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    rate = 1 + 0.3 * x / shape[1] + 0.1 * y / shape[0]
    for row, column in rng.random((25, 2)) * shape:
        rate *= 1 - 0.2 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 128)
    return np.where(y + 0.5 * x > 0.9 * shape[0], 0.6 * rate, rate)


def mean_of_counts(rng, gain, frames, e_per_px=1.0):
    rate = specimen(rng, gain.shape) * e_per_px
    return (rng.poisson(rate * frames / gain) / frames).astype(np.float32)


def as_stored(gain, name):
    """The file that has to be turned by `name` to lie on the movie as `gain` does."""
    return orient_gain(gain, INVERSE.get(name, name))


# --- orientation ---


@pytest.mark.parametrize("name", GAIN_ORIENTATIONS)
@pytest.mark.parametrize("frames", [1, 20])
def test_each_orientation_is_found(name, frames):
    rng = np.random.default_rng(11)
    gain = simulated_gain(rng, SQUARE)
    mean = mean_of_counts(rng, gain, frames)
    found = find_gain_orientation(mean, as_stored(gain, name))
    assert found.name == name
    assert set(found.scores) == set(GAIN_ORIENTATIONS)
    assert found.scores[name] == max(found.scores.values())
    assert found.scores[name] == pytest.approx(1, abs=0.25 if frames == 1 else 0.1)
    assert found.confidence > 0.95


@pytest.mark.parametrize("rms", [0.03, 0.05])
@pytest.mark.parametrize("shape", [SQUARE, WIDE])
def test_never_wrong_over_many_movies(rms, shape):
    rng = np.random.default_rng(5)
    names = []
    for _ in range(12):
        gain = simulated_gain(rng, shape, rms)
        name = str(rng.choice(GAIN_ORIENTATIONS))
        found = find_gain_orientation(mean_of_counts(rng, gain, 20), as_stored(gain, name))
        names.append((found.name, name))
    assert all(found == name for found, name in names)


def test_the_detectors_shape_leaves_four_candidates():
    rng = np.random.default_rng(2)
    gain = simulated_gain(rng, WIDE)
    mean = mean_of_counts(rng, gain, 20)
    assert set(find_gain_orientation(mean, gain).scores) == set(GAIN_ORIENTATIONS[:4])
    turned = find_gain_orientation(mean, as_stored(gain, "rotate_90"))
    assert set(turned.scores) == set(GAIN_ORIENTATIONS[4:])
    assert turned.name == "rotate_90"
    other = find_gain_orientation(mean, gain[:-2])
    assert other == (UNSURE, {}, 0.0)


def test_a_symmetric_gain_is_not_doubted():
    rng = np.random.default_rng(3)
    gain = simulated_gain(rng, WIDE, kind="columns")
    found = find_gain_orientation(mean_of_counts(rng, gain, 20), gain)
    assert found.name == "none"
    assert found.confidence > 0.99


def test_bad_pixels_do_not_decide():
    rng = np.random.default_rng(4)
    gain = simulated_gain(rng, SQUARE)
    gain[:, 40:43] = 0
    mean = mean_of_counts(rng, np.where(gain > 0, gain, 1), 20)
    mean[:, 40:43] = 0
    mean.flat[rng.integers(0, mean.size, 30)] = 500
    assert find_gain_orientation(mean, as_stored(gain, "flip_y")).name == "flip_y"


def test_a_gain_of_another_detector_is_not_believed():
    rng = np.random.default_rng(6)
    mean = mean_of_counts(rng, simulated_gain(rng, SQUARE), 20)
    found = find_gain_orientation(mean, simulated_gain(rng, SQUARE))
    assert found.name == UNSURE
    assert found.confidence == 0
    assert max(abs(score) for score in found.scores.values()) < 0.2


def test_a_movie_that_is_already_corrected_is_recognised():
    rng = np.random.default_rng(7)
    gain = simulated_gain(rng, (640, 640), rms=0.05, kind="pixels")
    mean = gain * rng.poisson(20 / gain) / 20
    found = find_gain_orientation(mean.astype(np.float32), as_stored(gain, "flip_x"))
    assert found.name == ALREADY_CORRECTED
    assert found.confidence > 0.95


def test_a_gain_that_is_to_be_divided_by_scores_minus_one():
    rng = np.random.default_rng(8)
    gain = simulated_gain(rng, SQUARE)
    found = find_gain_orientation(mean_of_counts(rng, gain, 20), 1 / gain)
    assert found.name == UNSURE
    assert found.scores["none"] == pytest.approx(-1, abs=0.15)


def test_a_flat_gain_says_nothing():
    rng = np.random.default_rng(9)
    found = find_gain_orientation(mean_of_counts(rng, np.ones(SQUARE), 5), np.ones(SQUARE))
    assert found.name == UNSURE


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(GAIN_ORIENTATIONS),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
)
def test_turning_there_and_back(name, height, width):
    image = np.arange(height * width).reshape(height, width)
    assert np.array_equal(orient_gain(orient_gain(image, name), INVERSE.get(name, name)), image)


def test_orientations_are_the_eight_of_a_square():
    image = np.arange(9).reshape(3, 3)
    assert len({orient_gain(image, name).tobytes() for name in GAIN_ORIENTATIONS}) == 8
    assert np.array_equal(orient_gain(image, "rotate_90"), np.rot90(image))
    with pytest.raises(ValueError, match="'sideways' is not one of"):
        orient_gain(image, "sideways")


def test_the_configurations_names_are_these():
    from cryosnake.config.model import AcquisitionConfig

    choices = AcquisitionConfig.model_fields["gain_orientation"].annotation.__args__
    assert set(choices) == {"auto", *GAIN_ORIENTATIONS}


# --- reading ---


def write_gain(path, gain):
    if path.suffix == ".mrc":
        with mrcfile.new(path) as mrc:
            mrc.set_data(gain.astype(np.float32))
    else:
        with tifffile.TiffWriter(path) as writer:
            writer.write(gain.astype(np.float32), photometric="minisblack")
    return path


GAIN = np.array([[1.0, 2.0, 0.5], [0.0, 1.5, 1.0]]).repeat(20, 0).repeat(20, 1)


@pytest.mark.parametrize(
    ("name", "rows_turned"),
    [("g.mrc", False), ("g.tif", True), ("g.tiff", True), ("g.gain", False)],
)
def test_reading_and_row_order(tmp_path, name, rows_turned):
    gain = read_gain(write_gain(tmp_path / name, GAIN))
    assert gain.dtype == np.float32
    assert np.array_equal(gain, GAIN[::-1] if rows_turned else GAIN)


@pytest.mark.parametrize(
    ("name", "movie_format", "divided"),
    [
        ("g.mrc", "tiff", False),
        ("g.mrc", "mrc", False),
        ("g.mrc", "eer", True),
        ("g.gain", "eer", False),
        ("g.tif", "tiff", False),
    ],
)
def test_multiply_or_divide_as_relion_does(tmp_path, name, movie_format, divided):
    path = write_gain(tmp_path / name, GAIN)
    stored = read_gain(path, operation="multiply")
    gain = read_gain(path, movie_format=movie_format)
    if divided:
        good = stored > 0
        assert np.allclose(gain[good] * stored[good], stored[good].mean())
        assert np.all(gain[~good] == 0)
    else:
        assert np.array_equal(gain, stored)


def test_negative_and_nan_factors_become_defects(tmp_path):
    bad = GAIN.copy()
    bad[0, 0], bad[1, 1], bad[2, 2] = np.nan, -1, np.inf
    gain = read_gain(write_gain(tmp_path / "g.gain", bad))
    assert gain[0, 0] == gain[1, 1] == gain[2, 2] == 0
    assert np.isfinite(gain).all()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("missing.mrc", None, "No such file"),
        ("missing.tif", None, "No such file"),
        ("empty.mrc", b"", "0 bytes"),
        ("text.tif", b"gain of today", "begins with"),
        ("gain.dm4", b"\0\0\0\4", "convert DM4"),
    ],
)
def test_bad_gain_files(tmp_path, name, content, match):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=match) as caught:
        read_gain(path)
    assert caught.value.path == path


def test_an_all_zero_gain_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no positive factor"):
        read_gain(write_gain(tmp_path / "g.mrc", 0 * GAIN))


def test_a_gain_of_the_wrong_size_names_both_sizes():
    with pytest.raises(BadInputError, match=r"g.mrc: .* 60 x 40 pixels; expected 61 x 40"):
        check_gain_shape(GAIN, (40, 61), "g.mrc")
    check_gain_shape(GAIN, (60, 40), "g.mrc", turned=True)
    with pytest.raises(BadInputError):
        check_gain_shape(GAIN, (60, 40), "g.mrc")


def test_resizing_by_two():
    up = resize_gain(GAIN, (80, 120))
    assert up.shape == (80, 120)
    assert np.array_equal(up[::2, ::2], GAIN)
    assert np.array_equal(resize_gain(up, GAIN.shape), GAIN)
    assert resize_gain(GAIN, (120, 80)).shape == (80, 120), "turning comes after"
    assert resize_gain(GAIN, (41, 60)) is GAIN
    partly = np.ones((4, 4))
    partly[0, 0] = 0
    partly[2:, 2:] = 0
    assert np.array_equal(resize_gain(partly, (2, 2)), [[1, 1], [1, 0]])
