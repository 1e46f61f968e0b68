"""Rounds: a start from earlier averages helps, or at least does no harm, whatever they show."""

import numpy as np
import pytest
import torch
from classes2d_synthetic import DIAMETER, PIXEL, objects, particles

from cryosnake.classes2d import Schedule, classify2d

SETTINGS = {
    "pixel_size_angst": PIXEL,
    "diameter_angst": DIAMETER,
    "resolution_angst": 10.0,
    "schedule": Schedule(batches=40),
}
KINDS = objects(4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def later():
    """The next round: four objects and empty images."""
    return particles(700, KINDS, empty=0.15, seed=5)


def purity(found, kind) -> float:
    classes = found.poses.class_index
    return float(
        np.mean(
            [
                np.bincount(kind[classes == k] + 1).max() / (classes == k).sum()
                for k in np.unique(classes)
                for _ in range((classes == k).sum())
            ]
        )
    )


def kinds_found(found, kind) -> set[int]:
    classes = found.poses.class_index
    return {int(np.bincount(kind[classes == k] + 1).argmax()) - 1 for k in np.unique(classes)}


@pytest.fixture(scope="module")
def cold(later):
    return classify2d(*later[:2], classes=8, seed=4, **SETTINGS)


def test_a_cold_start_finds_all(later, cold):
    assert purity(cold, later[2][0]) > 0.93
    assert kinds_found(cold, later[2][0]) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize(
    ("first", "empty"),
    [
        (KINDS[:1], 0.1),  # one of four objects
        (objects(2, seed=77), 0.1),  # others
        (KINDS, 1.0),  # nothing at all
    ],
    ids=["one object", "other objects", "noise"],
)
def test_a_round_on_few_other_particles_does_not_imprison_the_next(later, cold, first, empty):
    images, optics, _ = particles(200, first, empty=empty, seed=8)
    before = classify2d(images, optics, classes=8, seed=4, **SETTINGS)
    warm = classify2d(*later[:2], classes=8, seed=4, initial=before.classes.averages, **SETTINGS)
    kind = later[2][0]
    assert purity(warm, kind) > purity(cold, kind) - 0.05
    assert kinds_found(warm, kind) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize(("before", "after"), [(4, 8), (12, 6)])
def test_rounds_may_have_other_numbers_of_classes(later, before, after):
    images, optics, _ = particles(300, KINDS, empty=0.1, seed=8)
    few = classify2d(images, optics, classes=before, seed=4, **SETTINGS)
    found = classify2d(*later[:2], classes=after, seed=4, initial=few.classes.averages, **SETTINGS)
    assert len(found.classes) == after
    assert found.classes.population[:-1].min() > 0.05 * 700 / after
    assert purity(found, later[2][0]) > 0.88
