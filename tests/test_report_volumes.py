"""The report's verdict and its section on 3D: right whatever files there are."""

import base64
import io
import json
import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_class2d_session import round_classes
from report_session import fabricated_tables
from report_volumes_session import (
    PIXEL_ANGST,
    POINTS,
    ROUNDS,
    blob,
    forecast,
    tell,
    volume,
    write_branch2d,
    write_branch3d,
    write_class3d,
    write_crossvalidation,
    write_failure,
    write_refinement,
    write_selected,
    write_verdict,
    write_volume_round,
)
from test_report import browser  # noqa: F401 (a fixture)

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, as_table
from cryosnake.images import write_png
from cryosnake.report import render
from cryosnake.report import volumes_figures as figures
from cryosnake.report import volumes_rows as rows
from cryosnake.report import volumes_words as words
from cryosnake.report.page import templates
from cryosnake.report.picking_files import below
from cryosnake.report.status import RULE_ADVICE, session_status
from cryosnake.report.table import left_out_files, prepared
from cryosnake.report.verdict_section import verdict_section
from cryosnake.report.volumes_files import read_volumes
from cryosnake.report.volumes_section import volumes_section
from cryosnake.tables import read_star, write_star
from cryosnake.validation.volume_picture import draw_volumes

N, NOISE = ROUNDS[1]
FIRST, FIRST_NOISE = ROUNDS[0]
CONFIG = Config.model_validate(
    {
        "class2d": {
            "rounds": [
                {"particles": 5000, "classes": 10},
                {"particles": FIRST, "classes": 16},
                {"particles": N, "classes": 24},
            ]
        },
        "class3d": {"rounds": [FIRST, N]},
    }
)
UNTIL_CLASS3D = CONFIG.model_copy(
    update={"workflow": CONFIG.workflow.model_copy(update={"until": "class3d"})}
)


def section_of(results_dir, *, config=CONFIG, particles=12300, per_hour=None):
    return volumes_section(config, results_dir, particles=particles, particles_per_hour=per_hour)


def part_of(section):
    """The section's HTML."""
    return templates().get_template("volumes.html").render(volumes=section)


def verdict_of(section):
    """The verdict's HTML."""
    return templates().get_template("verdict.html").render(verdict=section)


def words_of(html):
    """What a reader sees of it."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def states(section):
    return [step.state for step in section.steps]


def page(results_dir, *, config=CONFIG, decisions=None):
    table, _ = fabricated_tables(30)
    return render(
        micrographs=table,
        decisions=as_table([]) if decisions is None else decisions,
        config=config,
        batches_seen=1,
        batches_pending=0,
        milestones=[("size", 100, 100), ("training", 250, 250)],
        results_dir=results_dir,
        written=datetime(2026, 3, 2, 3, 0, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results with a whole round, an earlier one without pictures, and a verdict; copied by tests
    that change them."""
    results_dir = tmp_path_factory.mktemp("session") / "results"
    write_volume_round(results_dir, N, NOISE)
    write_selected(results_dir, FIRST)
    write_class3d(results_dir, FIRST)
    write_refinement(results_dir, FIRST, FIRST_NOISE)
    for name in ("map.png", "orientations.png"):
        below(results_dir, layout.refine_file(FIRST, name)).unlink()
    write_verdict(results_dir)
    return results_dir


@pytest.fixture
def results_dir(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def quick(monkeypatch):
    """Without the figures, which take most of the time."""
    for name in ("curves_figure", "directions_figure", "forecast_figure"):
        monkeypatch.setattr(figures, name, lambda *arguments: "<svg/>")


# ---- before there are volumes ----


def test_no_section_where_the_session_ends_before(tmp_path):
    for until in ("curation", "picking", "particles", "class2d"):
        config = Config.model_validate({"workflow": {"until": until}})
        assert section_of(tmp_path, config=config) is None
    html = page(tmp_path, config=config)
    assert 'href="#volumes"' not in html
    assert 'id="volumes"' not in html
    assert 'id="verdict"' not in html


def test_before_anything_one_sentence_says_what_is_waited_for(tmp_path):
    section = section_of(tmp_path)
    sentence = "3D starts after the 2D round of 25,000 particles (12,300 so far)."
    assert section.headline == sentence
    assert words_of(part_of(section)) == f"Volumes {sentence}"
    assert "the rest in about 10.0 h)" in section_of(tmp_path, per_hour=1270).headline
    assert section_of(tmp_path, particles=25000).headline == (
        "3D starts with the good classes of the 2D round of 25,000 particles."
    )
    every = Config.model_validate({"class2d": {"rounds": [{"particles": 7000, "classes": 9}]}})
    assert "after the 2D round of 7,000" in section_of(tmp_path, config=every, particles=1).headline


def test_a_2d_round_alone_is_no_round_in_3d(tmp_path):
    classes = below(tmp_path, layout.class2d_file(5000, "classes.star"))
    write_star(classes, {"classes": round_classes(5000, 6, 12.0, (0.1, 0.1, 0.1))})
    assert not section_of(tmp_path).steps


def test_the_steps_go_through_their_states(tmp_path, quick):
    write_selected(tmp_path, N)
    section = section_of(tmp_path)
    assert states(section) == ["now", *["waits"] * 8]
    assert section.headline == "Ab initio volumes (round of 100,000 particles): at work."
    assert (section.tile, section.tile_words) == ("at work", "3D, Ab initio volumes: at work")
    write_class3d(tmp_path, N)
    section = section_of(tmp_path)
    # both branches begin at once
    assert states(section) == ["done", "done", "now", "waits", "now", *["waits"] * 4]
    write_branch2d(tmp_path, N, 1, 8)
    assert states(section_of(tmp_path))[2:5] == ["done", "now", "now"]
    write_branch2d(tmp_path, N, 2, 6)
    write_branch3d(tmp_path, N)
    assert states(section_of(tmp_path))[2:6] == ["done", "done", "done", "now"]
    write_crossvalidation(tmp_path, N)
    assert states(section_of(tmp_path))[5:] == ["done", "now", "waits", "waits"]
    stack = below(tmp_path, layout.refine_file(N, "stack/particles.star"))
    write_star(stack, {"particles": pd.DataFrame({"rlnImageName": []})})
    assert states(section_of(tmp_path))[6:] == ["done", "now", "waits"]
    write_refinement(tmp_path, N, NOISE)
    section = section_of(tmp_path)
    assert set(states(section)) == {"done"}
    assert section.tile.endswith(" Å")
    assert section.steps[-3].words == "18750 of 18760 particles in boxes of 48 px"


def test_without_refinement_there_are_two_steps(made, quick):
    section = section_of(made, config=UNTIL_CLASS3D)
    assert [step.title for step in section.steps] == ["Ab initio volumes", "3D classification"]


def test_one_round_of_the_2d_branch(results_dir, quick):
    changed = CONFIG.validation.model_copy(update={"rounds2d": CONFIG.validation.rounds2d[:1]})
    config = CONFIG.model_copy(update={"validation": changed})
    titles = [step.title for step in section_of(results_dir, config=config).steps]
    assert titles[2:4] == ["2D branch", "3D branch"]


# ---- problems ----


def test_a_step_that_failed_says_why(tmp_path):
    write_selected(tmp_path, N)
    write_failure(tmp_path, layout.abinitio_file(N, "volumes.star"), "61 particles <b>, need 100")
    section = section_of(tmp_path)
    assert section.steps[0].state == "failed"
    assert section.headline.endswith("61 particles <b>, need 100.")
    assert (section.tile, section.problems) == ("failed", [])
    assert "61 particles &lt;b&gt;, need 100" in part_of(section)


def test_failures_are_passed_on_and_no_result_is_shown(tmp_path, quick):
    write_selected(tmp_path, N)
    write_class3d(tmp_path, N)
    problem = "no round with 3 good class averages"
    write_failure(tmp_path, layout.validation_file(N, "crossvalidation.star"), problem)
    result = {"problem": problem, "engine": "native", "particles": 0, "resolution_angst": None}
    path = below(tmp_path, layout.refine_file(N, "result.json"))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    failed = Decision(f"refine {N}", "reextraction", "fail", problem, "the particles")
    tell(tmp_path, layout.refine_file(N, "stack/decisions.star"), failed)
    write_star(path.parent / "stack" / "particles.star", {"general": {"csnProblem": "-"}})
    section = section_of(tmp_path)
    assert [step.state for step in section.steps[-4:]] == [*["failed"] * 3, "now"]
    assert section.refined is None
    assert section.crossvalidation is None
    assert [row.problem for row in section.rounds] == [problem]
    assert problem in words_of(part_of(section))
    assert [one.advice for one in section.alarms] == [RULE_ADVICE["reextraction"]]


def test_a_forecast_that_failed_says_why(results_dir, quick):
    path = below(results_dir, layout.refine_file(N, "forecast.json"))
    path.write_text(json.dumps({"problem": "no part could be refined", "verdict": "unsure"}))
    assert section_of(results_dir).steps[-1].words == "no part could be refined"
    path.write_text(json.dumps(forecast(points=POINTS[:1], low=None, high=None, particles=None)))
    section = section_of(results_dir)
    assert section.steps[-1].words == "1,240 particles per hour; no forecast for 9 Å yet"
    assert section.forecast_figure == ""


CONTENTS = {
    "noise": bytes(range(256)) * 4,
    "empty": b"",
    "another": b"data_other\n\nloop_\n_rlnVoltage #1\n300.0\n",
    "list": b"[1, 2]",
    "cut": b"data_general\n\n_csnProblem -\n\ndata_volumes\n\nloop_\n_rlnReferenceImage #1",
}
FILES = [
    layout.abinitio_file(N, "volumes.star"),
    layout.class3d_file(N, "volumes.star"),
    layout.class3d_file(N, "decisions.star"),
    f"{layout.branch2d_folder(N, 1)}/averages.star",
    f"{layout.branch2d_folder(N, 2)}/classes.star",
    f"{layout.branch3d_folder(N)}/volumes.star",
    layout.validation_file(N, "crossvalidation.star"),
    layout.refine_file(N, "result.json"),
    layout.refine_file(N, "forecast.json"),
    layout.VERDICT,
]


@pytest.mark.parametrize("content", CONTENTS)
def test_any_file_may_be_damaged_and_is_told(results_dir, content, quick):
    for name in FILES:
        path = below(results_dir, name)
        whole = path.read_bytes()
        path.write_bytes(CONTENTS[content])
        section, judged = section_of(results_dir), verdict_section(results_dir)
        html = part_of(section) + verdict_of(judged)
        # of that table only its beginning is read
        enough = content == "cut" and name.endswith("averages.star")
        assert html.count(name) == (0 if enough else 1), name
        path.write_bytes(whole)


def test_pictures_and_curves_may_be_missing_or_damaged(results_dir):
    for name in ("map.png", "orientations.png", "fsc.star", "cfsc.star"):
        below(results_dir, layout.refine_file(N, name)).unlink()
    below(results_dir, layout.validation_file(N, "crossvalidation.png")).write_bytes(b"\x89PNG")
    section = section_of(results_dir)
    refined = section.refined
    assert (refined.picture, refined.orientations) == ("", "")
    assert (refined.curves_figure, refined.directions_figure) == ("", "")
    assert section.crossvalidation.picture == ""
    assert words_of(part_of(section)).count("There is no picture of this.") == 3


def test_an_empty_object_is_a_refinement_that_says_nothing(results_dir, quick):
    below(results_dir, layout.refine_file(N, "result.json")).write_text("{}")
    below(results_dir, layout.refine_file(N, "forecast.json")).write_text("{}")
    section = section_of(results_dir)
    assert section.headline == "Refined map: No resolution is claimed, in C1."
    assert section.tile == "none"
    assert section.rounds[0].angst is None
    part_of(section)


@pytest.mark.parametrize("value", ["text", [1], {"a": 1}, -3, None, True, 1e400])
def test_values_may_be_anything(results_dir, value, quick):
    for name in ("result.json", "forecast.json"):
        path = below(results_dir, layout.refine_file(N, name))
        found = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key in found if key != "problem"}))
    path = below(results_dir, layout.VERDICT)
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), value)))
    part_of(section_of(results_dir))
    verdict_of(verdict_section(results_dir))


# ---- what is shown ----


def test_the_newest_round_speaks(made):
    section = section_of(made)
    result = json.loads(below(made, layout.refine_file(N, "result.json")).read_text())
    angst = result["resolution_angst"]
    assert section.headline == f"Refined map: {angst:.2f} Å from 75,000 particles, in C1."
    assert section.tile == f"{angst:.1f} Å"
    assert section.refined.of == "round of 100,000 particles"
    assert [row.round for row in section.rounds] == [N, FIRST]
    assert section.rounds[1].angst > section.rounds[0].angst
    assert section.problems == []
    facts = dict(section.refined.facts)
    assert facts["B-factor"] == "142 ± 21 Å²"
    assert facts["Box"] == "48 px of 4 Å, large enough"
    assert facts["Symmetry found"] == "C2 (correlation 0.31)"
    assert "a stage tilt of 30° would help" in facts["Orientations"]
    assert facts["Against the known map"].endswith("hand: mirrored, correlation 0.88")
    assert facts["By direction"].startswith("best ")
    assert dict(section.facts)["Refined map"].startswith("native engine, ")


def test_results_of_an_earlier_round_stay_until_there_are_newer_ones(results_dir, quick):
    shutil.rmtree(below(results_dir, f"{layout.REFINE}/{N}"))
    below(results_dir, layout.validation_file(N, "crossvalidation.star")).unlink()
    section = section_of(results_dir)
    assert section.refined.of == "round of 25,000 particles"
    assert [part.of for part in section.volumes] == ["round of 100,000 particles"] * 2
    assert section.crossvalidation is None
    words = "Cross-validation (round of 100,000 particles): at work."
    assert section.headline.endswith(f"in C1. {words}")
    assert section.steps_of == "round of 100,000 particles"


def test_volumes_with_what_is_known_of_them(made, quick):
    section = section_of(made)
    first, second = section.volumes
    assert (first.title, second.title) == ("Ab initio volumes", "3D classes")
    assert [row.angst for row in first.rows] == [17.2, None]  # 999 is none
    assert [row.evidence for row in first.rows] == [None, None]
    row = second.rows[0]
    assert (row.particles, row.share, row.angst, row.evidence) == (62_400, 0.78, 13.1, 48.3)
    assert [row.chosen for row in second.rows] == [True, False]
    assert second.words.startswith("Chosen: volume 1: 62400 particles. All: volume 1: 13.1 A")
    assert second.empty == "6 % of the particles show none of the volumes."
    assert first.empty == ""
    assert len(section.branch3d.rows) == 3
    assert words_of(part_of(section)).count("goes on") == 4  # two tables, and two of the steps


def test_a_close_choice_says_so(results_dir, quick):
    write_class3d(results_dir, N, close=True)
    section = section_of(results_dir)
    assert section.volumes[1].words.startswith("Not sure: volume 1")
    assert section.told[0].verdict == "unsure"


def test_the_branches_are_told(made, quick):
    section = section_of(made)
    assert [one.title for one in section.branch2d] == ["round 1", "round 2"]
    classes = read_star(below(made, f"{layout.branch2d_folder(N, 2)}/classes.star"))["classes"]
    assert section.branch2d[1].row.kept == classes["csnClassKept"].sum()
    assert section.branch2d[1].row.classes == len(classes)
    assert all(one.picture.startswith("data:image/webp;") for one in section.branch2d)


def test_cross_validation_by_score(made, quick):
    check = section_of(made).crossvalidation
    assert [row.name for row in check.rows] == ["branch3d 1", "class3d 1", "branch3d 2"]
    assert [row.chosen for row in check.rows] == [True, False, False]
    assert [row.hand for row in check.rows] == [
        "not told by projections",
        "the mirror image of the chosen one",
        "another structure",
    ]
    assert check.words == (
        f"branch3d 1 explains the class averages best: mean correlation {check.rows[0].score:.3f}"
        f" ± {check.rows[0].error:.3f} (a featureless ball: 0.620); confidence 1.00."
    )


def test_an_unsure_cross_validation_says_so(results_dir, quick):
    path = below(results_dir, layout.validation_file(N, "crossvalidation.star"))
    blocks = read_star(path)
    blocks["general"]["csnVolumeVerdict"] = "unsure"
    write_star(path, blocks)
    assert "best, but not surely so: " in section_of(results_dir).crossvalidation.words


def test_decisions_to_look_at_come_first_and_are_of_the_newest_results(made, quick):
    section = section_of(made)
    assert [one.what for one in section.alarms] == [
        "Orientations: preferred orientation; tilt the stage by 30 degrees"
    ]
    assert section.alarms[0].advice == RULE_ADVICE["refine_orientation"]
    told = [one.what for one in section.told]
    assert "3D classes: volume 1: 62400 particles" in told
    assert len(told) == len(set(told)), "an earlier round speaks, too"


def picture_of(uri):
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        return np.asarray(image.convert("RGB"))


def test_pictures_are_those_that_the_steps_left(results_dir, quick):
    path = below(results_dir, layout.class3d_file(N, "volumes.png"))
    drawn = draw_volumes(
        [volume(20, 0.1), blob()], ["one", "two"], PIXEL_ANGST, 150.0, [False, True]
    )
    write_png(path, drawn)
    shown = picture_of(section_of(results_dir).volumes[1].picture)
    assert np.array_equal(shown, drawn[::-1])


def test_curves_show_the_claim_and_no_claim():
    frequency = np.arange(25) / 192
    curve = np.clip(1.2 - 10 * frequency, 0, 1)
    names = ("Corrected", "UnmaskedMaps", "MaskedMaps")
    table = pd.DataFrame({f"rlnFourierShellCorrelation{name}": curve for name in names})
    random = "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"
    table = table.assign(rlnResolution=frequency, **{random: np.nan})
    svg = figures.curves_figure(table, None, 9.4)
    assert "9.40 Å" in svg
    assert "phases random" not in svg
    assert "known map" not in svg
    known = pd.DataFrame({"rlnResolution": frequency, "rlnFourierShellCorrelation": curve})
    assert "known map" in figures.curves_figure(table, known, None)
    assert "9.40 Å" not in figures.curves_figure(table, known, None)


def test_the_forecast_is_drawn_with_what_is_known():
    svg = figures.forecast_figure([(n, d) for n, d in POINTS], forecast(), 9.0)
    for said in ("fitted line", "68 % interval", "expected", "target 9 Å", "14.6", "9.7"):
        assert said in svg, said
    svg = figures.forecast_figure([(25_000.0, 9.0), (25_000.0, 9.1)], {}, None)
    assert "fitted line" not in svg
    assert "interval" not in svg
    far = forecast(particles=1e12, low=1e11, high=1e14)
    assert "interval" not in figures.forecast_figure([(n, d) for n, d in POINTS], far, 9.0)


def test_cones_without_a_resolution_are_left_out():
    cones = pd.DataFrame({"csnConeResolution_angst": [9.0, 10.0, 999.0, 11.0, np.nan]})
    assert rows.cone_resolutions(cones).tolist() == [9.0, 10.0, 11.0]
    assert rows.cone_resolutions(cones[:2]) is None
    assert rows.cone_resolutions(None) is None


def test_a_box_that_is_too_small_says_what_is_needed():
    box = {"verdict": "too small", "needed_box_px": 192, "needed_mask_angst": 224.2}
    result = {"box_px": 192, "pixel_size_angst": 1.5, "box": box}
    facts = dict(words.refined_facts(result))
    assert facts["Box"] == "192 px of 1.5 Å, too small, a mask of 224 Å is needed"
    facts = dict(words.refined_facts(result | {"box_px": 160}))
    assert facts["Box"].endswith("too small, 192 px are needed, a mask of 224 Å is needed")


def test_particles_are_not_read(results_dir, quick):
    """The table of a refinement's particles may have hundreds of thousands of rows."""
    path = below(results_dir, layout.refine_file(N, "particles.star"))
    stack = below(results_dir, layout.refine_file(N, "stack/particles.star"))
    for one in (path, stack):
        one.write_bytes(b"\x00 no table")
    assert section_of(results_dir).problems == []


# ---- forecast and verdict in words ----


def test_the_forecast_in_plain_words():
    known = forecast(target_angst=3.5, low=80_400, high=209_000, hours_low=12.2, hours_high=39.9)
    assert words.forecast_words(known) == (
        "1,240 particles per hour; 3.5 Å needs 80,000 to 210,000 particles, 12 to 40 h more"
    )
    assert words.forecast_words(known | {"hours_low": 0.0}).endswith("0 to 40 h more")
    unsure = words.forecast_words(known | {"verdict": "unsure"})
    assert unsure.endswith("3.5 Å may need 80,000 to 210,000 particles, 12 to 40 h more (not sure)")
    alone = known | {"low": None, "high": None, "hours_low": None, "hours_high": None, "hours": 2.4}
    assert words.forecast_words(alone | {"particles": 1234}) == (
        "1,240 particles per hour; 3.5 Å needs about 1,200 particles, about 2.4 h more"
    )
    assert words.forecast_words(known | {"verdict": "reached"}).endswith("3.5 Å is reached")
    assert words.forecast_words(known | {"verdict": "out of reach"}).endswith(
        "3.5 Å is out of reach of this pixel size"
    )
    nothing = {"verdict": "unsure", "target_angst": 3.5}
    assert words.forecast_words(nothing) == "no forecast for 3.5 Å yet"
    assert words.forecast_words(known | {"high": 4e11}).count("over a billion") == 1
    assert words.forecast_words(None) == ""


@pytest.mark.parametrize(
    ("verdict", "level", "first"),
    [
        ("go", "good", "Go on: "),
        ("change", "watch", "Change something: "),
        ("stop", "problem", "Stop: "),
        ("unsure", "unsure", "Not sure yet: "),
        ("what?", "unsure", "Not sure yet: "),
    ],
)
def test_the_verdict_in_one_line(tmp_path, verdict, level, first):
    write_verdict(tmp_path, verdict=verdict)
    section = verdict_section(tmp_path)
    assert section.level == level
    assert section.headline == f"{first}preferred orientation; tilt the stage by 30 degrees."
    assert section.words.startswith("9.70 Å from 75,000 particles; 1,240 particles per hour; 9 Å")
    assert section.of == "Round of 100,000 particles. 2026-03-02 02:31:07 UTC"
    words = words_of(verdict_of(section))
    assert "What to do" not in words  # that is written by the style
    assert "Tilt the stage by 30 degrees for the rest of the session." in words
    assert "branch3d 1" not in words  # what is well needs no reason


def test_reasons_in_the_order_of_the_verdict_with_the_rules_advice(tmp_path):
    reasons = [
        {"rule": "refine_noise", "verdict": "fail", "value": "noise <b>", "advice": "-"},
        {"rule": "forecast", "verdict": "info", "value": "far", "speaks_for": "change"},
        {"rule": "refine_box", "verdict": "warn", "value": "too small", "evidence": "map.mrc"},
        {"rule": "views", "verdict": "info", "value": "even", "speaks_for": "go"},
        {"rule": "crossvalidation", "verdict": "pass", "value": "well", "advice": ""},
        "no reason",
        {"verdict": "fail"},
    ]
    write_verdict(tmp_path, reasons=reasons, verdict="stop", forecast=None, resolution_angst=None)
    section = verdict_section(tmp_path)
    assert section.headline == "Stop: noise <b>."
    assert section.words == ""
    assert [one.what for one in section.reasons] == [
        "Noise: noise <b>",
        "Forecast: far",
        "Box: too small",
    ]
    assert [one.level for one in section.reasons] == ["problem", "unsure", "watch"]
    assert section.reasons[0].advice == RULE_ADVICE["refine_noise"]
    assert section.reasons[1].advice == ""
    assert "noise &lt;b&gt;" in verdict_of(section)
    write_verdict(tmp_path, reasons=reasons[4:5], verdict="go")
    assert verdict_section(tmp_path).headline == "Go on: well."
    write_verdict(tmp_path, reasons=reasons[3:5][::-1], verdict="go")
    assert verdict_section(tmp_path).headline == "Go on: even."
    write_verdict(tmp_path, reasons=[], verdict="unsure")
    assert verdict_section(tmp_path).headline == "Not sure yet."
    write_verdict(tmp_path, reasons=[reasons[2]] * 7)
    section = verdict_section(tmp_path)
    assert (len(section.reasons), section.more) == (4, 3)


def test_no_verdict_before_there_is_one(tmp_path):
    assert verdict_section(tmp_path) is None


def test_a_reason_of_the_verdict_is_not_told_twice(made):
    section = verdict_section(made)
    reason = section.reasons[0].what.partition(": ")[2]
    decisions = as_table(
        [
            Decision(f"refine {N}", "refine_orientation", "warn", reason, "a score"),
            Decision(f"refine {N}", "refine_box", "warn", "too small", "room"),
        ]
    )
    left = section.untold(decisions)
    assert left["csnRule"].tolist() == ["refine_box"]
    assert section.untold(decisions[:0]).empty
    html = page(made, decisions=decisions)
    top = html[html.index('id="verdict"') : html.index('class="tiles')]
    assert top.count(reason) == 2  # headline and reason of the verdict
    assert "Box: too small." in top


# ---- findings of the status ----


def status_of(*decisions):
    table = prepared(fabricated_tables(40)[0])
    told = as_table(decisions)
    return session_status(
        table, told, left_out_files(table, told), CONFIG, batches_seen=2, batches_pending=0
    )


def test_each_step_speaks_with_its_newest_round():
    def decision(subject, verdict, value):
        return Decision(subject, "refine_box", verdict, value, "room")

    status = status_of(
        decision(f"refine {FIRST}", "warn", "of the first round"),
        decision(f"refine {N}", "fail", "of the newest round"),
        Decision(f"class3d {FIRST}", "class3d", "fail", "no volume", "a particle"),
        Decision(f"branch2d {N} round 1", "class2d", "fail", "in the branch", "classes"),
        Decision(f"crossvalidation {N}", "crossvalidation", "pass", "all well", "-"),
    )
    told = " ".join(finding.what for finding in status.findings)
    assert "Box: of the newest round." in told
    assert "of the first round" not in told
    # the classes in 3D of the newest round are not there yet
    assert "3D classes: no volume." in told
    assert "2D classes: in the branch." in told
    assert "all well" not in told


def test_every_rule_of_3d_has_advice():
    rules = {"class3d", "class3d_heterogeneity", "class3d_junk", "branch3d", "minority"}
    rules |= {"branch3d_heterogeneity", "branch3d_junk", "crossvalidation", "reextraction"}
    rules |= {"refine", "refine_orientation", "refine_box", "refine_mask", "refine_noise"}
    rules |= {"refine_known_map", "refine_defocus", "symmetry", "forecast", "verdict"}
    assert rules <= set(RULE_ADVICE)
    assert all(RULE_ADVICE[rule].endswith(".") for rule in rules)


# ---- the page ----


@pytest.fixture(scope="module")
def complete(made):
    """The page of it all."""
    return page(made)


def test_the_page_has_it_all_and_stays_small(made, complete):
    html = complete
    assert html.index('id="verdict"') < html.index('id="status"')
    assert html.index('id="class2d"') < html.index('id="volumes"') < html.index('id="facts"')
    section = part_of(section_of(made))
    assert len(section) < 1_500_000
    pictures = re.findall(r'<img src="(data:[^;]*);', section)
    assert pictures.count("data:image/png") == 6
    assert section.count("<svg") == 3
    assert read_volumes(made).problems == []


def test_browser_shows_it_without_network_or_errors(complete, browser, tmp_path):  # noqa: F811
    path = tmp_path / "report.html"
    path.write_text(complete)
    dom, console, requests = browser(path, tmp_path)
    assert (console, requests) == ([], set())
    assert 'id="volumes"' in dom
    assert 'class="status verdict watch"' in dom
