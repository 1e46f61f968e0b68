"""The same run again, another seed, and another device."""

import numpy as np
import pytest
import torch
from classes2d_synthetic import DIAMETER, PIXEL, objects, particles, some_optics

from cryosnake.classes2d import Schedule, assign, classify2d

SETTINGS = {
    "pixel_size_angst": PIXEL,
    "diameter_angst": DIAMETER,
    "resolution_angst": 10.0,
    "classes": 6,
}
SAME_CLASS, PSI_DEG, SHIFT_ANGST = 0.99, 0.5, 0.2  # what devices may differ by


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    return particles(400, objects(4), empty=0.15)


@pytest.fixture(scope="module")
def found(data):
    return classify2d(*data[:2], seed=3, schedule=Schedule(batches=30), **SETTINGS)


def test_same_seed_same_result_to_the_bit(data, found):
    again = classify2d(*data[:2], seed=3, schedule=Schedule(batches=30), **SETTINGS)
    for part in found.poses.__dataclass_fields__:
        assert np.array_equal(getattr(found.poses, part), getattr(again.poses, part)), part
    for part in found.classes.__dataclass_fields__:
        assert np.array_equal(getattr(found.classes, part), getattr(again.classes, part)), part


def test_another_seed_starts_elsewhere(data):
    """After one batch the averages of two seeds have nothing in common."""
    start = Schedule(batches=1)
    one, other = (classify2d(*data[:2], seed=seed, schedule=start, **SETTINGS) for seed in (3, 4))
    assert not np.array_equal(one.poses.class_index, other.poses.class_index)
    assert (one.poses.class_index == other.poses.class_index).mean() < 0.6


def test_a_schedule_ends_with_a_full_pass():
    with pytest.raises(ValueError, match="0 full passes"):
        Schedule(full_passes=0)


def test_the_threads_do_not_change_the_classes(data, found):
    """With two threads sums are rounded otherwise: the same references give the same classes."""
    some = data[0][:150], some_optics(data[1], np.arange(150))
    one = assign(*some, found)
    torch.set_num_threads(2)
    try:
        two = assign(*some, found)
    finally:
        torch.set_num_threads(1)
    assert_alike(one, two)


def assert_alike(one, other):
    same = one.poses.class_index == other.poses.class_index
    assert same.mean() >= SAME_CLASS
    turn = (one.poses.psi_deg - other.poses.psi_deg + 180.0) % 360.0 - 180.0
    assert np.percentile(np.abs(turn[same]), 99) <= PSI_DEG
    off = np.hypot(
        one.poses.origin_x_angst - other.poses.origin_x_angst,
        one.poses.origin_y_angst - other.poses.origin_y_angst,
    )
    assert np.percentile(off[same], 99) <= SHIFT_ANGST


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_classes_of_the_cpu(data, found):
    """The same references give the same poses; a run of its own gives classes as pure."""
    assert_alike(assign(*data[:2], found), assign(*data[:2], found, device="cuda"))
    own = classify2d(*data[:2], seed=3, device="cuda", **SETTINGS)
    kind = data[2][0]
    owner = {
        k: np.bincount(kind[own.poses.class_index == k] + 1).argmax() - 1
        for k in np.unique(own.poses.class_index)
    }
    right = [owner[k] == true for k, true in zip(own.poses.class_index, kind, strict=True)]
    assert np.mean(right) > 0.9
