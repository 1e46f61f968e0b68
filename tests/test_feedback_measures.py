"""What the early feedback measures: mass, extents, contact, similarity of views, spheres."""

import numpy as np
import pytest
from feedback_synthetic import ANYWHERE, BOX, PIXEL, facts, near, table, views
from scipy import ndimage

from cryosnake.feedback.classes import Classes
from cryosnake.feedback.featureless import SMOOTH, detail
from cryosnake.feedback.measure import measured
from cryosnake.feedback.similarity import similarities, standardised
from cryosnake.feedback.sphere import misfit, radial_profile, shell_projections
from cryosnake.feedback.views import NO_SPHERE, SAME_VIEW, groups

AXIS = np.arange(BOX) - BOX // 2
Y, X = np.meshgrid(AXIS, AXIS, indexing="ij")


def measure(image, mask_diameter_angst=220.0, diameter_angst=120.0):
    return measured(
        image,
        pixel_size_angst=PIXEL,
        diameter_angst=diameter_angst,
        mask_diameter_angst=mask_diameter_angst,
    )


def fields(images):
    scale = {"pixel_size_angst": PIXEL, "long_angst": 165.0, "diameter_angst": 140.0}
    return [standardised(image, measure(image).centre_px, **scale) for image in images]


def test_mass_is_the_same_in_all_views_and_half_in_the_half():
    whole = np.array([measure(image).mass for image in views("proteasome", ANYWHERE)])
    half = np.array([measure(image).mass for image in views("half_proteasome", ANYWHERE)])
    assert whole.std() / whole.mean() < 0.02
    assert half.std() / half.mean() < 0.03
    assert half.mean() / whole.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90])
def test_extents_of_a_drawn_bar(angle_deg):
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    bar = ((np.abs(c * X + s * Y) <= 20) & (np.abs(c * Y - s * X) <= 8)).astype(float)
    found = measure(np.roll(bar, (3, -2), (0, 1)))
    assert found.long_angst == pytest.approx(41 * PIXEL, abs=3 * PIXEL)
    assert found.short_angst == pytest.approx(17 * PIXEL, abs=3 * PIXEL)
    assert found.centre_px == pytest.approx((BOX // 2 + 3, BOX // 2 - 2), abs=0.5)
    assert found.contact == 0.0


def test_contact_is_the_share_of_the_rim_that_is_covered():
    wedge = (np.abs(np.arctan2(Y, X)) < np.pi / 4).astype(float)
    assert measure(wedge).contact == pytest.approx(0.25, abs=0.05)
    assert measure(np.ones((BOX, BOX))).contact == 1.0


def test_nothing_is_measured_on_an_empty_average():
    for empty in (np.zeros((BOX, BOX)), np.full((BOX, BOX), np.nan), -np.ones((BOX, BOX))):
        found = measure(empty)
        assert (found.mass, found.diameter_angst, found.contact) == (0.0, 0.0, 0.0)


def test_similarity_ignores_rotation_shift_and_hand_and_tells_views():
    one, other = views("proteasome", [(10, 60), (0, 0)])
    moved = ndimage.shift(ndimage.rotate(one, 77.0, reshape=False, order=3), (2.3, -1.6), order=3)
    found = similarities(fields([one, one[:, ::-1], one.T, moved, other]))
    assert np.allclose(found, found.T)
    assert np.allclose(np.diag(found), 1.0, atol=0.01)
    assert found[0, :4].min() > 0.95
    assert found[4, :4].max() < SAME_VIEW


def test_groups_take_the_largest_first():
    similarity = np.eye(5)
    similarity[1, [2, 3]] = similarity[[2, 3], 1] = 0.9
    found = groups(similarity, np.array([0.3, 0.2, 0.2, 0.2, 0.1]))
    assert [list(members) for members in found] == [[1, 2, 3], [0], [4]]


def test_shells_add_up_to_a_ball():
    found = shell_projections(30)[:, :21].sum(1)
    expected = 2 * np.sqrt(np.clip(20.5**2 - np.arange(30.0) ** 2, 0, None))
    assert np.abs(found - expected)[:18].max() < 0.2
    assert np.all(found[22:] == 0)


def test_only_what_is_seen_from_everywhere_is_a_sphere():
    def of(images):
        return misfit(np.mean([radial_profile(i, (BOX / 2, BOX / 2), 28) for i in images], 0))

    r = np.hypot(Y, X)
    shell = np.sqrt(np.clip(16.0**2 - r**2, 0, None)) - np.sqrt(np.clip(12.0**2 - r**2, 0, None))
    ring = ((r > 8) & (r < 14)).astype(float)
    assert of([shell]) < NO_SPHERE / 2
    assert of([ring]) > 0.3
    assert of(views("proteasome", ANYWHERE)) < NO_SPHERE / 2
    assert of(views("proteasome", near(0, 0, 6))) > NO_SPHERE
    assert misfit(np.zeros(10)) == 0.0


def test_detail_tells_discs_from_proteins():
    def details(species):
        images = views(species, ANYWHERE)
        classes = Classes.of(images, table(12), **facts(), subject="-", evidence="-")
        return [detail(i, m, PIXEL) for i, m in zip(images, classes.measures, strict=True)]

    assert np.median(details("nanodisc")) < SMOOTH
    assert np.mean(np.array(details("proteasome")) > SMOOTH) > 0.8
