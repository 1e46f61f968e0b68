"""3D classification of particles with known truth: kinds, noise, edges of films, lost volumes."""

import numpy as np
import pytest
import torch
from volumes3d_synthetic import BOX, DIAMETER, PIXEL, blobs, correlations, particles, volume

from cryosnake.volumes3d import ClassifySchedule, classify3d

SIZES = {"pixel_size_angst": PIXEL, "diameter_angst": DIAMETER}
QUICK = {"resolution_angst": 18.0, "schedule": ClassifySchedule(batches=4), **SIZES}
KIND, OTHER = blobs(0), blobs(7)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def resolution(curve, threshold):
    below = np.flatnonzero(curve[2:] < threshold)
    return BOX * PIXEL / ((below[0] + 2) if len(below) else len(curve))


def with_edges(images: np.ndarray, chosen: np.ndarray, height: float = 1.5) -> np.ndarray:
    """The images, those chosen replaced by the blurred border of a film and noise, normalised by
    their background as an extraction would."""
    rng = np.random.default_rng(5)
    axis = np.arange(BOX) - BOX // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    outside = np.hypot(y, x) > 0.5 * DIAMETER / PIXEL
    images = images.copy()
    for i in chosen:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-5, 5)
        image = rng.normal(size=(BOX, BOX)) + height * np.tanh(along / 1.5)
        image -= image[outside].mean()
        images[i] = image / image[outside].std()
    return images


def test_two_kinds_and_noise_are_sorted():
    images, optics, kind, *_ = particles(400, [KIND, OTHER], snr=1.2, empty=0.3, seed=3)
    found = classify3d(images, optics, [volume(KIND), volume(OTHER)], **QUICK)
    for k in (0, 1):
        assert np.mean(found.poses.class_index[kind == k] == k) > 0.9
        assert np.mean(found.poses.class_index[kind == -1] == 2) > 0.9
        curve = correlations(found.volumes[k].volume, volume([KIND, OTHER][k]))
        assert resolution(curve, 0.5) < 24.0
    assert found.empty_share == pytest.approx(np.mean(kind == -1), abs=0.06)
    assert sum(one.share for one in found.volumes) + found.empty_share == pytest.approx(1, abs=0.01)
    assert np.mean(found.outlier) < 0.01


def test_edges_of_films_are_outliers():
    images, optics, *_ = particles(300, [KIND], snr=1.2)
    edge = np.arange(300) % 10 == 3
    images = with_edges(images, np.flatnonzero(edge))
    found = classify3d(images, optics, [volume(KIND)], **QUICK)
    shown = found.poses.class_index == 0
    assert np.mean(~shown[edge]) > 0.9
    assert np.mean(shown[~edge]) > 0.95
    assert np.mean(found.outlier[edge]) > 0.9
    assert np.mean(found.outlier[~edge]) < 0.01
    assert not np.any(shown & found.outlier)
    assert abs(np.median(found.residual_sigma[~edge])) < 1.0
    assert found.volumes[0].population == np.count_nonzero(shown)


def test_without_empty_every_particle_is_in_a_volume():
    images, optics, *_ = particles(100, [KIND], snr=1.2)
    images = with_edges(images, np.arange(0, 100, 10))
    found = classify3d(images, optics, [volume(KIND)], empty=False, **QUICK)
    assert np.all(found.poses.class_index == 0)
    assert not found.outlier.any()


def sheet() -> np.ndarray:
    """A volume that no particle shows."""
    cube = np.zeros((BOX,) * 3)
    cube[BOX // 2 - 1 : BOX // 2 + 1, 8:32, 8:32] = 1.0
    return cube


def test_a_lost_volume_takes_up_the_kind_that_has_none():
    images, optics, kind, *_ = particles(450, [KIND, KIND, OTHER], snr=1.2, seed=4)
    lines = []
    found = classify3d(images, optics, [volume(KIND), sheet()], report=lines.append, **QUICK)
    assert any("volume 2 from 1" in line for line in lines)
    index, other = found.poses.class_index, kind == 2
    right = [np.where(other, index == 1 - k, index == k) for k in (0, 1)]
    assert max(np.mean(right[0]), np.mean(right[1])) > 0.85  # which is which is open


def test_a_lost_volume_goes_where_there_is_one_kind():
    images, optics, *_ = particles(300, [KIND], snr=2.5, seed=4)
    lines = []
    options = {**QUICK, "resolution_angst": 16.0}
    found = classify3d(images, optics, [volume(KIND), sheet()], report=lines.append, **options)
    assert any("volume 2 from 1" in line for line in lines)
    assert found.volumes[1].share == 0.0
    assert np.all(found.poses.class_index == 0)
