"""Consensus of pickers: the choice of cliques, what agreement tells, and what it must not do."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from cryosnake.errors import BadInputError
from cryosnake.picking.agreement import agreement
from cryosnake.picking.chance import meeting
from cryosnake.picking.cliques import choose, find_cliques, tidy
from cryosnake.picking.consensus import COLUMNS, consensus
from cryosnake.picking.reliability import estimate_reliability
from cryosnake.picking.thresholds import certain_threshold, f1_threshold

RADIUS_PX = 40.0
SIDE_PX = 4000.0


def table(positions, scores=None) -> pd.DataFrame:
    positions = np.asarray(positions, float).reshape(-1, 2)
    return pd.DataFrame(
        {
            "rlnCoordinateX": positions[:, 0],
            "rlnCoordinateY": positions[:, 1],
            "rlnAutopickFigureOfMerit": np.ones(len(positions)) if scores is None else scores,
        }
    )


def spread(rng: np.random.Generator, number: int, apart_px: float) -> np.ndarray:
    """(number, 2) positions that are mutually apart."""
    kept = np.empty((0, 2))
    while len(kept) < number:
        one = rng.uniform(50, SIDE_PX - 50, 2)
        if not len(kept) or np.hypot(*(kept - one).T).min() > apart_px:
            kept = np.vstack([kept, one])
    return kept


def picker(
    rng: np.random.Generator, truth: np.ndarray, recall: float, precision: float, graded: bool
) -> pd.DataFrame:
    """A picker of known recall and precision; graded: its scores tell right from wrong a little."""
    hits = truth[rng.random(len(truth)) < recall] + 0.0
    hits += rng.normal(0, 6, hits.shape)
    wrong = rng.uniform(50, SIDE_PX - 50, (round(len(hits) * (1 - precision) / precision), 2))
    near, _ = cKDTree(truth).query(wrong)
    wrong = wrong[near > RADIUS_PX]
    scores = rng.normal(0, 1, len(hits) + len(wrong))
    scores[: len(hits)] += 1.5 * graded
    return table(np.concatenate([hits, wrong]), scores)


def f1(result: pd.DataFrame, truth: np.ndarray) -> float:
    spots = result[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
    near, which = cKDTree(truth).query(spots, distance_upper_bound=RADIUS_PX)
    return 2 * len(np.unique(which[np.isfinite(near)])) / (len(spots) + len(truth))


KNOWN = {"sharp": (0.9, 0.9, True), "eager": (0.8, 0.65, True), "lazy": (0.35, 0.75, False)}


@pytest.fixture(scope="module")
def simulated() -> tuple[list[np.ndarray], list[dict[str, pd.DataFrame]]]:
    rng = np.random.default_rng(5)
    truths = [spread(rng, 300, 70) for _ in range(5)]
    return truths, [{name: picker(rng, t, *KNOWN[name]) for name in KNOWN} for t in truths]


def scattered(rng: np.random.Generator, like: pd.DataFrame) -> pd.DataFrame:
    return table(rng.uniform(50, SIDE_PX - 50, (len(like), 2)), like["rlnAutopickFigureOfMerit"])


# What the agreement tells


def test_precision_and_recall_are_found_without_truth(simulated):
    _, micrographs = simulated
    reliability = estimate_reliability(micrographs, RADIUS_PX)
    assert reliability.failed == []
    for name, (recall, precision, _) in KNOWN.items():
        found = reliability.pickers[name]
        assert found.precision == pytest.approx(precision, abs=0.08), name
        assert found.recall == pytest.approx(recall, abs=0.08), name
    assert reliability.particles == pytest.approx(300, rel=0.1)


def test_consensus_is_better_than_the_best_picker_and_probabilities_hold(simulated):
    truths, micrographs = simulated
    reliability = estimate_reliability(micrographs, RADIUS_PX)
    results = [consensus(one, RADIUS_PX, reliability=reliability) for one in micrographs]
    best = np.mean([f1(one["sharp"], t) for one, t in zip(micrographs, truths, strict=True)])
    assert np.mean([f1(r, t) for r, t in zip(results, truths, strict=True)]) > best + 0.01
    every = [
        consensus(one, RADIUS_PX, reliability=reliability, min_probability=0.0)
        for one in micrographs
    ]
    promised = sum(one["rlnAutopickFigureOfMerit"].sum() for one in every)
    hits = sum(
        (cKDTree(t).query(one[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy())[0] < 20).sum()
        for one, t in zip(every, truths, strict=True)
    )
    assert promised == pytest.approx(hits, rel=0.08)


@pytest.mark.parametrize("name", list(KNOWN))
def test_points_at_random_are_named_and_change_nothing(simulated, name):
    _, micrographs = simulated
    rng = np.random.default_rng(9)
    bad = [{**one, name: scattered(rng, one[name])} for one in micrographs]
    reliability = estimate_reliability(bad, RADIUS_PX)
    assert reliability.failed == [name]
    assert reliability.pickers[name].status == "chance"
    rest = [{key: one[key] for key in one if key != name} for one in micrographs]
    alone = estimate_reliability(rest, RADIUS_PX, area_px2=reliability.sites * np.pi * RADIUS_PX**2)
    for with_bad, good in zip(bad[:2], rest[:2], strict=True):
        pd.testing.assert_frame_equal(
            consensus(with_bad, RADIUS_PX, reliability=reliability),
            consensus(good, RADIUS_PX, reliability=alone),
        )


def test_a_flood_of_picks_is_no_better_than_chance(simulated):
    _, micrographs = simulated
    grid = np.stack(np.meshgrid(*2 * [np.arange(50, SIDE_PX, 45.0)]), axis=-1).reshape(-1, 2)
    bad = [{**one, "eager": table(grid)} for one in micrographs]
    assert estimate_reliability(bad, RADIUS_PX).pickers["eager"].status == "chance"


def test_an_empty_picker_is_named_and_changes_nothing(simulated):
    _, micrographs = simulated
    more = [{**one, "empty": table([])} for one in micrographs]
    reliability = estimate_reliability(more, RADIUS_PX)
    assert reliability.pickers["empty"].status == "empty"
    assert reliability.failed == ["empty"]
    plain = estimate_reliability(micrographs, RADIUS_PX)
    pd.testing.assert_frame_equal(
        consensus(more[0], RADIUS_PX, reliability=reliability),
        consensus(micrographs[0], RADIUS_PX, reliability=plain),
    )


def test_a_picker_that_crashed_on_one_micrograph_does_not_vote_there(simulated):
    truths, micrographs = simulated
    crashed = [{**micrographs[0], "sharp": table([])}, *micrographs[1:]]
    reliability = estimate_reliability(crashed, RADIUS_PX)
    assert reliability.failed == []
    result = consensus(crashed[0], RADIUS_PX, reliability=reliability)
    absent = {key: crashed[0][key] for key in ("eager", "lazy")}
    pd.testing.assert_frame_equal(result, consensus(absent, RADIUS_PX, reliability=reliability))
    assert f1(result, truths[0]) > f1(absent["eager"], truths[0])


def test_where_no_two_agree_nobody_is_accused():
    rng = np.random.default_rng(1)
    three = {name: table(rng.uniform(0, SIDE_PX, (300, 2))) for name in "abc"}
    reliability = estimate_reliability([three], RADIUS_PX)
    assert {one.status for one in reliability.pickers.values()} == {"unknown"}
    assert reliability.failed == []
    assert len(consensus(three, RADIUS_PX, reliability=reliability)) > 0


def test_chance_meetings_are_counted_from_the_density():
    rng = np.random.default_rng(2)
    own, other = rng.uniform(0, SIDE_PX, (2, 1500, 2))
    found = meeting([own], [other], RADIUS_PX, "other")
    expected = 1 - np.exp(-1500 * np.pi * RADIUS_PX**2 / SIDE_PX**2)
    assert found.chance == pytest.approx(expected, abs=0.02)
    assert found.excess == pytest.approx(0, abs=0.05)
    assert not found.beyond_chance


# The choice


def test_choice_is_the_best_of_all():
    """Against trying every subset."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        weights = rng.uniform(-0.3, 1, 9)
        limits = (rng.random((6, 9)) < 0.35).astype(float)
        taken = choose(weights, csr_array(limits))
        assert (limits @ taken <= 1).all()
        every = np.array(list(product([0, 1], repeat=9)))
        allowed = every[(every @ limits.T <= 1).all(axis=1)]
        assert weights @ taken == pytest.approx((allowed @ weights).max())


def test_cliques_are_those_of_all_pairs():
    rng = np.random.default_rng(4)
    points = [rng.uniform(0, 200, (n, 2)) for n in (12, 9, 7)]
    expected = set()
    choices = [[-1, *range(len(one))] for one in points]
    for row in product(*choices):
        members = [points[p][i] for p, i in enumerate(row) if i >= 0]
        if len(members) > 1 and pdist(members).max() <= RADIUS_PX:
            expected.add(row)
    assert {tuple(map(int, row)) for row in find_cliques(points, RADIUS_PX)} == expected
    assert len(expected) > 20


def test_picks_at_the_very_same_place_are_a_clique():
    spot = np.array([[10.0, 20.0]])
    assert find_cliques([spot, spot, spot], RADIUS_PX).tolist() == [
        [-1, 0, 0],
        [0, -1, 0],
        [0, 0, -1],
        [0, 0, 0],
    ]


# Properties

spots = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=14)
three_pickers = st.tuples(spots, spots, spots)


def from_spots(lists) -> dict[str, pd.DataFrame]:
    return {
        name: table(np.array(one, float).reshape(-1, 2), np.arange(len(one), dtype=float))
        for name, one in zip("abc", lists, strict=True)
    }


@settings(max_examples=30, deadline=None)
@given(three_pickers, st.sampled_from(["ilp", "k_of_n", "and", "or"]))
def test_picks_are_used_once_and_results_are_apart(lists, mode):
    picks = from_spots(lists)
    result = consensus(picks, RADIUS_PX, mode=mode)
    assert list(result) == COLUMNS
    spots = result[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
    if len(spots) > 1:
        assert pdist(spots).min() > RADIUS_PX
    assert result["rlnAutopickFigureOfMerit"].between(0, 1).all()
    finders = [by.split("+") for by in result["found_by"]]
    for name, one in picks.items():
        assert sum(name in by for by in finders) <= len(one)
    assert all(len(by) >= {"k_of_n": 2, "and": 3}.get(mode, 1) for by in finders)


@settings(max_examples=20, deadline=None)
@given(three_pickers, st.randoms(use_true_random=False))
def test_the_order_of_picks_and_pickers_does_not_matter(lists, shuffler):
    picks = from_spots(lists)
    turned = {}
    for name in sorted(picks, reverse=True):
        order = list(range(len(picks[name])))
        shuffler.shuffle(order)
        turned[name] = picks[name].iloc[order]
    pd.testing.assert_frame_equal(consensus(picks, RADIUS_PX), consensus(turned, RADIUS_PX))


# Edges


@pytest.mark.parametrize("mode", ["ilp", "k_of_n", "and", "or"])
def test_no_picks_at_all(mode):
    for picks in ({"a": table([]), "b": table([])}, {"a": pd.DataFrame()}):
        result = consensus(picks, RADIUS_PX, mode=mode, k=1)
        assert len(result) == 0
        assert list(result) == COLUMNS
    assert len(consensus({}, RADIUS_PX, mode=mode, k=1)) == 0


def test_one_picker_only_keeps_its_picks_and_promises_nothing():
    picks = {"only": table([[100, 100], [300, 100]])}
    reliability = estimate_reliability([picks], RADIUS_PX)
    assert reliability.pickers["only"].status == "unknown"
    assert np.isnan(reliability.pickers["only"].precision)
    assert len(consensus(picks, RADIUS_PX, reliability=reliability)) == 2


def test_duplicates_and_missing_coordinates_are_dropped():
    messy = table([[10, 10], [12, 10], [np.nan, 5], [200, 200]], [0.2, 0.9, 1.0, np.nan])
    positions, scores = tidy(messy, RADIUS_PX)
    assert positions.tolist() == [[12, 10], [200, 200]]
    assert scores.tolist() == [0.9, 0.2]


def test_position_is_nearer_to_the_precise_picker(simulated):
    rng = np.random.default_rng(6)
    truth = spread(rng, 300, 90)
    blur = {"fine": 2.0, "good": 4.0, "rough": 14.0}
    picks = {name: table(truth + rng.normal(0, s, truth.shape)) for name, s in blur.items()}
    reliability = estimate_reliability([picks], RADIUS_PX)
    jitter = [reliability.model.pickers[name].jitter_px for name in blur]
    assert jitter[0] <= jitter[1] < jitter[2]
    assert jitter[2] == pytest.approx(14, rel=0.25)
    result = consensus(picks, RADIUS_PX, mode="and", reliability=reliability)
    off, _ = cKDTree(truth).query(result[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy())
    assert np.sqrt((off**2).mean() / 2) < 3.6  # a plain mean of the three would be at 4.9


def test_bad_options_say_what_is_possible():
    with pytest.raises(BadInputError, match="ilp, k_of_n, and, or"):
        consensus({}, RADIUS_PX, mode="most")
    with pytest.raises(BadInputError, match="number of pickers, 1"):
        consensus({"a": table([])}, RADIUS_PX, mode="k_of_n", k=2)
    with pytest.raises(BadInputError, match="radius_px = 0"):
        estimate_reliability([], 0)
    known = estimate_reliability([{"a": table([])}], RADIUS_PX)
    with pytest.raises(BadInputError, match="no reliability of the pickers b"):
        consensus({"b": table([])}, RADIUS_PX, reliability=known)


def test_agreement_counts_who_found_what():
    micrograph = {
        "a": table([[100, 100], [300, 300], [500, 500]]),
        "b": table([[110, 100], [305, 300]]),
        "c": table([[100, 105]]),
    }
    found = agreement([micrograph, {"a": table([[50, 50]])}], RADIUS_PX)
    counts = found.subsets.set_index("found_by")["locations"]
    assert counts.to_dict() == {
        "a+b+c": 1, "a+b": 1, "a+c": 0, "b+c": 0, "a": 2, "b": 0, "c": 0,
    }  # fmt: skip
    assert found.subsets["share"].sum() == pytest.approx(1)
    assert found.jaccard.loc["a", "b"] == pytest.approx(2 / 4)


def test_thresholds_keep_what_they_promise():
    probabilities = np.array([0.1, 0.99, 0.95, 0.6, 0.9])
    assert certain_threshold(probabilities, 10, recall=1.0, precision=0.94) == 0.9
    assert certain_threshold(probabilities, 2, recall=0.5, precision=0.9) == 0.95
    assert certain_threshold(probabilities, 10, precision=0.995) == np.inf
    assert certain_threshold(np.empty(0), 0) == np.inf
    assert f1_threshold(probabilities, 3.54) == 0.6
    assert f1_threshold(np.empty(0), 0) == 0.5


# Real picks


@pytest.mark.data
def test_real_picks_reach_the_best_picker_untold():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    common = pytest.importorskip("picking_common")
    names = common.empiar_picked_names()
    if not names:
        pytest.skip("EMPIAR-10017 is not at hand")
    programs = ["crYOLO", "topaz", "deepPicker"]
    micrographs = [{one: common.empiar_picks(one, name) for one in programs} for name in names]
    truths = [common.empiar_truth(name) for name in names]
    reliability = estimate_reliability(micrographs, RADIUS_PX)
    total = common.Score(0, 0, 0)
    for one, truth in zip(micrographs, truths, strict=True):
        result = consensus(one, RADIUS_PX, reliability=reliability)
        total += common.score(common.positions(result), truth)
    assert total.f1 > 0.87
