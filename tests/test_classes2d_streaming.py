"""Particles that come in batches: assigned in any order, by jobs that share nothing but files."""

import os
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from classes2d_synthetic import BOX, DIAMETER, PIXEL, objects, particles, some_optics

from cryosnake.classes2d import (
    Schedule,
    assign,
    classify2d,
    load_classification,
    load_contribution,
    running_total,
    updated,
)
from cryosnake.classes2d.stack import ParticleStack, prepare
from cryosnake.classes2d.window import window_for
from cryosnake.errors import BadInputError

SETTINGS = {
    "pixel_size_angst": PIXEL,
    "diameter_angst": DIAMETER,
    "resolution_angst": 10.0,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    return particles(500, objects(3), empty=0.15)


@pytest.fixture(scope="module")
def found(data):
    return classify2d(
        data[0], data[1], classes=6, seed=2, schedule=Schedule(batches=30), **SETTINGS
    )


@pytest.fixture(scope="module")
def more():
    """240 new particles, one image of which is useless."""
    images, optics, truth = particles(240, objects(3), empty=0.15, seed=9)
    images[7] = np.nan
    return images, optics, truth


def part(images, optics, rows):
    return images[rows], some_optics(optics, rows)


@pytest.fixture(scope="module")
def batches(found, more):
    """The new particles in four batches of even size (halves alternate)."""
    images, optics, _ = more
    return [
        assign(*part(images, optics, np.arange(start, start + 60)), found)
        for start in range(0, 240, 60)
    ]


def assert_same(one, other, **tolerance):
    for name in (field.name for field in fields(one)):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), err_msg=name, **tolerance
        )


def test_new_particles_find_their_classes(data, found, more, batches):
    kind, new_kind = data[2][0], more[2][0]
    classes = found.poses.class_index
    owner = {k: int(np.bincount(kind[classes == k] + 1).argmax()) - 1 for k in np.unique(classes)}
    assigned = np.concatenate([batch.poses.class_index for batch in batches])
    right = [owner.get(k) == true for k, true in zip(assigned, new_kind, strict=True)]
    assert np.mean(right) > 0.9
    assert assigned[7] == -1
    assert sum(batch.contribution.particles for batch in batches) == 239


def test_contributions_are_of_the_new_particles_alone(found, batches):
    for batch in batches:
        classes = batch.poses.class_index
        counted = np.bincount(classes[classes >= 0], minlength=6)
        assert np.array_equal(batch.contribution.population.sum(0), counted)
        assert float(batch.contribution.sums.seen) == (classes >= 0).sum()
        filled = float(batch.contribution.sums.counts.sum())
        assert filled <= (classes >= 0).sum()
        assert filled > 0.5 * (classes >= 0).sum()


def test_particles_of_the_class_of_nothing_are_summed_as_they_lie(found, more, batches):
    first = prepare(ParticleStack(more[0][:60]), window_for(BOX, PIXEL, DIAMETER, 10.0))
    nothing = batches[0].poses.class_index == 5
    assert nothing.sum() > 3
    for half in (0, 1):
        mine = nothing & (np.arange(60) % 2 == half)
        expected = first.parts[torch.from_numpy(mine)].float().sum(0)
        torch.testing.assert_close(
            batches[0].contribution.nothing[half], expected, atol=1e-4, rtol=1e-5
        )
        assert int(batches[0].contribution.population[half, 5]) == mine.sum()


def test_order_and_grouping_do_not_matter(found, more, batches):
    images, optics, _ = more
    parts = [batch.contribution for batch in batches]
    forward, backward = updated(found, parts), updated(found, reversed(parts))
    assert_same(forward.classes, backward.classes, rtol=1e-5, atol=1e-6)
    one_by_one = found
    for contribution in parts:
        one_by_one = updated(one_by_one, [contribution])
    assert_same(forward.classes, one_by_one.classes, rtol=1e-4, atol=1e-5)
    together = assign(images, optics, found)
    poses = [batch.poses for batch in batches]
    for name in ("class_index", "psi_deg", "log_evidence"):
        joined = np.concatenate([getattr(one, name) for one in poses])
        usable = together.poses.class_index >= 0
        np.testing.assert_allclose(
            getattr(together.poses, name)[usable], joined[usable], atol=2e-2, err_msg=name
        )
    whole = updated(found, [together.contribution]).classes
    assert np.array_equal(whole.population, forward.classes.population)
    np.testing.assert_allclose(whole.averages, forward.classes.averages, atol=2e-3)
    np.testing.assert_allclose(whole.halves, forward.classes.halves, atol=2e-2)


def test_updated_classes_hold_old_and_new(found, batches):
    before = found.classes.averages.copy()
    joined = updated(found, [batch.contribution for batch in batches])
    new = sum(batch.contribution.population.sum(0).numpy() for batch in batches)
    assert np.array_equal(joined.classes.population, found.classes.population + new)
    assert joined.classes.share.sum() == pytest.approx(1.0, abs=1e-3)
    assert np.array_equal(found.classes.averages, before)
    k = int(found.classes.population[:-1].argmax())
    same = np.corrcoef(joined.classes.averages[k].ravel(), before[k].ravel())[0, 1]
    assert 0.95 < same < 1.0 - 1e-5
    # the class of nothing is the mean over old and new, weighted by their number
    old, recent = found.classes.population[-1], new[-1]
    alone = updated(found, [])
    np.testing.assert_array_equal(alone.classes.averages[-1], before[-1])
    mean_new = (joined.classes.averages[-1] * (old + recent) - before[-1] * old) / recent
    assert np.abs(mean_new).max() > 0


def test_nothing_added_changes_nothing(found):
    assert_same(updated(found, []).classes, found.classes, rtol=0, atol=0)


def test_classes_after_adding_are_those_of_one_pass_over_all(data, found, batches, more):
    """What streaming gives is what all particles give when they are scored together."""
    images, optics, _ = data
    again = assign(images, optics, found).contribution
    new = [batch.contribution for batch in batches]
    streamed = updated(replace(found, contribution=again), new).classes
    both = np.concatenate([images, more[0]])
    every = [np.concatenate([getattr(one, name) for one in (optics, more[1])]) for name in (
        "defocus_u_angst", "defocus_v_angst", "defocus_angle_deg")]  # fmt: skip
    joined = replace(optics, **dict(zip(
        ("defocus_u_angst", "defocus_v_angst", "defocus_angle_deg"), every, strict=True
    )))  # fmt: skip
    at_once = assign(both, joined, found).contribution
    whole = updated(replace(found, contribution=at_once), []).classes
    assert np.array_equal(streamed.population, whole.population)
    np.testing.assert_allclose(streamed.averages, whole.averages, atol=2e-3)


def test_saved_classes_assign_as_the_unsaved(found, more, batches, tmp_path):
    images, optics, _ = more
    found.save(tmp_path / "model.pt")
    loaded = load_classification(tmp_path / "model.pt")
    assert_same(loaded.classes, found.classes, rtol=0, atol=0)
    assert_same(loaded.poses, found.poses, rtol=0, atol=0)
    assert loaded.schedule == found.schedule
    first = assign(*part(images, optics, np.arange(60)), loaded)
    assert_same(first.poses, batches[0].poses, rtol=0, atol=0)
    first.contribution.save(tmp_path / "b0.pt")
    again = load_contribution(tmp_path / "b0.pt")
    one, other = updated(found, [batches[0].contribution]), updated(loaded, [again])
    assert_same(one.classes, other.classes, rtol=0, atol=0)
    other.save(tmp_path / "live.pt")
    assert_same(load_classification(tmp_path / "live.pt").classes, one.classes, rtol=0, atol=0)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["b0.pt", "live.pt", "model.pt"]


def test_what_was_assigned_fits_after_an_update(found, batches):
    """References stay: a batch that was assigned before an update can be added after it."""
    first, second = (batch.contribution for batch in batches[:2])
    grown = updated(found, [first])
    assert_same(
        updated(grown, [second]).classes,
        updated(found, [first, second]).classes,
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_running_total_reads_what_is_new(found, batches, tmp_path):
    kept = tmp_path / "total.pt"
    files = [tmp_path / f"b{number}.pt" for number in range(4)]
    for batch, file in zip(batches, files, strict=True):
        batch.contribution.save(file)
    whole = updated(found, [batch.contribution for batch in batches]).classes
    running_total(kept, files[1:2])
    running_total(kept, files[:3])
    for file in files[:3]:  # they are not read again: nothing would notice
        time_ns = file.stat().st_mtime_ns
        file.write_bytes(b"")
        os.utime(file, ns=(time_ns, time_ns))
    assert_same(updated(found, [running_total(kept, files)]).classes, whole, rtol=0, atol=1e-6)
    files[2].write_bytes(b"changed")
    with pytest.raises(BadInputError, match=r"b0\.pt"):  # all of them are
        running_total(kept, files)
    for batch, file in zip(batches, files, strict=True):
        batch.contribution.save(file)
    kept.write_bytes(b"damaged")
    assert_same(updated(found, [running_total(kept, files)]).classes, whole, rtol=0, atol=1e-6)
    files[0].unlink()
    fewer = running_total(kept, files[1:])
    assert fewer.particles == sum(batch.contribution.particles for batch in batches[1:])


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "empty", "text", "other"])
def test_damaged_files_are_named(found, batches, tmp_path, damage):
    path = tmp_path / "damaged.pt"
    batches[0].contribution.save(path)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not a model\n")
    else:
        found.save(path)
    with pytest.raises(BadInputError, match=r"damaged\.pt"):
        load_contribution(path)


def test_foreign_contributions_are_refused(data, found, batches):
    images, optics, _ = data
    settings = {**SETTINGS, "schedule": Schedule(batches=3)}
    of_fewer = classify2d(images[:60], some_optics(optics, np.arange(60)), classes=3, **settings)
    with pytest.raises(BadInputError, match="a contribution to 3 classes; expected to 6 classes"):
        updated(found, [of_fewer.contribution])
    settings["resolution_angst"] = 14.0
    coarser = classify2d(images[:60], some_optics(optics, np.arange(60)), classes=6, **settings)
    with pytest.raises(BadInputError, match="a contribution in the band"):
        updated(found, [batches[0].contribution, coarser.contribution])
    settings["resolution_angst"] = 10.0
    other = classify2d(images[:60], some_optics(optics, np.arange(60)), classes=6, **settings)
    with pytest.raises(BadInputError, match="scored against references"):
        updated(found, [other.contribution])


def test_a_batch_of_other_boxes_or_of_nothing(found, more):
    images, optics, _ = more
    rows = np.arange(6)
    with pytest.raises(BadInputError, match="boxes of 40 px; expected 48 px"):
        assign(images[:6, 4:-4, 4:-4], some_optics(optics, rows), found)
    with pytest.raises(BadInputError, match="no particles"):
        assign(images[:0], some_optics(optics, rows[:0]), found)
    useless = assign(np.full((6, BOX, BOX), np.nan, np.float32), some_optics(optics, rows), found)
    assert np.all(useless.poses.class_index == -1)
    assert useless.contribution.particles == 0
    assert_same(updated(found, [useless.contribution]).classes, found.classes, rtol=1e-6, atol=1e-7)
    one = assign(images[:1], some_optics(optics, rows[:1]), found)
    assert one.contribution.particles == 1
