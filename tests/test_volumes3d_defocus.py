"""The defocus of each particle, where what was estimated is wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from volumes3d_synthetic import blobs, correlations, particles, volume

from cryosnake.volumes3d import RefineSchedule, refine
from cryosnake.volumes3d.defocus import find_defocus

ERROR_ANGST = 800.0
NUMBER = 300
QUICK = RefineSchedule(wide=2, iterations=4)


@pytest.fixture(scope="module")
def case():
    """Fine blobs in small pixels: noisy particles, refined with defoci that are wrong."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volumes3d_synthetic.PIXEL", 3.0)
        kind = blobs()
        kind[:, 3] *= 0.55
        images, optics, *_ = particles(NUMBER, [kind], snr=1.3, seed=2)
    error = np.random.default_rng(1).normal(0.0, ERROR_ANGST, NUMBER)
    wrong = replace(
        optics,
        defocus_u_angst=optics.defocus_u_angst + error,
        defocus_v_angst=optics.defocus_v_angst + error,
    )
    sizes = {"pixel_size_angst": 3.0, "diameter_angst": 90.0}
    start = {"reference": volume(kind), "low_pass_angst": 15.0, "schedule": QUICK}
    refined = refine(images, wrong, **start, **sizes)
    found = find_defocus(images, wrong, refined, **sizes)
    return images, wrong, error, sizes, start, refined, found


def test_errors_of_the_defocus_shrink_by_half(case):
    *_, error, _, _, _, found = case
    left = error + found.offset_angst
    assert left.std() < 0.5 * error.std()
    assert abs(left.mean()) < 100.0
    assert found.gain.mean() > 1.0


def test_a_right_defocus_stays(case):
    images, wrong, error, sizes, _, refined, _ = case
    right = replace(
        wrong,
        defocus_u_angst=wrong.defocus_u_angst - error,
        defocus_v_angst=wrong.defocus_v_angst - error,
    )
    found = find_defocus(images, right, refined, **sizes)
    assert found.offset_angst.std() < 0.6 * ERROR_ANGST
    assert abs(found.offset_angst.mean()) < 100.0


def test_offsets_bring_detail(case):
    images, wrong, _, sizes, start, refined, found = case
    again = refine(images, found.applied(wrong), initial_poses=refined.poses, **start, **sizes)
    before, after = (
        correlations(one.volume, start["reference"])[10:].clip(0.0).sum()
        for one in (refined, again)
    )
    assert after > 1.05 * before


def test_noise_moves_nothing_far(case):
    images, wrong, _, sizes, _, refined, _ = case
    noise = np.random.default_rng(3).normal(size=images.shape).astype(np.float32)
    found = find_defocus(noise, wrong, refined, **sizes)
    assert found.offset_angst.std() < ERROR_ANGST
    assert np.abs(found.offset_angst).max() < 3000.0
