"""Which classes are kept: threshold, population, overrides, scores from elsewhere, decisions."""

import numpy as np
import pytest
from test_assessment import SIZE, drawn, table

from cryosnake.assessment import Override, assess, decisions, read_overrides
from cryosnake.errors import BadInputError
from cryosnake.tables import read_table, write_star

KINDS = ["particle", "particle", "edge", "particle"]
POPULATION = [300, 40, 100, 200]


def images() -> np.ndarray:
    return np.stack([drawn(kind, seed=i) for i, kind in enumerate(KINDS)])


def rows():
    return table(4, csnClassPopulation=POPULATION)


def kept(found) -> list[int]:
    return found["csnClassKept"].tolist()


def test_columns_are_those_of_classes_star(tmp_path):
    found = assess(images(), rows(), **SIZE)
    assert kept(found) == [1, 1, 0, 1]
    assert found["csnClassReason"].tolist() == ["kept", "kept", "label", "kept"]
    scores = found.filter(like="csnClassScore")
    assert scores.shape[1] == 4
    assert scores.sum(axis=1).tolist() == pytest.approx([1.0] * 4)
    write_star(tmp_path / "classes.star", {"classes": found})
    again = read_table(tmp_path / "classes.star", "classes")
    assert again["csnClassLabel"].tolist() == found["csnClassLabel"].tolist()
    assert again.columns.tolist() == found.columns.tolist()


def test_only_the_most_populated():
    found = assess(images(), rows(), most_populated=3, **SIZE)
    assert kept(found) == [1, 0, 0, 1]
    assert found["csnClassReason"].tolist() == ["kept", "population", "label", "kept"]
    assert found["csnClassLabel"].tolist()[1] == "good"
    # the edge counts among the most populated: it is the third
    assert kept(assess(images(), rows(), most_populated=2, **SIZE)) == [1, 0, 0, 1]
    assert kept(assess(images(), rows(), most_populated=1, **SIZE)) == [1, 0, 0, 0]


def test_threshold():
    scores = np.array([0.9, 0.45, 0.2, 0.7])
    assert kept(assess(images(), rows(), scores=scores, **SIZE)) == [1, 0, 0, 1]
    assert kept(assess(images(), rows(), scores=scores, good_threshold=0.4, **SIZE)) == [1, 1, 0, 1]
    assert kept(assess(images(), rows(), scores=scores, good_threshold=0.8, **SIZE)) == [1, 0, 0, 0]


def test_scores_from_elsewhere():
    found = assess(images(), rows(), scores=np.array([0.9, 0.1, 0.2, 0.7]), **SIZE)
    assert found["csnClassScore"].tolist() == pytest.approx([0.9, 0.1, 0.2, 0.7])
    assert found["csnClassLabel"].tolist()[2] == "edge"
    assert found["csnClassLabel"].tolist()[1] != "good"
    assert found.filter(like="csnClassScore").sum(axis=1).tolist() == pytest.approx([1.0] * 4)
    every = np.array([[0.1, 0.8, 0.05, 0.05]] * 4)
    assert set(assess(images(), rows(), scores=every, **SIZE)["csnClassLabel"]) == {"clip"}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.full(3, 0.5), r"shape \(3,\)"),
        (np.full((4, 3), 0.3), r"shape \(4, 3\)"),
        (np.full(4, 1.5), "no probabilities"),
        (np.full(4, np.nan), "no probabilities"),
        (np.full((4, 4), 0.5), "add up to 1"),
    ],
)
def test_scores_that_are_none(scores, message):
    with pytest.raises(BadInputError, match=message):
        assess(images(), rows(), scores=scores, **SIZE)


def test_classes_without_particles_are_noise():
    found = assess(images(), table(4, csnClassPopulation=[300, 0, 100, 200]), **SIZE)
    assert found["csnClassLabel"].tolist()[1] == "noise"
    assert kept(found) == [1, 0, 0, 1]


def overrides_file(tmp_path, text: str):
    path = tmp_path / "overrides.csv"
    path.write_text(text)
    return path


GOOD_FILE = """round,class,label,note
# seen on Monday
25000,1,noise,"ice, not protein"

*,3,good
*,1,edge
50000,2,clip
"""


def test_overrides_win_and_are_recorded(tmp_path):
    path = overrides_file(tmp_path, GOOD_FILE)
    overrides = read_overrides(path, 25000)
    assert overrides == {
        1: Override("noise", "ice, not protein", f"{path}:3"),
        3: Override("good", "", f"{path}:5"),
    }
    found = assess(images(), rows(), overrides=overrides, most_populated=2, **SIZE)
    plain = assess(images(), rows(), **SIZE)
    assert found["csnClassLabel"].tolist()[:3] == ["noise", "good", "good"]
    assert kept(found) == [0, 0, 1, 1]
    assert found["csnClassReason"].tolist() == ["override", "population", "override", "kept"]
    assert found["csnClassScore"].tolist() == plain["csnClassScore"].tolist()
    told = decisions(found, subject="class2d/25000", overrides=overrides)
    assert [d.subject for d in told if d.subject.count("class ")] == [
        "class2d/25000 class 1",
        "class2d/25000 class 3",
    ]
    by_hand = told[1]
    assert by_hand.verdict == "info"
    assert "noise by hand" in by_hand.value
    assert "300 particles" in by_hand.value
    assert by_hand.evidence == f"{path}:3 ice, not protein"


def test_overrides_of_other_rounds(tmp_path):
    path = overrides_file(tmp_path, GOOD_FILE)
    assert {k: o.label for k, o in read_overrides(path, 50000).items()} == {
        1: "edge",
        2: "clip",
        3: "good",
    }
    assert {k: o.label for k, o in read_overrides(path, 100).items()} == {1: "edge", 3: "good"}


def test_no_overrides(tmp_path):
    assert read_overrides(tmp_path / "none.csv", 25000) == {}
    assert read_overrides(overrides_file(tmp_path, "\n# nothing yet\n"), 25000) == {}
    assert read_overrides(overrides_file(tmp_path, "round,class,label\n"), 25000) == {}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("class,label\n1,good\n", 1, "begins with 'class,label'; expected round,class,label"),
        ("round,class,label\n25000,1,nice\n", 2, "label = 'nice'; expected one of good, clip"),
        ("round,class,label\n\n25000,zero,good\n", 3, "class = 'zero'; expected a class number"),
        ("round,class,label\n25000,0,good\n", 2, "class = '0'"),
        ("round,class,label\n25k,1,good\n", 2, "round = '25k'; expected the round's number"),
        ("round,class,label\n25000,1\n", 2, "has 2 values"),
        ("round,class,label\n25000,1,good,why\n", 2, "has 4 values; expected 3"),
        ("round,class,label\n*,1,good\n*,1,edge\n", 3, "class 1 is named again"),
        # lines of other rounds are checked as well: they are of use later
        ("round,class,label\n50000,1,nice\n", 2, "label = 'nice'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, line, message):
    path = overrides_file(tmp_path, text)
    with pytest.raises(BadInputError) as caught:
        read_overrides(path, 25000)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "overrides.csv"
    path.write_bytes(b"\xff\xfe\x00round")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_overrides(path, 25000)


def test_an_override_of_a_class_that_does_not_exist(tmp_path):
    path = overrides_file(tmp_path, "round,class,label\n*,5,good\n")
    with pytest.raises(BadInputError, match=r"overrides.csv:2: class = 5; expected 1 to 4"):
        assess(images(), rows(), overrides=read_overrides(path, 25000), **SIZE)


def test_decisions():
    found = assess(images(), rows(), scores=np.array([0.95, 0.52, 0.1, 0.4]), **SIZE)
    told = decisions(found, subject="class2d/25000")
    assert [d.rule for d in told] == ["class2d"] * 3
    assert told[0].subject == "class2d/25000"
    assert told[0].verdict == "info"
    assert told[0].value == "2 of 4 classes kept with 340 of 640 particles (53.1 %)"
    assert told[0].evidence.startswith("2 good")
    assert [(d.subject, d.verdict) for d in told[1:]] == [
        ("class2d/25000 class 2", "unsure"),
        ("class2d/25000 class 4", "unsure"),
    ]
    assert "0.52" in told[1].value
    assert told[1].confidence == pytest.approx(0.52)
    assert told[2].confidence == pytest.approx(0.6)
    # a score near the threshold matters only where there are particles
    few = found.assign(csnClassPopulation=[3000, 40, 100, 2000])
    assert [d.subject for d in decisions(few, subject="r")[1:]] == ["r class 4"]


def test_few_kept_particles_are_a_warning():
    found = assess(images(), rows(), scores=np.array([0.1, 0.95, 0.1, 0.1]), **SIZE)
    told = decisions(found, subject="class2d/25000")
    assert told[0].verdict == "warn"
    assert "40 of 640" in told[0].value
    assert decisions(found, subject="r", least_kept_share=0.05)[0].verdict == "info"
