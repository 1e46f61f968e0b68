"""2D classification of input that is bad: an error that names it, or particles without a class."""

import math

import mrcfile
import numpy as np
import pytest
import torch
from classes2d_synthetic import BOX, DIAMETER, PIXEL, objects, particles, some_optics

from cryosnake.classes2d import Optics, Schedule, classify2d
from cryosnake.classes2d.stack import ParticleStack
from cryosnake.errors import BadInputError

SETTINGS = {
    "pixel_size_angst": PIXEL,
    "diameter_angst": DIAMETER,
    "resolution_angst": 10.0,
    "schedule": Schedule(batches=6),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    images, optics, _ = particles(120, objects(2), empty=0.1)
    return images, optics


def assert_finite(found):
    classes = found.classes
    for part in (classes.averages, classes.halves, classes.frc, classes.share):
        assert np.all(np.isfinite(part))
    for part in (found.poses.psi_deg, found.poses.contrast, found.poses.log_evidence):
        assert np.all(np.isfinite(part))
    assert classes.share.sum() == pytest.approx(1.0, abs=1e-3)


def written(path, images):
    with mrcfile.new(path) as mrc:
        mrc.set_data(images)
        mrc.set_image_stack()
    return path


def test_useless_images_have_no_class(data):
    images, optics = data
    images = images.copy()
    images[3] = 7.0
    images[10, 5, 5] = np.nan
    images[11] = np.inf
    images[50] = 0.0
    found = classify2d(images, optics, classes=3, **SETTINGS)
    assert np.flatnonzero(found.poses.class_index < 0).tolist() == [3, 10, 11, 50]
    assert np.all(found.poses.probability[[3, 10, 11, 50]] == 0)
    assert found.classes.population.sum() == 116
    assert_finite(found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the writer, about NaN
@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_a_stack_of_useless_images(data, tmp_path, value):
    images, optics = data
    path = written(tmp_path / "flat.mrcs", np.full_like(images, value))
    with pytest.raises(BadInputError, match=r"flat\.mrcs: 0 of 120 particles are usable"):
        classify2d(path, optics, classes=3, **SETTINGS)


def test_too_few_particles(data, tmp_path):
    images, optics = data
    one = some_optics(optics, np.arange(1))
    path = written(tmp_path / "one.mrcs", images[:1])
    with pytest.raises(BadInputError, match=r"one\.mrcs: 1 particles for 4 classes"):
        classify2d(path, one, classes=4, **SETTINGS)
    with pytest.raises(BadInputError, match="3 particles for 4 classes"):
        classify2d(images[:3], some_optics(optics, np.arange(3)), classes=4, **SETTINGS)
    partly = images[:6].copy()
    partly[:3] = 0.0
    with pytest.raises(BadInputError, match="3 of 6 particles are usable; expected at least 4"):
        classify2d(partly, some_optics(optics, np.arange(6)), classes=4, **SETTINGS)
    with pytest.raises(BadInputError, match="no particles"):
        classify2d(images[:0], some_optics(optics, np.arange(0)), classes=2, **SETTINGS)
    with pytest.raises(BadInputError, match="no particle stack"):
        classify2d([], some_optics(optics, np.arange(0)), classes=2, **SETTINGS)


def test_as_many_particles_as_classes(data):
    images, optics = data
    found = classify2d(images[:5], some_optics(optics, np.arange(5)), classes=5, **SETTINGS)
    assert found.classes.population.sum() == 5
    assert_finite(found)


def test_all_particles_alike(data):
    images, optics = data
    alike = np.repeat(images[:1], 60, axis=0)
    found = classify2d(alike, some_optics(optics, np.zeros(60, int)), classes=4, **SETTINGS)
    assert found.classes.population.sum() == 60
    assert_finite(found)


@pytest.mark.parametrize("classes", [-1, 0, 1])
def test_too_few_classes(data, classes):
    with pytest.raises(BadInputError, match=f"{classes} classes; expected at least 2"):
        classify2d(*data, classes=classes, **SETTINGS)


def test_two_classes_are_one_and_nothing(data):
    found = classify2d(*data, classes=2, **SETTINGS)
    assert len(found.classes) == 2
    assert found.classes.population[0] > 90
    assert found.classes.population.sum() == 120
    assert_finite(found)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["pixel_size", "diameter", "resolution"])
def test_sizes_that_are_none(data, name, value):
    settings = {**SETTINGS, f"{name}_angst": value}
    with pytest.raises(BadInputError, match="expected a positive number"):
        classify2d(*data, classes=3, **settings)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("pixel_size_angst", 0.01, "room for background"),  # everything is larger than the box
        ("pixel_size_angst", 100.0, "at least 6 px across"),
        ("pixel_size_angst", 12.0, "a resolution of 25.2 A for particles of 130 A"),
        ("diameter_angst", 190.0, "room for background"),
        ("diameter_angst", 400.0, "room for background"),
        ("diameter_angst", 20.0, "at least 6 px across"),
        ("resolution_angst", 40.0, "a resolution of 40 A for particles of 130 A"),
    ],
)
def test_sizes_that_do_not_fit(data, tmp_path, name, value, problem):
    path = written(tmp_path / "sizes.mrcs", data[0])
    with pytest.raises(BadInputError, match=rf"sizes\.mrcs: .*{problem}"):
        classify2d(path, data[1], classes=3, **{**SETTINGS, name: value})


def test_files_that_cannot_be_read(data, tmp_path):
    images, optics = data
    with pytest.raises(BadInputError, match=r"missing\.mrcs: cannot be read"):
        classify2d(tmp_path / "missing.mrcs", optics, classes=4, **SETTINGS)
    cut = written(tmp_path / "cut.mrcs", images)
    cut.write_bytes(cut.read_bytes()[:-1000])
    with pytest.raises(BadInputError, match=r"cut\.mrcs: cannot be read"):
        classify2d(cut, optics, classes=4, **SETTINGS)
    text = tmp_path / "text.mrcs"
    text.write_text("not a stack\n" * 200)
    with pytest.raises(BadInputError, match=r"text\.mrcs: cannot be read"):
        classify2d(text, optics, classes=4, **SETTINGS)
    empty = tmp_path / "empty.mrcs"
    empty.touch()
    with pytest.raises(BadInputError, match=r"empty\.mrcs: cannot be read"):
        classify2d(empty, optics, classes=4, **SETTINGS)
    with pytest.raises(BadInputError, match="cannot be read"):
        classify2d(tmp_path, optics, classes=4, **SETTINGS)


def test_images_that_a_file_has_not(data, tmp_path):
    images, optics = data
    path = written(tmp_path / "few.mrcs", images[:50])
    some = some_optics(optics, np.arange(3))
    with pytest.raises(BadInputError, match=r"few\.mrcs: has no image 50; expected 0 to 49"):
        classify2d([(path, [0, 50, 1])], some, classes=2, **SETTINGS)
    with pytest.raises(BadInputError, match=r"few\.mrcs: has no image -1"):
        classify2d([(path, [0, -1, 1])], some, classes=2, **SETTINGS)


def test_a_file_that_is_cut_while_in_use(data, tmp_path):
    path = written(tmp_path / "cut.mrcs", data[0][:50])
    stack = ParticleStack(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(BadInputError, match=r"cut\.mrcs: was changed while in use"):
        list(stack.chunks())


def test_stacks_of_the_wrong_kind(data, tmp_path):
    images, optics = data
    some = some_optics(optics, np.arange(20))
    with pytest.raises(BadInputError, match=r"is of shape \(20, 48, 40\)"):
        classify2d(images[:20, :, :40], some, classes=3, **SETTINGS)
    with pytest.raises(BadInputError, match="type complex64"):
        classify2d(images[:20].astype(np.complex64), some, classes=3, **SETTINGS)
    one = written(tmp_path / "one.mrcs", images[:10])
    other = written(tmp_path / "other.mrcs", images[:10, 4:-4, 4:-4].copy())
    with pytest.raises(BadInputError, match=r"other\.mrcs: has boxes of 40 px; expected 48 px"):
        classify2d([(one, None), (other, None)], some, classes=3, **SETTINGS)


def test_optics_that_do_not_fit(data, tmp_path):
    images, _ = data
    path = written(tmp_path / "all.mrcs", images)
    with pytest.raises(BadInputError, match=r"all\.mrcs: 120 images but CTF parameters of 119"):
        classify2d(path, Optics(*(np.ones(119),) * 3, 300.0, 2.7, 0.1), classes=4, **SETTINGS)
    with pytest.raises(BadInputError, match="not finite"):
        Optics(np.array([np.nan]), np.ones(1), np.ones(1), 300.0, 2.7, 0.1)
    with pytest.raises(BadInputError, match="defocus_v_angst holds 2 values; expected 1"):
        Optics(np.ones(1), np.ones(2), np.ones(1), 300.0, 2.7, 0.1)


@pytest.mark.parametrize(
    ("initial", "problem"),
    [
        (np.zeros((4, 40, 40), np.float32), r"\(4, 40, 40\); expected \(2 or more, 48, 48\)"),
        (np.zeros((1, BOX, BOX), np.float32), r"\(1, 48, 48\); expected \(2 or more"),
        (np.zeros((BOX, BOX), np.float32), r"\(48, 48\); expected \(2 or more"),
        (np.full((4, BOX, BOX), np.nan, np.float32), "not finite"),
    ],
)
def test_initial_averages_that_do_not_fit(data, initial, problem):
    with pytest.raises(BadInputError, match=problem):
        classify2d(*data, classes=4, initial=initial, **SETTINGS)


def test_initial_averages_of_nothing(data):
    """Averages that are zero everywhere are of no use, but do no harm."""
    nothing = np.zeros((4, BOX, BOX), np.float32)
    assert_finite(classify2d(*data, classes=4, initial=nothing, **SETTINGS))


def test_boxes_of_odd_size_are_as_even_ones(data):
    """The pixel n // 2 is the centre: a row and a column less of background change little."""
    images, optics = data
    settings = {**SETTINGS, "schedule": Schedule(batches=20)}
    even = classify2d(images, optics, classes=3, **settings)
    odd = classify2d(images[:, 1:, 1:], optics, classes=3, **settings)  # centre 24 becomes 23
    assert odd.classes.averages.shape == (3, 47, 47)
    same = odd.poses.class_index == even.poses.class_index
    swapped = odd.poses.class_index == np.array([1, 0, 2])[even.poses.class_index]
    assert max(same.mean(), swapped.mean()) > 0.9
    off = np.hypot(
        odd.poses.origin_x_angst - even.poses.origin_x_angst,
        odd.poses.origin_y_angst - even.poses.origin_y_angst,
    )
    if same.mean() > 0.9:
        assert np.median(off) < 1.0
    assert_finite(odd)
