"""2D classification of particles with known classes and poses."""

import resource
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from classes2d_synthetic import BOX, DIAMETER, PIXEL, drawn, objects, particles

from cryosnake.alignment.update import Sums
from cryosnake.classes2d import Schedule, classify2d
from cryosnake.classes2d.averages import in_box, resolution_angst
from cryosnake.classes2d.model import Geometry, Model
from cryosnake.classes2d.stack import ParticleStack, images_as_parts, prepare
from cryosnake.classes2d.window import window_for

SHORT = Schedule(batches=40)
SETTINGS = {
    "pixel_size_angst": PIXEL,
    "diameter_angst": DIAMETER,
    "resolution_angst": 10.0,
    "schedule": SHORT,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    """800 particles of four objects, 15 % of the images empty."""
    return particles(800, objects(4), empty=0.15)


@pytest.fixture(scope="module")
def found(data):
    images, optics, _ = data
    return classify2d(images, optics, classes=7, seed=2, **SETTINGS)


def majority(classes: np.ndarray, kind: np.ndarray) -> dict[int, int]:
    return {
        k: int(np.bincount(kind[classes == k] + 1).argmax()) - 1
        for k in np.unique(classes)
        if k >= 0
    }


def test_classes_are_pure_and_noise_is_apart(data, found):
    kind = data[2][0]
    classes = found.poses.class_index
    owner = majority(classes, kind)
    right = np.array([owner[k] == true for k, true in zip(classes, kind, strict=True)])
    assert right.mean() > 0.9
    assert set(owner.values()) == {-1, 0, 1, 2, 3}
    assert owner[6] == -1
    assert (classes[kind < 0] == 6).mean() > 0.5
    assert (classes[kind >= 0] == 6).mean() < 0.02
    evidence = found.poses.log_evidence
    assert (evidence[kind >= 0][:, None] > evidence[kind < 0]).mean() > 0.98
    assert found.poses.probability[kind >= 0].mean() > 0.8
    assert np.median(found.poses.log_evidence[kind >= 0]) > 10
    assert np.median(found.poses.log_evidence[kind < 0]) < 0


def test_poses_are_relions(data, found):
    """psi differs from the truth by a constant within a class, and origins by a vector fixed in
    the frame of the class."""
    kind, psi, origin = data[2]
    classes = found.poses.class_index
    for k, true in majority(classes, kind).items():
        mine = (classes == k) & (kind == true)
        if true < 0 or mine.sum() < 30:
            continue
        turn = np.exp(1j * np.deg2rad(found.poses.psi_deg - psi)[mine])
        common = turn.mean()
        off = np.rad2deg(np.angle(turn / common))
        assert np.median(np.abs(off)) < 4.0
        # in the frame of the class the origins' difference is one vector
        ours = np.stack([found.poses.origin_y_angst, found.poses.origin_x_angst], 1)[mine]
        delta = ours - origin[mine]
        angle = np.deg2rad(found.poses.psi_deg[mine])
        x = np.cos(angle) * delta[:, 1] - np.sin(angle) * delta[:, 0]
        y = np.sin(angle) * delta[:, 1] + np.cos(angle) * delta[:, 0]
        spread = np.hypot(x - np.median(x), y - np.median(y))
        assert np.median(spread) < 2.0


def test_averages_show_the_objects(data, found):
    kind, psi, _ = data[2]
    classes = found.poses.class_index
    axis = np.arange(BOX) - BOX // 2
    inside = np.hypot(*np.meshgrid(axis, axis)) * PIXEL < DIAMETER / 2
    for k, true in majority(classes, kind).items():
        mine = np.flatnonzero((classes == k) & (kind == true))
        if true < 0 or len(mine) < 50:
            continue
        # the object in the pose in which the class holds it
        turn = np.angle(np.exp(1j * np.deg2rad(found.poses.psi_deg - psi)[mine]).mean())
        best = 0.0
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                clean = drawn(objects(4)[true], -np.rad2deg(turn), (dy, dx))
                best = max(
                    best, np.corrcoef(clean[inside], found.classes.averages[k][inside])[0, 1]
                )
        assert best > 0.8, k


def test_averages_move_to_the_centre(data, found):
    model, window = found.model, window_for(BOX, PIXEL, DIAMETER, 10.0)
    geometry = Geometry(window, DIAMETER, torch.device("cpu"))
    transform = geometry.transform(model.band)
    kept = window.disc.join(model.parts).clone()
    shifted = torch.roll(kept, (3, -2), (1, 2))
    one = Model(window.disc.split(shifted), model.noise, Sums.empty(model.band, 6, "cpu"))
    one.sums.images[0] = transform.orders_of(*transform.rings_of(one.parts))
    for _ in range(4):
        one.recentre(geometry, transform, 3.0)
    k = int(found.classes.population[:-1].argmax())
    dense = (window.disc.join(one.parts)[k] - 0.3 * kept[k].max()).clamp_min(0)
    axis = torch.arange(window.side_px) - window.side_px // 2
    assert abs(float((dense.sum(1) * axis).sum() / dense.sum())) < 0.6
    assert abs(float((dense.sum(0) * axis).sum() / dense.sum())) < 0.6
    moved = window.disc.join(transform.parts_of(one.sums.images[0]))[k]
    inner = window.disc.join(one.parts)[k]
    assert np.corrcoef(moved.numpy().ravel(), inner.numpy().ravel())[0, 1] > 0.97


def test_figures_of_the_classes(found):
    classes = found.classes
    assert classes.population.sum() == 800
    assert classes.share.sum() == pytest.approx(1.0, abs=1e-3)
    big = np.flatnonzero(classes.population[:-1] > 60)
    assert len(big) >= 3
    assert np.all(classes.resolution_angst[big] < 30)
    assert np.all(classes.accuracy_rotation_deg[big] < 20)
    assert np.all(classes.accuracy_shift_angst[big] < 12)
    assert classes.averages.shape == (7, BOX, BOX)
    assert classes.halves.shape == (2, 7, BOX, BOX)
    assert np.all(np.isfinite(classes.averages))


def test_stack_is_read_from_files_as_from_memory(data, tmp_path):
    images = data[0][:60].astype(np.float16)
    for name, part in (("a.mrcs", images[:40]), ("b.mrcs", images[40:])):
        with mrcfile.new(tmp_path / name) as mrc:
            mrc.set_data(part)
            mrc.set_image_stack()
    window = window_for(BOX, PIXEL, DIAMETER, 10.0)
    memory = prepare(ParticleStack(images), window)
    files = [(tmp_path / "a.mrcs", [5, 0, 39]), (tmp_path / "b.mrcs", None)]
    stack = ParticleStack(files)
    assert len(stack) == 23
    from_files = prepare(stack, window)
    order = torch.tensor([5, 0, 39, *range(40, 60)])
    torch.testing.assert_close(from_files.parts, memory.parts[order])


def test_many_files_need_few_descriptors(data, tmp_path):
    """A particle table names one stack a micrograph: thousands."""
    names = [tmp_path / f"{i}.mrcs" for i in range(60)]
    for i, name in enumerate(names):
        with mrcfile.new(name) as mrc:
            mrc.set_data(data[0][i : i + 1])
            mrc.set_image_stack()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 20, before[1]))
    try:
        stack = ParticleStack([(name, None) for name in names])
        images = np.concatenate([part for _, part in stack.chunks()])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert np.array_equal(images, data[0][:60])


def test_averages_fill_the_box_where_particles_are():
    window = window_for(BOX, PIXEL, DIAMETER, 12.0)
    assert window.side_px < window.window_px < BOX
    image = torch.tensor(drawn(objects(1)[0]), dtype=torch.float32)[None]
    box = in_box(images_as_parts(image, window), window)[0]
    assert np.corrcoef(box.ravel(), image[0].numpy().ravel())[0, 1] > 0.98
    y, x = (np.arange(BOX) @ box.sum(1 - a) / box.sum() for a in (0, 1))
    ty, tx = (np.arange(BOX) @ image[0].numpy().sum(1 - a) / image.sum().item() for a in (0, 1))
    assert abs(y - ty) < 0.1
    assert abs(x - tx) < 0.1


def test_resolution_is_where_the_correlation_falls():
    frequency = np.array([0.01, 0.02, 0.03, 0.04])
    assert resolution_angst(np.array([0.0, 0.9, 0.2, 0.1]), frequency) == pytest.approx(
        28.1, abs=0.1
    )
    assert resolution_angst(np.array([1.0, 0.1, 0.9, 0.9]), frequency) == np.inf
    assert resolution_angst(np.ones(4), frequency) == pytest.approx(25.0)
