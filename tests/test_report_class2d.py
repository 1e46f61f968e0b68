"""The report's section on 2D classes: right whatever files there are."""

import base64
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_class2d_session import (
    DIAMETER_ANGST,
    live_json,
    round_classes,
    round_decisions,
    write_live,
    write_round,
)
from report_picking_session import fabricated_counts, write_counts
from report_session import fabricated_tables
from test_report import browser  # noqa: F401 (a fixture)

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, as_table
from cryosnake.images import write_mrc
from cryosnake.report import class2d_figures as figures
from cryosnake.report import class2d_rows as rows
from cryosnake.report import render
from cryosnake.report.class2d_files import RoundFiles, classes_of, read_class2d
from cryosnake.report.class2d_section import class2d_section
from cryosnake.report.page import templates
from cryosnake.report.picking_files import below
from cryosnake.report.status import RULE_ADVICE, session_status
from cryosnake.report.table import left_out_files, prepared
from cryosnake.tables import read_star, write_star

#: Particles, classes, resolution, bad ones: as a session has them, with fewer classes.
ROUNDS = (
    (5000, 10, 14.0, (0.1, 0.1, 0.1)),
    (25000, 16, 10.5, (0.1, 0.1, 0.1)),
    (100000, 24, 8.0, (0.1, 0.1, 0.1)),
)
CONFIG = Config.model_validate(
    {
        "class2d": {
            "rounds": [{"particles": n, "classes": k} for n, k, *_ in ROUNDS]
            + [{"particles": 200000, "classes": 100}]
        }
    }
)


def section_of(table, results_dir, *, config=CONFIG, particles=12300, per_hour=None):
    return class2d_section(
        prepared(table),
        config,
        results_dir,
        particles=particles,
        particles_per_hour=per_hour,
    )


def page(table, results_dir, *, config=CONFIG, decisions=None):
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


def part_of(section):
    """The section's HTML."""
    return templates().get_template("class2d.html").render(class2d=section)


def words_of(html):
    """What a reader sees of it."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def states(section):
    return [step.state for step in section.steps]


@pytest.fixture(scope="module")
def table():
    return fabricated_tables(100)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory, table):
    """Results with three rounds and the particles since; copied by tests that change them."""
    results_dir = tmp_path_factory.mktemp("session") / "results"
    for one in ROUNDS:
        classes = write_round(results_dir, *one)
    squares = list(dict.fromkeys(table["csnGridSquare"]))
    live = live_json(ROUNDS[-1][0], sorted(table["csnBatch"].unique()), squares)
    live["particles"] = 112_000
    write_live(results_dir, classes, live)
    return results_dir


@pytest.fixture
def results_dir(made, tmp_path):
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture(scope="module")
def complete(made, table):
    """The page of it all."""
    return page(table, made)


@pytest.fixture
def quick(monkeypatch):
    """Without the figures, which take most of the time."""
    for name in ("evolution_figure", "batches_figure"):
        monkeypatch.setattr(figures, name, lambda *arguments: "<svg/>")


# ---- before there are classes ----


def test_no_section_where_the_session_ends_before(tmp_path, table):
    for until in ("curation", "picking", "particles"):
        config = Config.model_validate({"workflow": {"until": until}})
        assert section_of(table, tmp_path, config=config) is None
    html = page(table, tmp_path, config=config)
    assert "class2d" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "#class2d" in page(table, tmp_path)


def test_before_anything_one_sentence_says_what_is_waited_for(tmp_path, table):
    section = section_of(table, tmp_path, particles=1200)
    sentence = "The first classes wait for 5,000 particles (1,200 so far)."
    assert section.headline == sentence
    assert words_of(part_of(section)) == f"2D classes {sentence}"
    section = section_of(table, tmp_path, particles=1200, per_hour=1900)
    assert "(1,200 so far, the rest in about 2.0 h)" in section.headline
    section = section_of(table, tmp_path, particles=5000)
    assert section.headline == (
        "Round of 5,000 particles, 10 classes: enough particles, about to begin."
    )


def test_the_thresholds_of_the_page_name_the_next_round(tmp_path, table):
    write_counts(fabricated_counts(table), tmp_path)
    below(tmp_path, layout.PICKING).mkdir(exist_ok=True)
    extracted = fabricated_counts(table)["extracted"].sum()
    assert 5000 < extracted < 25000
    words = words_of(page(table, tmp_path))
    assert f"2D classes: particles of the next round {extracted:,} / 25,000 in about" in words


def test_the_rounds_go_through_their_states(tmp_path, table):
    particles = 5000
    subset = below(tmp_path, layout.particle_subset(particles))
    subset.parent.mkdir(parents=True)
    subset.write_text("frozen\n")
    section = section_of(table, tmp_path)
    assert states(section) == ["now", "waits", "waits", "waits"]
    assert section.headline == "No classes yet. Round of 5,000 particles, 10 classes: being " + (
        "classified."
    )
    assert (section.tile, section.waits) == (
        "at work",
        [("2D classes: particles of the next round", 12300, 25000)],
    )
    write_round(tmp_path, *ROUNDS[0])
    classes_star = below(tmp_path, layout.class2d_file(particles, "classes.star"))
    whole = classes_star.read_text()
    classes_star.unlink()
    assert section_of(table, tmp_path).steps[0].words == "the classes are being assessed"
    classes_star.write_text(whole)
    section = section_of(table, tmp_path)
    assert states(section) == ["done", "now", "waits", "waits", "waits"]
    assert section.steps[1].title == "New particles into these classes"
    relion = CONFIG.model_copy(
        update={"class2d": CONFIG.class2d.model_copy(update={"engine": "relion"})}
    )
    assert states(section_of(table, tmp_path, config=relion)) == ["done", *["waits"] * 3]
    assert states(section_of(table, tmp_path, particles=30000))[2:] == ["now", "waits", "waits"]


def test_a_round_that_failed_says_why(tmp_path, table):
    folder = below(tmp_path, layout.class2d_file(5000, ""))
    columns = [*round_classes(*ROUNDS[0]).columns]
    general = {"csnClassEngine": "relion", "csnProblem": "relion_refine ended with 1 <b>"}
    empty = pd.DataFrame(columns=columns)
    write_star(folder / "averages.star", {"general": general, "classes": empty})
    write_star(folder / "classes.star", {"classes": empty})
    failed = Decision("class2d 5000", "class2d", "fail", "it ended with 1", "a classification")
    write_star(folder / "decisions.star", {"decisions": as_table([failed])})
    section = section_of(table, tmp_path)
    assert section.steps[0].state == "failed"
    assert section.headline.endswith("relion_refine ended with 1 <b>.")
    assert [one.verdict for one in section.alarms] == ["fail"]
    html = part_of(section_of(table, tmp_path))
    assert "ended with 1 &lt;b&gt;" in html
    assert "<b>2D classes: it ended with 1</b>" in html


# ---- what a round came to ----


def table_of(population, labels, kept, angst=10.0):
    return classes_of(
        pd.DataFrame(
            {
                "csnClassPopulation": population,
                "csnClassLabel": labels,
                "csnClassKept": kept,
                "rlnEstimatedResolution": angst,
            }
        )
    )


def row_of(*arguments):
    return rows.round_row(RoundFiles(25000), table_of(*arguments))


def test_numbers_of_a_round():
    found = row_of([600, 200, 200, 50], ["good"] * 3 + ["noise"], [1, 1, 1, 0], [8, 9, 999, 7])
    assert (found.classes, found.good, found.kept) == (4, 3, 3)
    assert (found.sorted_particles, found.kept_particles) == (1050, 1000)
    assert found.share == pytest.approx(1000 / 1050)
    assert (found.median_angst, found.best_angst) == (8.5, 8.0)
    parts = np.array([0.6, 0.2, 0.2])
    assert found.views == pytest.approx(np.exp(-(parts * np.log(parts)).sum()))
    assert row_of([100, 0], ["good", "good"], [1, 1]).views == 1.0
    nothing = row_of([0, 0], ["noise", "noise"], [0, 0], 999.0)
    assert (nothing.share, nothing.median_angst, nothing.views) == (None, None, None)


def test_the_headline_in_plain_words():
    def words(*arguments):
        return rows.outcome_words(row_of(*arguments))

    good, noise = ["good", "good"], ["noise", "noise"]
    assert words([21000, 400, 3600], [*good, "clip"], [1, 1, 0]) == (
        "2 of 3 classes are good: 21,400 of 25,000 particles go on."
    )
    assert words([21000, 400], ["good", "clip"], [1, 0]).startswith("1 of 2 classes is good: ")
    assert words([10, 20, 30], [*good, "clip"], [1, 0, 0]) == (
        "1 of 3 classes go on, 2 are good: 10 of 60 particles go on."
    )
    assert words([10, 20], noise, [0, 0]) == "None of 2 classes goes on, and no particle."


def test_the_newest_round_speaks(made, table, quick):
    section = section_of(table, made)
    classes = round_classes(*ROUNDS[-1])
    kept = classes[classes["csnClassKept"] == 1]
    assert section.headline == (
        f"{len(kept)} of 24 classes are good: {kept['csnClassPopulation'].sum():,} of"
        f" {classes['csnClassPopulation'].sum():,} particles go on."
    )
    assert section.tile == f"{len(kept)} / 24"
    assert states(section) == ["done", "done", "done", "now", "waits"]
    assert [row.particles for row in section.rounds] == [100000, 25000, 5000]
    assert dict(section.facts)["2D classes"].startswith(f"native engine, {len(kept)} of 24")
    assert section.problems == []


def test_particles_that_came_since_are_counted(made, table, quick):
    section = section_of(table, made)
    since = 112_000 - round_classes(*ROUNDS[-1])["csnClassPopulation"].sum()
    (words,) = re.findall(r"With the ([\d,]+) particles that came since", section.since)
    assert int(words.replace(",", "")) == pytest.approx(since, abs=50)  # each class is rounded
    assert section.steps[3].words == f"{words} particles since the last round"


def test_a_newest_state_of_an_earlier_round_is_not_shown(results_dir, table, quick):
    path = below(results_dir, layout.class2d_live("json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"round": 25000}))
    section = section_of(table, results_dir)
    assert (section.since, section.problems) == ("", [])
    assert section.kept[0].particles.startswith(
        f"{round_classes(*ROUNDS[-1])['csnClassPopulation'].max():,} "
    )
    assert section.batches_figure


# ---- averages ----


def test_averages_are_shown_kept_ones_first_largest_first(made, table, quick):
    section = section_of(table, made)
    live = read_star(below(made, layout.class2d_live("star")))["classes"]
    assert len(section.kept) == (live["csnClassKept"] == 1).sum()
    assert len(section.kept) + len(section.left_out) == 24
    for tiles in (section.kept, section.left_out):
        population = [int(tile.particles.split()[0].replace(",", "")) for tile in tiles]
        assert population == sorted(population, reverse=True)
        assert population == [live["csnClassPopulation"][tile.number - 1] for tile in tiles]
        assert [tile.label for tile in tiles] == [
            live["csnClassLabel"][tile.number - 1] for tile in tiles
        ]
    assert section.labels == [("good", 18), ("clip", 2), ("edge", 2), ("noise", 2)]
    assert re.fullmatch(
        rf"class {section.kept[0].number}, good, [\d,]+ particles, [\d.]+ Å, good with"
        r" probability [\d.]+, kept",
        section.kept[0].words,
    )
    assert section.gallery_note == "Each picture is 208 Å wide."  # 1.08 of 190 Å, whole pixels


def picture_of(tile):
    content = base64.b64decode(tile.picture.removeprefix("data:image/webp;base64,"))
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L"), float)


def test_averages_stand_upright(results_dir, table, quick):
    path = below(results_dir, layout.class2d_live("mrcs"))
    averages = np.zeros((24, 64, 64), np.float32)
    averages[:, :32] = 1.0  # the lower half: row 0 is the bottom
    write_mrc(path, averages, 4.0)
    picture = picture_of(section_of(table, results_dir).kept[0])
    assert picture[len(picture) * 3 // 4].mean() > 200 > 50 > picture[len(picture) // 4].mean()


def test_odd_labels_and_reasons(results_dir, table, quick):
    path = below(results_dir, layout.class2d_live("star"))
    live = read_star(path)["classes"]
    first = int(live["csnClassPopulation"].idxmax())
    live.loc[first, ["csnClassLabel", "csnClassReason"]] = ["<b>odd</b>", "override"]
    write_star(path, {"classes": live})
    section = section_of(table, results_dir)
    tile = next(t for t in section.kept if t.number == first + 1)
    assert (tile.label, tile.reason) == ("other", "by hand")
    html = part_of(section)
    assert "<b>odd" not in html
    assert f'alt="class {first + 1}, &lt;b&gt;odd&lt;/b&gt;, ' in html
    assert "<span>by hand</span>" in html


def test_the_sharpening_over_rounds(made, table):
    section = section_of(table, made)
    assert [strip.title for strip in section.strips] == [
        "5,000 particles",
        "25,000 particles",
        "100,000 particles",
    ]
    assert [len(strip.tiles) for strip in section.strips] == [7, 8, 8]
    assert all(tile.kept for strip in section.strips for tile in strip.tiles)
    drawing = ET.fromstring(section.rounds_figure)
    texts = ["".join(t.itertext()).strip() for t in drawing.iter() if t.tag.endswith("text")]
    for row in section.rounds:
        assert f"{row.particles:,}" in texts
        assert f"{row.best_angst:.1f}" in texts
        assert f"{row.kept} of {row.classes}" in texts


def test_one_round_has_nothing_to_compare(tmp_path, table):
    write_round(tmp_path, *ROUNDS[0])
    section = section_of(table, tmp_path)
    assert (section.rounds_figure, section.strips, section.batches_figure) == ("", [], "")
    assert len(section.rounds) == 1
    assert len(section.kept) + len(section.left_out) == 10


# ---- decisions ----


def test_what_needs_a_look_comes_first_and_says_what_to_do(made, table, quick):
    section = section_of(table, made)
    (alarm,) = section.alarms
    assert alarm.what == "Views: 41 % of the particles in kept classes show one view"
    assert alarm.expected == "at most 30 % in one view"
    assert alarm.evidence == "class 6 and two more look along the axis"  # not the picture's file
    assert alarm.advice == RULE_ADVICE["views"]
    assert [one.verdict for one in section.told] == ["unsure", "info", "pass"]
    assert section.told[0].what == "Class 7: score of good 0.53, 1210 particles (4.8 %)"
    assert section.told_of == "the round of 100,000 particles"
    html = part_of(section)
    places = [html.index(text) for text in (alarm.what, "Class averages", "Class 7: ")]
    assert places == sorted(places)


def test_decisions_of_an_earlier_round_stand_in_until_there_are_newer(results_dir, table, quick):
    newest = below(results_dir, layout.class2d_file(100000, "decisions.star"))
    newest.unlink()
    assert section_of(table, results_dir).told_of == "the round of 25,000 particles"
    newest.write_text("data_other\n\nloop_\n_a\n1\n")
    section = section_of(table, results_dir)
    assert section.told_of == "the round of 25,000 particles"
    assert any("decisions.star" in problem for problem in section.problems)


def test_the_status_has_the_warnings_of_the_newest_round_only(table):
    def found(*decisions):
        told = as_table(decisions)
        prepared_table = prepared(table)
        status = session_status(
            prepared_table,
            told,
            left_out_files(prepared_table, told),
            CONFIG,
            batches_seen=1,
            batches_pending=0,
        )
        return {finding.what: finding.advice for finding in status.findings}

    old = Decision("class2d 5000", "mask_edge", "warn", "cut off", "whole")
    assert found(old)["Edge of the mask: cut off."] == RULE_ADVICE["mask_edge"]
    new = Decision("class2d 25000", "mask_edge", "pass", "whole", "whole")
    assert not any("mask" in what for what in found(old, new))
    failed = Decision("class2d 25000", "class2d", "fail", "no memory", "a classification")
    assert "2D classes: no memory." in found(old, failed)
    gain = Decision("session", "gain", "warn", "stripes", "none")
    assert "Gain: stripes." in found(gain, new)


# ---- over the session ----


def squares_of(good, particles=5000):
    return {
        "squares": [
            {"square": f"s{i}", "particles": particles, "good": value}
            for i, value in enumerate(good)
        ]
    }


def test_squares_far_below_the_median_come_first_and_are_told(made, table, quick):
    listed, low, left_out = rows.square_rows(squares_of([0.9, 0.85, 0.4, 0.7, 0.88]))
    assert [(row["name"], row["low"]) for row in listed] == [
        ("s2", True),
        ("s3", False),
        ("s1", False),
        ("s4", False),
        ("s0", False),
    ]
    assert (low, left_out) == (1, 0)
    section = section_of(table, made)
    assert section.squares[0]["name"] == list(dict.fromkeys(table["csnGridSquare"]))[2]
    assert section.squares_words == "1 square far below the median."


def test_few_particles_are_no_proof():
    share = [0.9, 0.9, 0.9, 0.4]
    assert rows.square_rows(squares_of(share, particles=5))[1] == 0
    assert rows.square_rows(squares_of(share, particles=50))[1] == 1
    assert rows.square_rows(squares_of([0.9, 0.4]))[1] == 0  # which of the two is usual?
    assert rows.square_rows(squares_of([0.9])) == ([], 0, 0)
    assert rows.square_rows({"squares": [{"square": "-", "particles": 4}] * 3}) == ([], 0, 0)


def test_many_squares_are_cut_and_counted():
    listed, low, left_out = rows.square_rows(squares_of([*[0.9] * 500, 0.1]))
    assert (len(listed), low, left_out) == (rows.SQUARES_LISTED, 1, 501 - rows.SQUARES_LISTED)
    assert listed[0]["name"] == "s500"


def test_values_that_are_not_known_or_nonsense_are_left_out():
    found = rows.measured(
        [
            {"batch": "b0", "particles": 10, "good": None, "views": "many", "evidence": 1e400},
            {"batch": "b1", "good": 0.5},
            {"particles": 3},
            {"batch": "b2", "particles": 7, "good": 0.25, "largest_view": 0.5},
            "b3",
        ],
        "batch",
    )
    assert found["batch"].tolist() == ["b0", "b2"]
    assert found.loc[0, ["good", "evidence", "largest_view", "views"]].isna().all()
    assert found.loc[1, ["good", "largest_view"]].tolist() == [0.25, 0.5]
    assert rows.measured(None, "batch").empty


def test_curves_of_long_sessions_are_thinned_by_particles():
    batches = pd.DataFrame(
        {
            "batch": [f"b{i}" for i in range(1000)],
            "particles": np.tile([100, 300, 100, 0], 250),
            "good": np.tile([0.2, 0.6, np.nan, 0.5], 250),
            "along": np.arange(1000.0),
        }
    )
    points, together = rows.thinned(batches)
    assert together == 4
    assert len(points) == 250
    assert points["particles"].tolist() == [500] * 250
    assert points["good"].to_numpy() == pytest.approx((20 + 180 + 0.5) / 401)  # no weight is 0
    assert np.all(np.diff(points["along"]) > 0)
    same, one = rows.thinned(batches[:200])
    assert one == 1
    assert same.equals(batches[:200])


def test_batches_are_drawn_along_the_time_of_their_movies(made, table):
    figure = section_of(table, made).batches_figure
    texts = "".join(ET.fromstring(figure).itertext())
    assert "since the first movie" in texts
    assert "in kept classes (% of the particles)" in texts
    other = table.assign(csnBatch="elsewhere")
    texts = "".join(ET.fromstring(section_of(other, made).batches_figure).itertext())
    assert "since the first movie" not in texts


# ---- missing and damaged files ----

FILES = [
    *(layout.class2d_live(suffix) for suffix in ("json", "star", "mrcs", "png")),
    *(
        layout.class2d_file(n, name)
        for n in (25000, 100000)
        for name in (
            "classes.star",
            "classes.mrcs",
            "decisions.star",
            "averages.star",
            "montage.png",
        )
    ),
]
DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: bytes(range(256)) * 8,
    "another": lambda content: b"data_other\n\nloop_\n_one\n_two\n1 2\n",
    "list": lambda content: b"[1, 2]",
}


@pytest.mark.parametrize("path", FILES)
def test_any_file_may_be_missing(results_dir, table, path, quick):
    below(results_dir, path).unlink()
    section = section_of(table, results_dir)
    assert len(section.kept) >= 10
    assert len(section.rounds) >= 2
    told = path in section.problems[0] if section.problems else False
    assert told == path.endswith("mrcs")


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_file_may_be_damaged_and_is_told(results_dir, table, damage, quick):
    for path in FILES:
        target = below(results_dir, path)
        whole = target.read_bytes()
        target.write_bytes(DAMAGES[damage](whole))
        section = section_of(table, results_dir)
        # pictures are not read where the stacks are whole; a table that is cut at the end of
        # a row is shorter and no longer fits its stack
        if not path.endswith(".png"):
            named = [p for p in section.problems if layout.CLASS2D in p]
            assert named or damage == "cut", (path, section.problems)
        if path.endswith(("json", "mrcs")):
            assert any(path in p for p in section.problems), (path, section.problems)
        target.write_bytes(whole)
    assert section_of(table, results_dir).problems == []
    for path in FILES:
        target = below(results_dir, path)
        target.write_bytes(DAMAGES[damage](target.read_bytes()))
    html = part_of(section_of(table, results_dir))
    assert "Look at the file and at the log" in html


def test_without_any_stack_the_picture_is_shown(results_dir, table, quick):
    for path in FILES:
        if path.endswith("mrcs"):
            below(results_dir, path).unlink()
    section = section_of(table, results_dir)
    assert section.kept == []
    assert section.picture.startswith("data:image/webp;base64,")
    assert [p for p in section.problems if "100000/classes.mrcs is missing" in p]
    assert "montage" in part_of(section_of(table, results_dir))
    for path in FILES:
        if path.endswith("png"):
            below(results_dir, path).unlink()
    assert section_of(table, results_dir).picture == ""


def test_a_stack_of_another_number_of_classes_is_told(results_dir, table, quick):
    path = below(results_dir, layout.class2d_live("mrcs"))
    write_mrc(path, np.zeros((7, 64, 64), np.float32), 4.0)
    section = section_of(table, results_dir)
    assert any("live.mrcs cannot be shown" in p and "(7, 64, 64)" in p for p in section.problems)
    assert len(section.kept) == 18  # those of the round


def test_columns_that_are_missing(tmp_path, table):
    write_round(tmp_path, *ROUNDS[0])
    path = below(tmp_path, layout.class2d_file(5000, "classes.star"))
    whole = read_star(path)["classes"]
    needed = ["csnClassPopulation", "csnClassLabel", "csnClassKept"]
    write_star(path, {"classes": whole[needed]})
    section = section_of(table, tmp_path)
    assert (section.problems, len(section.rounds)) == ([], 1)
    assert section.rounds[0].median_angst is None
    assert section.kept[0].resolution == "–"
    write_star(path, {"classes": whole.drop(columns="csnClassKept")})
    section = section_of(table, tmp_path)
    assert section.problems == [
        f"{layout.class2d_file(5000, 'classes.star')} has no column csnClassKept."
    ]
    assert section.steps[0].words == "for a file that can be read"


def test_folders_that_are_no_rounds_are_not_taken_for_such(results_dir):
    for name in ("stream", "25000_old", "²", "live"):
        (below(results_dir, layout.CLASS2D) / name).mkdir()
    assert [one.particles for one in read_class2d(results_dir).rounds] == [5000, 25000, 100000]


# ---- the page ----


def test_the_page_has_it_all(complete):
    part = complete[complete.index('<section id="class2d">') :]
    part = part[: part.index('<section id="facts">')]
    assert '<a href="#class2d">2D classes</a>' in complete
    words = words_of(part)
    for text in (
        "18 of 24 classes are good:",
        "particles that came since",
        "Tilt the stage",
        "Left out",
        "From round to round",
        "Quality over the session",
        "Grid squares, the worst first",
        "for 200,000 particles",
    ):
        assert text in words, text
    assert part.count('<figure class="card average') == 24 + 7 + 8 + 8
    assert re.search(r"18 / 24 2D classes kept, with \d\d % of the particles", words_of(complete))
    ids = re.findall(r'\bid="([^"]+)"', complete)
    assert len(ids) == len(set(ids))
    assert not re.search(r'(?:src|href)="(?!data:|#)', complete)


def test_the_page_of_a_long_session_stays_small(results_dir, table):
    batches = [f"b{i:05d}" for i in range(1500)]
    live = live_json(100000, batches, [f"GridSquare_{i}" for i in range(900)])
    below(results_dir, layout.class2d_live("json")).write_text(json.dumps(live))
    html = part_of(section_of(table, results_dir))
    assert len(html) < 1_500_000
    assert "the mean of 5 batches" in html
    assert f"{900 - rows.SQUARES_LISTED} better squares are not listed here" in html


def test_names_are_escaped(results_dir, table, quick):
    evil = '<script>alert("x")</script> & _{$\\frac$}'
    live = live_json(100000, [evil, "b00000", "b00001"], [evil, "s1", "s2"])
    live["engine"] = evil
    below(results_dir, layout.class2d_live("json")).write_text(json.dumps(live))
    told = round_decisions(100000, round_classes(*ROUNDS[-1]))
    told.loc[2, ["csnValue", "csnThreshold", "csnEvidence"]] = "<b>bold</b> & so"
    path = below(results_dir, layout.class2d_file(100000, "decisions.star"))
    write_star(path, {"decisions": told})
    html = part_of(section_of(table, results_dir))
    assert "<script" not in html
    assert "&lt;script&gt;alert" in html
    assert "<b>bold" not in html
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; so" in html


def test_the_page_loads_without_errors_or_requests(complete, browser, tmp_path):  # noqa: F811
    path = tmp_path / "report.html"
    path.write_text(complete)
    dom, messages, requests = browser(path, tmp_path)
    assert "2D classes" in dom
    assert messages == []
    assert requests == set()


def test_the_mask_sets_the_part_that_is_shown(results_dir, table, quick):
    path = below(results_dir, layout.class2d_file(100000, "averages.star"))
    blocks = read_star(path)
    assert blocks["general"]["csnMaskDiameter_angst"] == DIAMETER_ANGST
    blocks["general"]["csnMaskDiameter_angst"] = 120.0
    write_star(path, blocks)
    assert section_of(table, results_dir).gallery_note == "Each picture is 128 Å wide."
    path.unlink()
    assert section_of(table, results_dir).gallery_note == "Each picture is 256 Å wide."
