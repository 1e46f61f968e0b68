"""The verdict: every rule by a table of cases, what decides among them, and the session's file."""

import json

import numpy as np
import pandas as pd
import pytest

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.decisions import Decision
from cryosnake.stages.files import write_decisions
from cryosnake.stages.refine_files import write_json
from cryosnake.stages.verdict import write_verdict
from cryosnake.tables import write_star
from cryosnake.verdict import Evidence, Reason, judge


def said(rule: str, verdict: str, value: str = "a value") -> Decision:
    return Decision("refine 1000", rule, verdict, value, "a threshold", 0.9, "a picture")


RESULT = {
    "problem": None,
    "particles": 40000,
    "resolution_angst": 4.2,
    "pixel_size_angst": 1.5,
    "orientation": {"tilt_deg": 30},
    "box": {"needed_box_px": 200, "needed_mask_angst": 240.0},
}
NOTHING = {"particles": None, "hours": None, "hours_low": None, "b_factor_angst2": 120.0}
GOOD_CLASSES = {"classified": 50000, "kept": 40000}


def forecast(verdict: str, **more) -> dict:
    return {"verdict": verdict, "target_angst": 3.5, "evidence": "a line", **NOTHING, **more}


HOURS = forecast("forecast", particles=9e4, hours=6.0, hours_low=4.0)
#: Of a session that does well: everything is right, six hours are missing.
GOOD = {
    "result": RESULT,
    "forecast": HOURS,
    "movies": 400,
    "accepted": 350,
    "decisions": (
        said("crossvalidation", "pass"),
        said("class3d", "pass"),
        said("refine", "info"),
        said("refine_noise", "pass"),
        said("refine_orientation", "pass"),
        said("refine_box", "pass"),
    ),
    **GOOD_CLASSES,
}


def session(*decisions: Decision, **changes) -> Evidence:
    """The good session with some decisions in place of its own, and other changes."""
    rules = {one.rule for one in decisions}
    kept = [one for one in GOOD["decisions"] if one.rule not in rules]
    return Evidence(**(GOOD | {"decisions": (*kept, *decisions)} | changes))


CASES = {
    # name: evidence, verdict, rule of the first reason, words of its advice
    "all is right": (session(), "go", "forecast", "6 hours"),
    "preferred orientation": (
        session(said("refine_orientation", "warn")),
        "change",
        "refine_orientation",
        "30 degrees",
    ),
    "no tilt helps": (
        session(
            said("refine_orientation", "warn"), result=RESULT | {"orientation": {"tilt_deg": 0}}
        ),
        "change",
        "refine_orientation",
        "grid",
    ),
    "few views in 2D, the map cannot tell": (
        session(said("refine_orientation", "unsure"), said("views", "warn")),
        "change",
        "views",
        "Tilt",
    ),
    "the map clears the suspicion of 2D": (
        session(said("views", "warn")),
        "go",
        "forecast",
        "",
    ),
    "an uneven map alone": (session(said("refine_orientation", "unsure")), "go", "forecast", ""),
    "box too small": (
        session(said("refine_box", "warn")),
        "change",
        "refine_box",
        "box of 300 A and a mask of 240 A",
    ),
    "noise in 3D, good classes": (
        session(said("refine_noise", "warn"), result=RESULT | {"resolution_angst": None}),
        "change",
        "refine_noise",
        "Do not use",
    ),
    "noise in 3D, hardly a good class": (
        session(said("refine_noise", "warn"), kept=5000),
        "stop",
        "refine_noise",
        "grid",
    ),
    "not one good class": (
        Evidence(classified=25000, kept=0),
        "stop",
        "class2d",
        "micrographs",
    ),
    "not one good class of few particles": (
        Evidence(classified=800, kept=0),
        "unsure",
        "class2d",
        "next",
    ),
    "another map than the known one": (
        session(said("refine_known_map", "warn")),
        "change",
        "refine_known_map",
        "pixel size",
    ),
    "the known map comes out": (
        session(said("refine_known_map", "pass")),
        "go",
        "forecast",
        "",
    ),
    "target reached": (
        session(forecast=forecast("reached")),
        "stop",
        "forecast",
        "good enough",
    ),
    "target reached by an unconfirmed volume": (
        session(said("crossvalidation", "unsure"), forecast=forecast("reached")),
        "unsure",
        "crossvalidation",
        "",
    ),
    "target reached by a map that is stretched": (
        session(said("refine_orientation", "warn"), forecast=forecast("reached")),
        "change",
        "refine_orientation",
        "Tilt",
    ),
    "target reached with many micrographs lost": (
        session(accepted=100, forecast=forecast("reached")),
        "stop",
        "forecast",
        "",
    ),
    "out of reach": (
        session(forecast=forecast("out of reach")),
        "stop",
        "forecast",
        "magnification",
    ),
    "more hours than useful, even at best": (
        session(forecast=forecast("forecast", particles=1e7, hours=300.0, hours_low=90.0)),
        "stop",
        "forecast",
        "90 hours",
    ),
    "perhaps more hours than useful": (
        session(forecast=forecast("forecast", particles=1e6, hours=60.0, hours_low=20.0)),
        "unsure",
        "forecast",
        "60 hours",
    ),
    "hours not known": (
        session(forecast=forecast("forecast", particles=1e5)),
        "go",
        "forecast",
        "pace",
    ),
    "forecast unsure": (session(forecast=forecast("unsure")), "go", "forecast", "next round"),
    "particles do not help": (
        session(forecast=forecast("unsure", points=[[1, 5], [2, 5], [4, 5]], b_factor_angst2=None)),
        "unsure",
        "forecast",
        "heterogeneity",
    ),
    "volume not confirmed": (
        session(said("crossvalidation", "unsure")),
        "unsure",
        "crossvalidation",
        "projections",
    ),
    "no cross-validation": (
        session(said("crossvalidation", "fail")),
        "unsure",
        "crossvalidation",
        "",
    ),
    "refinement failed": (
        session(
            said("refine", "fail"),
            result={"problem": "memory", "particles": 0, "resolution_angst": None},
        ),
        "unsure",
        "refine",
        "log",
    ),
    "most micrographs lost": (
        session(accepted=120, rejected_by={"ctf": 200, "drift": 80}),
        "change",
        "acceptance",
        "focus",
    ),
    "few movies lost say nothing": (session(movies=20, accepted=2), "go", "forecast", ""),
    "two species in 2D and in 3D": (
        session(said("species", "warn"), said("class3d_heterogeneity", "warn")),
        "change",
        "species",
        "mixture",
    ),
    "two species in 2D, one structure in 3D": (
        session(said("species", "warn")),
        "go",
        "forecast",
        "",
    ),
    "two structures of like size": (
        session(said("class3d", "unsure"), said("class3d_heterogeneity", "warn")),
        "unsure",
        "class3d",
        "which one",
    ),
    "empty discs": (session(said("featureless", "warn")), "change", "featureless", "discs"),
    "pieces": (session(said("fragments", "warn")), "change", "fragments", "fresher"),
    "another size": (
        session(said("size_contradiction", "warn")),
        "change",
        "size_contradiction",
        "diameter",
    ),
    "mostly junk": (session(said("minority", "warn")), "change", "minority", "junk"),
    "few good classes": (session(said("class2d", "warn")), "change", "class2d", "junk"),
    "nothing yet": (Evidence(), "unsure", "progress", "early"),
    "good classes, no map yet": (Evidence(**GOOD_CLASSES), "go", "progress", "Go on"),
    "few views in 2D, no map yet": (
        Evidence(decisions=(said("views", "warn"),), **GOOD_CLASSES),
        "change",
        "views",
        "Tilt",
    ),
    "the mask cuts averages, no map yet": (
        Evidence(decisions=(said("mask_edge", "warn"),), **GOOD_CLASSES),
        "change",
        "mask_edge",
        "mask_diameter_angst",
    ),
    "two species, no map yet": (
        Evidence(decisions=(said("species", "warn"),), **GOOD_CLASSES),
        "change",
        "species",
        "",
    ),
    "no volume looks like a particle": (
        Evidence(decisions=(said("class3d", "fail"),), **GOOD_CLASSES),
        "unsure",
        "class3d",
        "next round",
    ),
    "a damaged file": (session(problems=("x.star: empty",)), "unsure", "verdict", "Remove"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name):
    evidence, verdict, rule, words = CASES[name]
    found = judge(evidence)
    first = found.reasons[0]
    assert (found.verdict, first.rule) == (verdict, rule)
    assert words in first.advice
    assert first.speaks_for == verdict
    for reason in found.reasons:
        assert reason.value
        assert reason.advice.endswith(".")
        assert "nan" not in f"{reason.value}{reason.advice}".lower()


def test_what_decides_comes_first_and_all_else_is_told():
    found = judge(
        session(said("refine_box", "warn"), said("featureless", "warn"), accepted=50)
    ).reasons
    rules = [reason.rule for reason in found if reason.speaks_for == "change"]
    assert rules == ["refine_box", "acceptance", "featureless"]
    assert [reason.speaks_for for reason in found[:3]] == ["change"] * 3


def test_a_reason_against_going_on_needs_a_rank():
    with pytest.raises(ValueError, match="needs a rank"):
        Reason("box", "change", "warn", "1", "2", "-", "Do it.")


# --- the session's file ---


def config():
    return load_config({"class2d": {"rounds": [{"particles": 1000, "classes": 10}]}})


@pytest.fixture
def folder(tmp_path):
    """A session with 2D classes and a refined map, whose views leave gaps."""
    classes = pd.DataFrame({"csnClassPopulation": [700, 300], "csnClassKept": [1, 0]})
    write_star(tmp_path / layout.class2d_file(1000, "classes.star"), {"classes": classes})
    write_decisions(
        tmp_path / layout.class2d_file(1000, "decisions.star"), [said("class2d", "info")]
    )
    write_decisions(
        tmp_path / layout.refine_file(1000, "decisions.star"),
        [said("refine", "info"), said("refine_orientation", "warn", "score 0.3")],
    )
    write_json(tmp_path / layout.refine_file(1000, "result.json"), RESULT)
    write_json(tmp_path / layout.refine_file(1000, "forecast.json"), HOURS)
    micrographs = pd.DataFrame({"csnAccepted": np.arange(80) % 2, "csnReason": "-"})
    micrographs["csnReason"] = np.where(micrographs["csnAccepted"] == 1, "-", "ctf")
    write_star(tmp_path / layout.MICROGRAPHS, {"micrographs": micrographs})
    return tmp_path


def test_the_file_holds_what_others_rely_on(folder):
    write_verdict(folder, config())
    found = json.loads((folder / layout.VERDICT).read_text())
    assert found["verdict"] == "change"
    assert found["resolution_angst"] == 4.2
    assert found["forecast"] == HOURS
    assert (found["particles"], found["round"]) == (40000, 1000)
    first = found["reasons"][0]
    assert first["rule"] == "refine_orientation"
    assert first["value"] == "score 0.3"
    assert set(first) == {
        "rule",
        "speaks_for",
        "verdict",
        "value",
        "threshold",
        "evidence",
        "advice",
    }
    rejected = next(one for one in found["reasons"] if one["rule"] == "acceptance")
    assert rejected["evidence"] == "rejected by: ctf 40"


def test_the_same_verdict_keeps_its_time(folder, monkeypatch):
    times = iter(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
    monkeypatch.setattr("cryosnake.stages.verdict.now", lambda: next(times))
    first = write_verdict(folder, config())
    assert write_verdict(folder, config()) == first
    write_json(folder / layout.refine_file(1000, "result.json"), RESULT | {"particles": 41000})
    assert write_verdict(folder, config())["time"] == "2026-01-02T00:00:00Z"


def test_a_new_session_and_one_with_2d_only_have_a_verdict(tmp_path):
    assert write_verdict(tmp_path, config())["verdict"] == "unsure"
    classes = pd.DataFrame({"csnClassPopulation": [900], "csnClassKept": [1]})
    write_star(tmp_path / layout.class2d_file(1000, "classes.star"), {"classes": classes})
    found = write_verdict(tmp_path, config())
    assert (found["verdict"], found["round"], found["resolution_angst"]) == ("go", 1000, None)


@pytest.mark.parametrize(
    "path",
    [
        layout.MICROGRAPHS,
        layout.refine_file(1000, "result.json"),
        layout.refine_file(1000, "forecast.json"),
        layout.refine_file(1000, "decisions.star"),
        layout.class2d_file(1000, "classes.star"),
        layout.VERDICT,
    ],
)
def test_a_damaged_file_never_prevents_a_verdict(folder, path):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(b"\x00 not a table")
    found = write_verdict(folder, config())
    damaged = [one for one in found["reasons"] if one["rule"] == "verdict"]
    assert bool(damaged) == (path != layout.VERDICT)
    if damaged:
        assert path in damaged[0]["value"]
