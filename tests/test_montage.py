"""The picture of 2D classes: order, colours, and sizes, whatever the classes."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cryosnake.assessment import montage
from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.montage import draw_montage, drawing_order, grey_levels
from cryosnake.assessment.montage_sheet import LABEL_COLOURS, frame_colour
from cryosnake.images import write_png

PIXEL_ANGST, DIAMETER_ANGST, BOX_PX = 4.0, 190.0, 64


def classes_of(population, labels=None, kept=None, resolution=10.0, reason=None):
    labels = labels or ["good"] * len(population)
    kept = [label == "good" for label in labels] if kept is None else kept
    return pd.DataFrame(
        {
            "csnClassPopulation": population,
            "csnClassLabel": labels,
            "csnClassKept": np.array(kept, int),
            "rlnEstimatedResolution": resolution,
            "csnClassReason": reason or "kept",
        }
    )


def noise(number, *, box_px=BOX_PX, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (number, box_px, box_px)).astype(np.float32)


def drawn(averages, classes, *, diameter_angst=DIAMETER_ANGST, title="Round of 25,000 particles"):
    """The picture as it is seen: row 0 at the top."""
    picture = draw_montage(
        averages,
        classes,
        pixel_size_angst=PIXEL_ANGST,
        diameter_angst=diameter_angst,
        title=title,
    )
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1140, 3)
    return picture[::-1]


def frames(picture):
    """(top, left, colour) of each frame, in the order of reading: a frame has two full corners."""
    found = []
    for label in LABELS:
        for kept in (True, False):
            colour = frame_colour(label, kept)
            mask = (picture == colour).all(axis=2)
            # the upper left corner: coloured here, not above, not to the left, and wide
            corner = mask.copy()
            corner[1:] &= ~mask[:-1]
            corner[:, 1:] &= ~mask[:, :-1]
            for top, left in zip(*np.nonzero(corner), strict=True):
                if mask[top, left : left + 40].all() and mask[top : top + 40, left].all():
                    found.append((int(top), int(left), label, kept))
    return sorted(found)


def test_kept_ones_come_first_and_then_the_large_ones():
    classes = classes_of(
        [5, 900, 40, 40, 300, 7000], ["good", "noise", "good", "good", "edge", "clip"]
    )
    assert drawing_order(classes).tolist() == [2, 3, 0, 5, 1, 4]
    found = frames(drawn(noise(6), classes))
    assert [(label, kept) for *_, label, kept in found] == [
        *[("good", True)] * 3,
        ("clip", False),
        ("noise", False),
        ("edge", False),
    ]
    tops = [top for top, *_ in found]
    assert len(set(tops[:3])) == len(set(tops[3:])) == 1
    assert tops[3] > tops[0] + 100  # what is left out begins a line of its own


def test_a_class_left_out_by_hand_or_kept_by_hand_has_the_frame_of_its_label():
    classes = classes_of(
        [90, 80], ["good", "noise"], kept=[False, True], reason=["population", "override"]
    )
    found = frames(drawn(noise(2), classes))
    assert [(label, kept) for *_, label, kept in found] == [("noise", True), ("good", False)]


def test_averages_stand_upright_on_their_places():
    """A bright lower half in MRC's rows is below in the picture; the largest class is first."""
    averages = np.zeros((2, BOX_PX, BOX_PX), np.float32)
    averages[0, : BOX_PX // 2] = 1.0  # row 0 is the bottom
    averages[1, :, : BOX_PX // 2] = 1.0
    picture = drawn(averages, classes_of([10, 20]))
    (top, left, *_), (_, other, *_) = frames(picture)
    side = int((picture[top, left : left + 300] == picture[top, left]).all(axis=1).argmin())
    middle, quarter = side // 2, side // 4
    first, second = picture[top:, left:, 0], picture[top:, other:, 0]
    assert first[middle, quarter] > 200
    assert first[middle, 3 * quarter] < 60
    assert second[3 * quarter, middle] > 200
    assert second[quarter, middle] < 60


def test_what_is_left_out_is_dimmed():
    average = noise(1)
    kept = drawn(average, classes_of([10]))
    left_out = drawn(average, classes_of([10], kept=[False]))
    (top, left, *_), (other, _, *_) = *frames(kept), *frames(left_out)
    bright = kept[top + 30 : top + 150, left + 30 : left + 150]
    dim = left_out[other + 30 : other + 150, left + 30 : left + 150]
    assert dim.max() < 0.65 * bright.max()
    assert dim.std() < 0.65 * bright.std()
    assert dim.std() > 10  # still to be seen


def test_few_colours_survive_the_small_png(tmp_path):
    """`write_png` keeps 48 colours: the picture has no more, so that none changes."""
    labels = [LABELS[i % 4] for i in range(40)]
    kept = [i % 3 > 0 for i in range(40)]
    picture = drawn(noise(40), classes_of(np.arange(40) + 1, labels, kept=kept))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 48
    write_png(tmp_path / "montage.png", picture[::-1])
    with Image.open(tmp_path / "montage.png") as png:
        assert np.array_equal(np.asarray(png.convert("RGB")), picture)
    assert {(label, kept) for *_, label, kept in frames(picture)} == {
        (label, flag) for label in LABELS for flag in (True, False)
    }


@pytest.mark.parametrize("number", [1, 2, 8, 50, 100])
def test_every_class_is_drawn_within_the_picture(number):
    found = frames(drawn(noise(number), classes_of(np.arange(number)[::-1] + 1)))
    assert len(found) == number
    columns = len({left for _, left, *_ in found})
    assert (5 if number > 5 else number) <= columns <= 10
    right = max(left for _, left, *_ in found)
    assert right < 1140 - 90


def test_very_many_classes_are_counted_not_drawn(tmp_path, monkeypatch):
    words = []
    plain = montage.Sheet.text

    def listening(sheet, place, text, font, **options):
        words.append(text)
        plain(sheet, place, text, font, **options)

    monkeypatch.setattr(montage.Sheet, "text", listening)
    picture = drawn(noise(700, box_px=24), classes_of(np.arange(700) + 1))
    assert len(frames(picture)) == montage.MOST_DRAWN
    assert any(f"the last {700 - montage.MOST_DRAWN} are not drawn" in text for text in words)
    assert "700 classes kept: 245,350 particles, 100.0 %" in " ".join(words)
    assert "700" in words
    assert "1" not in words
    write_png(tmp_path / "montage.png", picture[::-1])
    assert (tmp_path / "montage.png").stat().st_size < 1_500_000


def test_a_hundred_classes_are_quick_and_small(tmp_path):
    averages, classes = noise(100, box_px=128), classes_of(np.arange(100) + 1)
    start = time.process_time()
    picture = drawn(averages, classes)
    assert time.process_time() - start < 2.0
    write_png(tmp_path / "montage.png", picture[::-1])  # white noise: the worst case
    assert (tmp_path / "montage.png").stat().st_size < 1_500_000


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ((1868, 7.53, "good", "kept"), ("1,868 · 18.7 %", "7.5 Å", "good")),
        ((0, 999.0, "noise", "label"), ("0 · 0.0 %", "–", "noise")),
        ((1, np.nan, "edge", "label"), ("1 · <0.1 %", "–", "edge")),
        ((10000, np.inf, "clip", "override"), ("10,000 · 100.0 %", "–", "by hand")),
    ],
)
def test_captions(row, caption):
    population, resolution, label, reason = row
    found = montage._caption(
        {
            "csnClassPopulation": population,
            "rlnEstimatedResolution": resolution,
            "csnClassLabel": label,
            "csnClassReason": reason,
        },
        10000,
    )
    assert found == caption


def test_what_cannot_be_measured_is_drawn_all_the_same():
    averages = noise(4)
    averages[0] = np.nan
    averages[1] = 0.0
    averages[2, 5, 5] = np.inf
    classes = classes_of([0, 0, 0, 0], resolution=[999.0, np.nan, np.inf, 0.0])
    assert len(frames(drawn(averages, classes, title="t" * 500))) == 4
    assert len(frames(drawn(averages, classes, diameter_angst=10_000.0, title=""))) == 4
    assert len(frames(drawn(averages, classes, diameter_angst=1.0))) == 4
    odd = classes.assign(csnClassLabel="unheard of", csnClassKept=0)
    assert [label for *_, label, _ in frames(drawn(averages, odd))] == ["noise"] * 4


def test_grey_levels_come_from_within_the_circle():
    average = noise(1)[0]
    y, x = np.indices(average.shape) - BOX_PX // 2
    outside = np.hypot(x, y) > 0.5 * DIAMETER_ANGST / PIXEL_ANGST
    settings = {
        "pixel_size_angst": PIXEL_ANGST,
        "diameter_angst": DIAMETER_ANGST,
        "side_px": 52,  # the pixels of the average that are shown
    }
    plain = grey_levels(average, **settings)
    average[outside] *= 100
    spoilt = grey_levels(average, **settings)
    middle = slice(10, 42)
    assert np.array_equal(plain[middle, middle], spoilt[middle, middle])
    assert grey_levels(7.0 + 3.0 * average, **settings) == pytest.approx(spoilt, abs=1)
    assert plain[middle, middle].min() < 20
    assert plain[middle, middle].max() > 235
    assert (grey_levels(np.full((64, 64), 3.0), **settings) == 128).all()


def test_one_scale_bar_of_a_round_length(monkeypatch):
    bars, words = [], []
    monkeypatch.setattr(montage.Sheet, "bar", lambda sheet, box: bars.append(box))
    plain = montage.Sheet.text
    monkeypatch.setattr(
        montage.Sheet,
        "text",
        lambda sheet, place, text, font, **o: (words.append(text), plain(sheet, place, text, font)),
    )
    drawn(noise(8), classes_of(np.arange(8) + 1))
    ((left, _, right, _),) = bars
    (length,) = [float(text[:-2]) for text in words if re.fullmatch(r"[\d.]+ Å", text)][:1]
    shown_angst = 52 * PIXEL_ANGST  # 1.08 diameters, an even number of pixels
    assert length == 100
    assert (right - left) / 206 == pytest.approx(length / shown_angst, abs=0.01)


def test_classes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 64, 64\) does not fit 2 classes"):
        drawn(noise(3), classes_of([1, 2]))
    with pytest.raises(ValueError, match="does not fit 0 classes"):
        drawn(noise(0), classes_of([]))
    with pytest.raises(ValueError, match="does not fit 64"):
        drawn(noise(1)[0], classes_of(np.arange(64)))


def test_the_report_has_the_same_colours():
    style = (Path(montage.__file__).parents[1] / "report" / "style.css").read_text()
    for label, colour in LABEL_COLOURS.items():
        assert re.search(rf"\.l-{label}\b[^{{]*{{ --colour: {colour}; }}", style), label
