"""The rules of the early feedback, on averages whose truth is known."""

import numpy as np
import pytest
from feedback_synthetic import ANYWHERE, BOX, PIXEL, facts, near, table, views
from scipy import ndimage

from cryosnake.errors import BadInputError
from cryosnake.feedback import RULES, structural_feedback
from cryosnake.feedback.classes import graded

Y, X = np.mgrid[:BOX, :BOX] - BOX // 2


def feedback(images, rows=None, **changed):
    """Decisions by rule."""
    rows = table(len(images)) if rows is None else rows
    found = structural_feedback(np.asarray(images), rows, **facts(**changed))
    assert tuple(d.rule for d in found) == RULES
    return {d.rule: d for d in found}


def verdicts(found):
    return {rule: decision.verdict for rule, decision in found.items()}


@pytest.fixture(scope="module")
def clean():
    return views("proteasome", ANYWHERE)


def test_nothing_is_raised_on_views_from_everywhere(clean):
    assert set(verdicts(feedback(clean)).values()) == {"pass"}


def test_nothing_is_raised_on_the_half_either():
    half = {"diameter_angst": 118.0, "long_axis_angst": 120.0, "short_axis_angst": 85.0}
    found = feedback(views("half_proteasome", ANYWHERE), **half, mask_diameter_angst=140.0)
    assert set(verdicts(found).values()) == {"pass"}


@pytest.mark.parametrize("direction", [(0, 0), (0, 90), (25, 45)])
def test_one_view_is_raised(clean, direction):
    images = [*views("proteasome", near(*direction, 10)), *clean[5:7]]
    found = feedback(images)["views"]
    assert found.verdict == "warn"
    assert found.confidence > 0.5
    assert float(found.value.split("%")[0]) >= 75


def test_a_sphere_is_not_raised_but_cannot_be_told():
    r = np.hypot(Y, X)
    shell = np.sqrt(np.clip(18.0**2 - r**2, 0, None)) - np.sqrt(np.clip(12.0**2 - r**2, 0, None))
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(0, 1.0, (12, BOX, BOX)), (0, 1, 1))
    size = {"diameter_angst": 144.0, "long_axis_angst": 146.0, "short_axis_angst": 142.0}
    found = feedback(shell + noise, **size, mask_diameter_angst=170.0)
    assert found["views"].verdict == "info"
    assert "2D cannot tell" in found["views"].evidence
    assert "warn" not in verdicts(found).values()
    size["short_axis_angst"] = 90.0
    found = feedback(shell + noise, **size, mask_diameter_angst=170.0)
    assert found["views"].verdict == "warn"
    assert "measured axes are 1 to 1.62" in found["views"].evidence


def test_unlike_rings_are_suspected_as_nothing_seen_from_everywhere_is_one():
    r, angle = np.hypot(Y, X), np.arctan2(Y, X)
    ring = np.exp(-((r - 14) ** 2) / (2 * 2.5**2))
    images = [ring * (1 + 0.8 * np.cos(m * angle)) for m in (2, 3, 4, 5, 6, 7, 8, 9)]
    found = feedback(images)["views"]
    assert found.verdict == "unsure"
    assert "cannot come from anything" in found.evidence


def test_round_views_of_something_longer_are_raised():
    discs = [np.hypot(Y, X) < r for r in (14, 14.5, 15) * 3]
    bars = [(np.abs(X) < 24) & (np.abs(Y) < 7)]
    images = ndimage.gaussian_filter(np.array(discs + bars, float), (0, 1.5, 1.5))
    found = feedback(images)["views"]
    assert found.verdict == "warn"
    assert "other averages of the same mass are" in found.evidence


def test_blurred_averages_are_not_said_to_be_one_view():
    images = [ndimage.gaussian_filter(i, 4.0) for i in views("proteasome", near(0, 90, 12))]
    found = feedback(images, table(12, resolution_angst=45.0))["views"]
    assert found.verdict == "info"
    assert "look alike" in found.evidence


def test_two_species_are_raised_and_weighed(clean):
    found = feedback([*clean[:8], *views("half_proteasome", ANYWHERE[:4])])["species"]
    assert found.verdict == "warn"
    assert found.value.startswith("33%")
    assert "at 0.5" in found.evidence


@pytest.mark.parametrize(("population", "verdict"), [(40, "pass"), (70, "unsure"), (150, "warn")])
def test_species_are_judged_by_their_share(clean, population, verdict):
    rows = table(12)
    rows["csnClassPopulation"] = [population, *[100] * 11]
    images = [*views("half_proteasome", ANYWHERE[:1]), *clean[1:]]
    assert feedback(images, rows)["species"].verdict == verdict


def test_pieces_are_raised(clean):
    blob = clean.max() * np.exp(-(Y**2 + X**2) / (2 * 4.0**2))
    found = feedback([*clean[:9], blob, blob, blob])
    assert found["fragments"].verdict == "warn"
    assert found["fragments"].value.startswith("25%")


def test_the_ends_of_rods_are_no_pieces(clean):
    lengths = np.array([6.0, 6, 9, 12, 15, 15, 16, 16, 16, 16])[:, None, None]
    rods = np.exp(-(X**2) / (2 * 3.0**2) - Y**2 / (2 * lengths**2)) / lengths
    found = feedback(rods)
    assert found["fragments"].verdict == "pass"
    assert found["species"].verdict == "pass"


def test_neighbours_are_raised_as_clumps_and_not_as_a_small_mask(clean):
    pairs = [
        np.roll(i, 19, 0) + np.roll(j, -19, 0) for i, j in zip(clean, clean[::-1], strict=True)
    ]
    rows = table(12, label=["clip"] * 5 + ["good"] * 7)
    found = feedback([*pairs[:5], *clean[5:]], rows)
    assert found["fragments"].verdict == "warn"
    assert found["mask_edge"].verdict == "pass"
    found = feedback([*pairs[:1], *clean[1:]], table(12, label=["clip"] + ["good"] * 11))
    assert found["fragments"].verdict == "pass"


@pytest.mark.parametrize("label", ["good", "clip"])
def test_a_small_mask_is_raised_with_what_is_needed(clean, label):
    size = {"diameter_angst": 95.0, "long_axis_angst": 105.0, "short_axis_angst": 76.0}
    found = feedback(_masked(clean, 116.0), table(12, label=label), **size, mask_diameter_angst=116)
    assert found["mask_edge"].verdict == "warn"
    assert "how far the density goes on cannot be seen" in found["mask_edge"].evidence
    found = feedback(_masked(clean, 116.0), table(12, label=label), mask_diameter_angst=116.0)
    assert (
        "a mask of 182 A is needed, and the box of 256 A is enough" in found["mask_edge"].evidence
    )
    assert found["species"].verdict == "info"


def test_a_small_box_is_raised(clean):
    cut = slice(BOX // 2 - 16, BOX // 2 + 16)
    found = feedback(_masked(clean, 118.0)[:, cut, cut], mask_diameter_angst=118.0)["mask_edge"]
    assert found.verdict == "warn"
    assert "the box of 128 A is too small" in found.evidence


def _masked(images, diameter_angst):
    return images * (np.hypot(Y, X) * PIXEL < diameter_angst / 2 + 4)


@pytest.mark.parametrize(("factor", "verdict"), [(0.7, "warn"), (1.0, "pass"), (1.5, "warn")])
def test_a_wrong_size_is_contradicted(clean, factor, verdict):
    known = facts()
    size = {n: factor * known[n] for n in ("diameter_angst", "long_axis_angst", "short_axis_angst")}
    found = feedback(clean, **size, mask_diameter_angst=230.0)["size_contradiction"]
    assert found.verdict == verdict
    assert f"is {165 * factor:.0f} A" in found.value


def test_empty_discs_are_raised_and_one_ring_is_only_suspected():
    discs = views("nanodisc", ANYWHERE)
    found = structural_feedback(discs, table(12), **facts("nanodisc"))
    assert {d.rule: d.verdict for d in found}["featureless"] == "warn"
    found = structural_feedback(
        views("nanodisc", near(0, 0, 12, 3)), table(12), **facts("nanodisc")
    )
    assert {d.rule: d.verdict for d in found}["featureless"] == "unsure"


def test_empty_discs_among_proteins_are_raised(clean):
    found = feedback([*clean[:7], *views("nanodisc", ANYWHERE[:5])])
    assert found["featureless"].verdict == "warn"
    assert "light" in found["featureless"].value


def test_rotations_mirrors_and_order_change_nothing(clean):
    images = np.array([*clean[:8], *views("half_proteasome", ANYWHERE[:4])])
    rows = table(12)
    rows["csnClassPopulation"] = 60 + 10 * np.arange(12)
    known = feedback(images, rows)
    order = np.random.default_rng(2).permutation(12)
    permuted = feedback(images[order], rows.iloc[order].reset_index(drop=True))
    # The centre of an even box is pixel n / 2: transposing keeps it, mirroring needs a roll.
    turned = feedback(np.roll(np.swapaxes(images, 1, 2)[:, :, ::-1], 1, 2), rows)
    for rule in RULES:
        for other in (permuted[rule], turned[rule]):
            assert other.verdict == known[rule].verdict
            assert other.confidence == pytest.approx(known[rule].confidence, abs=0.05)
        assert permuted[rule].value == known[rule].value


@pytest.mark.parametrize("rows", [table(12, population=33), table(12, population=40)])
def test_small_sets_raise_no_alarm(clean, rows):
    sets = [
        views("proteasome", near(0, 0, 12)),
        _masked(clean, 116.0),
        [*clean[:8], *views("half_proteasome", ANYWHERE[:4])],
    ]
    for images in sets:
        found = feedback(images, rows, mask_diameter_angst=116.0)
        assert not {"warn", "pass"} & set(verdicts(found).values())
        assert all(d.confidence <= 0.3 for d in found.values())
        assert "too little to tell" in found["views"].evidence


def test_few_classes_or_none():
    empty = feedback(np.zeros((0, BOX, BOX)), table(0))
    assert set(verdicts(empty).values()) == {"info"}
    one = feedback(views("proteasome", [(0, 0)]), table(1, population=5000))
    assert "warn" not in verdicts(one).values()
    noise = feedback(views("proteasome", ANYWHERE), table(12, label="noise"))
    assert set(verdicts(noise).values()) == {"info"}
    assert noise["views"].evidence.startswith("no class average to look at")


def test_a_hundred_small_classes_count_and_unresolved_ones_do_not(clean):
    images = np.concatenate([clean] * 8)
    rows = table(96, population=60)
    assert "96 good classes" in feedback(images, rows)["views"].evidence
    rows.loc[:35, "rlnEstimatedResolution"] = 999.0
    assert "60 good classes" in feedback(images, rows)["views"].evidence
    rows.loc[40:49, "csnClassPopulation"] = 10
    assert "50 good classes" in feedback(images, rows)["views"].evidence


def test_averages_without_numbers_are_left_out(clean):
    images = clean.copy()
    images[4] = np.nan
    images[7] = 0.0
    assert set(verdicts(feedback(images)).values()) == {"pass"}


def test_subject_and_picture_are_kept(clean):
    found = structural_feedback(
        clean, table(12), **facts(), subject="class2d 25000", evidence="montage.png"
    )
    assert {d.subject for d in found} == {"class2d 25000"}
    assert all(d.evidence.startswith("montage.png: ") for d in found)


def test_bad_input_is_named(clean):
    with pytest.raises(BadInputError, match="csnClassKept"):
        feedback(clean, table(12).drop(columns="csnClassKept"))
    with pytest.raises(BadInputError, match="11 rows for 12 class averages"):
        feedback(clean, table(11))
    with pytest.raises(BadInputError, match="mask_diameter_angst = 0"):
        feedback(clean, mask_diameter_angst=0)


def test_grades_grow_with_the_distance_from_the_thresholds():
    assert graded(0.0, 0.2, 0.4) == ("clear", 0.95)
    assert graded(0.3, 0.2, 0.4)[0] == "suspicion"
    assert graded(0.4, 0.2, 0.4) == ("alarm", 0.5)
    assert graded(0.9, 0.2, 0.4)[1] > graded(0.5, 0.2, 0.4)[1] > 0.5
