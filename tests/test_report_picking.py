"""The report's section on picking: right whatever files there are, and alerts of a low yield."""

import json
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_picking_session import (
    DIAMETER_ANGST,
    PIXEL_ANGST,
    SIDE_PX,
    agreement_json,
    fabricated_counts,
    model_json,
    size_json,
    write_counts,
    write_header,
    write_json,
    write_picking,
    write_size_picture,
)
from report_session import fabricated_tables
from test_report import browser  # noqa: F401 (a fixture)

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import as_table
from cryosnake.images import write_png
from cryosnake.picking.yields import yield_alerts
from cryosnake.preprocess.movie import thumbnail
from cryosnake.report import picking_gallery, picking_rows, render
from cryosnake.report.picking_files import below, read_picking
from cryosnake.report.picking_section import picking_section
from cryosnake.report.table import prepared
from cryosnake.tables import write_star

CONFIG = Config()
REACHED = [("size", 100, 100), ("training", 250, 250)]


def section_of(table, results_dir, *, milestones=REACHED, config=CONFIG):
    return picking_section(prepared(table), config, milestones, results_dir)


def page(table, results_dir, *, config=CONFIG, milestones=REACHED):
    return render(
        micrographs=table,
        decisions=as_table([]),
        config=config,
        batches_seen=1,
        batches_pending=0,
        milestones=milestones,
        results_dir=results_dir,
        written=datetime(2026, 3, 2, 3, 0, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def table():
    return fabricated_tables(100)[0]


@pytest.fixture(scope="module")
def complete(tmp_path_factory, table):
    """Results with all files of picking, and their page."""
    results_dir = tmp_path_factory.mktemp("session") / "results"
    write_picking(table, results_dir)
    return results_dir, page(table, results_dir)


# ---- yield ----


def counts_of(picks, squares="-"):
    return pd.DataFrame({"picks": np.asarray(picks, float), "square": squares})


def steady(random, number, mean=200.0):
    """Counts as views differ: much more than chance of counting."""
    return random.poisson(mean * np.clip(random.normal(1, 0.3, number), 0.05, None))


def test_a_poor_square_and_a_poor_end_are_told_once_each():
    random = np.random.default_rng(0)
    squares = np.repeat([f"s{i}" for i in range(10)], 30)
    picks = steady(random, 300)
    picks[90:120] //= 4
    picks[260:] //= 3
    alerts = yield_alerts(counts_of(picks, squares), window_micrographs=40)
    assert [alert.subject for alert in alerts] == ["s3", "s9", "session"]
    assert {(alert.rule, alert.verdict) for alert in alerts} == {("yield", "warn")}
    square = alerts[0]
    median = np.median(picks[90:120])
    assert square.value == f"{median:g} particles a micrograph (median) in grid square s3"
    assert square.threshold == f"at least 0.5 of the session's median of {np.median(picks):g}"
    assert f"30 micrographs with {picks[90:120].sum()} particles" in square.evidence
    assert square.confidence > 0.99
    assert "latest 40 micrographs" in alerts[-1].value


def test_steady_sessions_raise_no_alert():
    squares = np.repeat([f"s{i}" for i in range(40)], 5)
    random = np.random.default_rng(1)
    # very uneven views, few in a square: medians below the half occur, alerts must not
    sessions = [random.negative_binomial(1.2, 0.02, 200) for _ in range(100)]
    low = [
        pd.Series(picks).groupby(squares).median().min() < 0.5 * np.median(picks)
        for picks in sessions
    ]
    alerts = [yield_alerts(counts_of(picks, squares), window_micrographs=20) for picks in sessions]
    assert sum(low) > 90
    assert sum(bool(found) for found in alerts) <= 4


def test_a_fall_must_be_large_not_only_certain():
    squares = np.repeat(["a", "b", "c"], 100)
    picks = np.where(squares == "b", 70, 100)
    assert yield_alerts(counts_of(picks, squares)) == []
    assert len(yield_alerts(counts_of(picks, squares), low_ratio=0.75)) == 1


def test_what_is_too_little_to_judge_is_not_judged():
    picks = [200] * 30 + [3] * 4
    squares = ["a"] * 30 + ["b"] * 4
    assert yield_alerts(counts_of(picks, squares), window_micrographs=4) != []
    assert yield_alerts(counts_of(picks, squares), window_micrographs=30) == []
    assert yield_alerts(counts_of(picks), window_micrographs=30) == []
    assert yield_alerts(counts_of([])) == []
    assert yield_alerts(counts_of([0] * 200, ["a", "b"] * 100)) == []


def test_micrographs_that_are_not_picked_yet_do_not_count():
    random = np.random.default_rng(2)
    picks = steady(random, 200).astype(float)
    picks[150:] = np.nan
    assert yield_alerts(counts_of(picks)) == []
    picks[100:150] = 10
    (alert,) = yield_alerts(counts_of(picks))
    assert alert.subject == "session"
    assert alert.value.startswith("10 particles")


# ---- states ----


def test_no_folder_no_section(tmp_path, table):
    assert section_of(table, tmp_path) is None
    html = page(table.iloc[:3], tmp_path)
    assert "#picking" not in html
    assert "particles picked" not in html


def test_each_step_says_what_it_waits_for(tmp_path, table):
    """The files arrive one after another."""
    below(tmp_path, layout.PICKING).mkdir()

    def told(milestones=REACHED):
        section = section_of(table, tmp_path, milestones=milestones)
        return section.headline, section.headline_words, [step.state for step in section.steps]

    few = [("size", 7, 100), ("training", 12, 250)]
    assert told(few) == (
        "waiting",
        "for 100 micrographs that pass the stringent filter (7 so far)",
        ["waits"] * 4,
    )
    assert told()[0] == "sizing"
    write_json(tmp_path, layout.SIZE, size_json())
    write_size_picture(tmp_path)
    assert told([("size", 100, 100), ("training", 12, 250)]) == (
        "waiting",
        "for 250 accepted micrographs (12 so far)",
        ["done", "waits", "waits", "waits"],
    )
    assert told()[::2] == ("picking to train", ["done", "now", "waits", "waits"])
    write_json(tmp_path, layout.AGREEMENT, agreement_json())
    assert told()[::2] == ("training", ["done", "done", "now", "waits"])
    write_json(tmp_path, layout.model_file(1, "json"), model_json())
    assert told() == ("picking", "Final picking: begins with the model", [*["done"] * 3, "now"])
    counts = fabricated_counts(table)
    write_counts(counts.iloc[:50], tmp_path, extracted=False)
    section = section_of(table, tmp_path)
    assert (section.headline, section.extracted) == ("picking", None)
    assert f"50 of {len(counts)} accepted micrographs picked" in section.headline_words
    write_counts(counts, tmp_path)
    section = section_of(table, tmp_path)
    assert section.headline == "up to date"
    assert section.picked == counts["picks"].sum()
    assert section.extracted == counts["extracted"].sum()
    assert section.median == counts["picks"].median()


def test_a_new_version_of_the_model_is_waited_for(tmp_path, table):
    write_picking(table, tmp_path, pictures=False)
    config = Config.model_validate({"picking": {"model_version": 2}})
    states = [step.state for step in section_of(table, tmp_path, config=config).steps]
    assert states == ["done", "done", "now", "done"]


def test_every_page_on_the_way_is_whole(tmp_path, table, recwarn):
    below(tmp_path, layout.PICKING).mkdir()
    html = page(table, tmp_path, milestones=[("size", 7, 100)])
    assert "Waits for 100 micrographs that pass the stringent filter (7 so far)." in html
    assert "The curve begins with the first picked micrographs." in html
    for path in (layout.SIZE, layout.AGREEMENT, layout.model_file(1, "json")):
        write_json(tmp_path, path, {})
    assert "Template-free pickers" in page(table.iloc[:0], tmp_path)
    assert [str(w.message) for w in recwarn] == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (layout.SIZE, '{"diameter_angst": 1'),
        (layout.AGREEMENT, "[1, 2]"),
        (layout.model_file(1, "json"), "\x00"),
        (layout.SIZE, "[" * 100_000),
    ],
    ids=["cut", "list", "binary", "deep"],
)
def test_damaged_files_are_told(tmp_path, table, path, content):
    write_picking(table, tmp_path, pictures=False)
    write_json(tmp_path, path, content)
    section = section_of(table, tmp_path)
    (problem,) = section.problems
    assert problem.startswith(path)
    assert "for a file that can be read" in [step.words for step in section.steps]


ODD = [None, True, "text", -1, 1e400, 10**400, [], {}, [1], {"a": {"picks": "x"}}, [{"epoch": 1}]]


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:20])
def test_any_value_of_any_key_is_survived(tmp_path, table, value):
    for path, whole in (
        (layout.SIZE, size_json()),
        (layout.AGREEMENT, agreement_json()),
        (layout.model_file(1, "json"), model_json()),
    ):
        write_json(tmp_path, path, json.dumps(dict.fromkeys(whole, value)))
    assert section_of(table, tmp_path).problems == []


def test_pictures_of_the_size_that_are_broken_or_huge(tmp_path, table):
    write_picking(table.iloc[:0], tmp_path, pictures=False)
    path = below(tmp_path, layout.SIZE_PICTURE)
    assert section_of(table, tmp_path).size_picture.startswith("data:image/png;base64,")
    write_png(path, np.random.default_rng(0).integers(0, 255, (1300, 1300), dtype=np.uint8))
    reduced = section_of(table, tmp_path).size_picture
    assert reduced.startswith("data:image/webp;base64,")
    assert len(reduced) < 2_500_000
    path.write_bytes(path.read_bytes()[:3000])
    assert section_of(table, tmp_path).size_picture == ""


# ---- counts ----


def test_counts_by_name_with_or_without_folder(tmp_path, table):
    counts = fabricated_counts(table)
    short = counts.assign(micrograph=counts["micrograph"].str.extract(r"([^/]+)\.mrc$")[0])
    write_counts(counts.iloc[:40], tmp_path)
    write_counts(short.iloc[40:], tmp_path)
    read = read_picking(prepared(table), tmp_path, model_version=1)
    overlap = counts["batch"].iloc[39] == counts["batch"].iloc[40]
    expected = counts if not overlap else counts[counts["batch"] != counts["batch"].iloc[40]]
    merged = read.counts.set_index("rlnMicrographName")["picks"]
    for row in expected.itertuples():
        assert merged[row.micrograph] == row.picks


@pytest.mark.parametrize(
    "text",
    ["", "micrograph,picks\na,1,2\n", "micrograph,picks\na,many\n", "name,picks\na,1\n", "\x00,\n"],
)
def test_a_damaged_count_is_told_and_the_others_count(tmp_path, table, text):
    counts = fabricated_counts(table)
    write_counts(counts, tmp_path)
    batch = counts["batch"].iloc[0]
    below(tmp_path, layout.picked_counts(batch)).write_text(text)
    section = section_of(table, tmp_path)
    assert section.picked == counts.loc[counts["batch"] != batch, "picks"].sum()
    (problem,) = section.problems
    assert problem.startswith(layout.picked_counts(batch))


def test_zero_one_and_only_rejected(tmp_path, table):
    one = fabricated_counts(table).iloc[:1]
    write_counts(one.assign(picks=0, extracted=0), tmp_path)
    section = section_of(table, tmp_path)
    assert (section.picked, section.median, section.alerts) == (0, 0, [])
    assert section.cards[0].circles == []
    assert section_of(table.assign(csnAccepted=0), tmp_path).progress is None
    assert section_of(table.iloc[:0], tmp_path).yield_figure == ""


# ---- figures and tables ----


def test_size_facts_and_estimates():
    elongated = size_json() | {"elongated": True, "long_axis_angst": 500.0}
    facts = dict(picking_rows.size_facts(elongated))
    assert facts["Shape"] == "elongated: 500 Å long, 171 Å wide"
    assert facts["Extraction box"] == "256 px on the micrograph"
    assert facts["Measured on"] == "8 micrographs"
    *single, combined = picking_rows.measured(size_json(5))
    assert [len(one.values_angst) for one in single] == [5, 5, 4]
    assert (combined.title, combined.diameter_angst) == ("Combined", DIAMETER_ANGST)
    assert picking_rows.size_doubts(elongated) == []


def test_doubts_about_the_size_are_told(tmp_path, table):
    size = size_json()
    size["evidence"]["notes"] = ["the methods contradict one another: scale 90 A, average 300 A"]
    size["evidence"]["methods"][1]["weight"] = 0.0
    size["evidence"]["micrographs"][2] = {"name": "m2", "reason": "it is flat"}
    write_json(tmp_path, layout.SIZE, size)
    assert picking_rows.measured(size)[1].title == "Rotational average, unused"
    assert dict(picking_rows.size_facts(size))["Measured on"] == "7 of 8 micrographs"
    html = page(table.iloc[:3], tmp_path)
    assert "the methods contradict one another: scale 90 A, average 300 A" in html
    assert "m2 was left out: it is flat" in html


def test_who_found_what():
    subsets, pickers = picking_rows.subset_counts(
        {
            "pickers": {"log": {"picks": 30}, "network": {"picks": 12}},
            "subsets": {"network+log": 10, "log+network": 1, "log": 19, "other": 4, "": 3},
        }
    )
    assert subsets == {("log", "network"): 11, ("log",): 19, ("other",): 4}
    assert pickers == {"log": 30, "network": 12, "other": 4}


def test_a_failed_picker_is_told(tmp_path, table):
    write_json(tmp_path, layout.AGREEMENT, agreement_json(failed="correlation"))
    html = page(table.iloc[:3], tmp_path)
    assert '<span class="low">failed</span>: its picks agree with those of the others' in html


def test_scores_begin_with_the_best_and_mark_the_chosen():
    model = model_json() | {"chosen": "consensus"}
    rows = picking_rows.score_rows(model)
    assert [row["agreement"] for row in rows] == [0.84, 0.81, 0.76]
    assert [row["title"] for row in rows if row["chosen"]] == ["Consensus"]


def test_curves_of_the_training():
    loss, validation, over = picking_rows.training_panels(model_json())
    assert [curve.title for curve in loss[2]] == ["Loss"]
    assert (validation[1], [curve.title for curve in validation[2]]) == ("round", ["Validation"])
    assert (over[1], over[3], len(over[2])) == ("threshold", 0.31, 2)
    many = {"validation": {"threshold": list(range(9000)), "f1": [0.5] * 9000}}
    ((_, _, (curve,), line),) = picking_rows.training_panels(many)
    assert 100 < len(curve.x) <= 200
    assert (curve.x[1] - curve.x[0], line) == (46, None)


def test_low_squares_are_marked_and_the_latest_come_first(complete, table):
    section = section_of(table, complete[0])
    squares = section.squares
    assert sum(row["low"] for row in squares) == 1
    names = [row["name"] for row in squares]
    assert names == sorted(names, reverse=True)
    assert sum(row["micrographs"] for row in squares) == table["csnAccepted"].sum()


def test_figures_are_well_formed_and_share_no_id(complete):
    figures = re.findall(r"<svg role=.*?</svg>", complete[1], flags=re.DOTALL)
    assert len(figures) == 8
    ids = []
    for text in figures:
        root = ET.fromstring(text)
        assert root.get("aria-label")
        assert "#010101" not in text
        ids += [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


# ---- picks on micrographs ----


@pytest.mark.parametrize("shape", [(1024, 1024), (1000, 1440), (400, 300)])
def test_circles_lie_where_the_thumbnail_shows_the_particle(tmp_path, shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    at_x, at_y = 0.7 * shape[1], 0.2 * shape[0]
    sigma_px = 0.06 * min(shape)
    image = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * sigma_px**2)).astype(np.float32)
    path = tmp_path / "m_thumb.png"
    write_png(path, thumbnail(image))
    shown = np.asarray(Image.open(path), float)
    shown = np.where(shown > 60, shown, 0)
    rows, columns = np.mgrid[: shown.shape[0], : shown.shape[1]]
    ((across, down),) = picking_gallery.circles_of(
        np.array([at_x]),
        np.array([at_y]),
        scale_x=shown.shape[1] / shape[1],
        scale_y=shown.shape[0] / shape[0],
        height=shown.shape[0],
    )
    # the centre of a picture's pixel is half a pixel from its edge
    assert float(across) == pytest.approx((columns * shown).sum() / shown.sum() + 0.5, abs=0.12)
    assert float(down) == pytest.approx((rows * shown).sum() / shown.sum() + 0.5, abs=0.12)


def test_cards_over_the_defocus_range_with_all_picks(complete, table):
    section = section_of(table, complete[0])
    assert len(section.cards) == picking_gallery.MICROGRAPHS_SHOWN
    shown = prepared(table).set_index("number").loc[[card.number for card in section.cards]]
    defocus = shown["csnDefocusMean_angst"].to_numpy()
    assert (np.diff(defocus) > 0).all()
    accepted = table.loc[table["csnAccepted"] == 1, "csnDefocusMean_angst"]
    low, high = accepted.quantile([0.15, 0.85])
    assert defocus[0] < low
    assert defocus[-1] > high
    card = section.cards[0]
    assert card.picture.startswith("data:image/webp")
    assert (card.width, card.height, card.note) == (512, 512, "")
    expected = 0.5 * DIAMETER_ANGST / PIXEL_ANGST * 512 / SIDE_PX
    assert float(card.radius) == pytest.approx(expected, abs=0.06)
    assert len(card.circles) > 50
    circles = complete[1].count("<circle cx=")
    assert circles == sum(len(card.circles) for card in section.cards)


def test_coordinates_of_shown_micrographs_only_are_read(complete, table, monkeypatch):
    read = []
    original = picking_gallery.read_star
    monkeypatch.setattr(
        picking_gallery, "read_star", lambda path: read.append(path) or original(path)
    )
    section_of(table, complete[0])
    assert 0 < len(read) <= picking_gallery.MICROGRAPHS_SHOWN
    assert len(read) == len(set(read))


def test_cards_without_coordinates_micrograph_or_picture_say_so(tmp_path, table):
    counts = fabricated_counts(table)
    write_counts(counts, tmp_path)
    notes = {card.note for card in section_of(table, tmp_path).cards}
    assert notes == {"No circles: the coordinates no such file."}
    shown = {card.number for card in section_of(table, tmp_path).cards}
    rows = prepared(table).set_index("number").loc[sorted(shown)]
    for batch, group in rows.groupby("csnBatch"):
        block = pd.DataFrame(
            {
                "rlnMicrographName": np.repeat(group["rlnMicrographName"].to_numpy(), 2500),
                "rlnCoordinateX": 100.0,
                "rlnCoordinateY": 50.0,
                "rlnAutopickFigureOfMerit": 1.0,
            }
        )
        write_star(below(tmp_path, layout.coordinates_star(batch)), {"coordinates": block})
    notes = {card.note for card in section_of(table, tmp_path).cards}
    assert notes == {"No circles: the micrograph's own size cannot be read."}
    for row in rows.itertuples():
        folder = below(tmp_path, layout.PREPROCESS) / row.csnBatch
        folder.mkdir(parents=True, exist_ok=True)
        write_header(folder / f"{row.stem}.mrc")
    cards = section_of(table, tmp_path).cards
    assert {card.note for card in cards} == {"The best 2,000 of 2,500 picks are drawn."}
    assert {card.picture for card in cards} == {""}
    assert len(cards[0].circles) == 2000


# ---- the page ----

EVIL = "<script>document.title='taken'</script><img src=http://example.org/x>$\\frac{\"&'"


def evil_picking(table, results_dir):
    write_picking(table, results_dir)
    size, agreement, model = size_json(), agreement_json(), model_json()
    size["evidence"]["methods"].append({"method": EVIL, "diameter_angst": 150.0})
    size["evidence"]["notes"] = [EVIL]
    agreement["pickers"][EVIL] = {"picks": 10, "failed": True, "why": EVIL}
    agreement["subsets"][f"log+{EVIL}"] = 5
    model |= {"why": EVIL, "chosen": EVIL, "version": EVIL, "training_micrographs": [EVIL]}
    model["scores"][EVIL] = {"agreement": 0.5}
    model["curve"][0][EVIL] = 1.0
    write_json(results_dir, layout.SIZE, size)
    write_json(results_dir, layout.AGREEMENT, agreement)
    write_json(results_dir, layout.model_file(1, "json"), model)


def test_browser_shows_picking_without_network_or_errors(browser, tmp_path):  # noqa: F811
    table = fabricated_tables(40)[0]
    evil_picking(table, tmp_path)
    html = page(table, tmp_path)
    assert html.count("<script>") == 1
    assert "<img src=http" not in html
    path = tmp_path / "report.html"
    path.write_text(html)
    dom, console, requests = browser(path, tmp_path)
    assert console == []
    assert requests == set()
    assert "<title>taken</title>" not in dom
    assert 'id="picking"' in dom


def test_tiles_and_facts_tell_of_picking(complete):
    html = complete[1]
    assert "particles a micrograph (median)" in html
    assert "<dt>Particle: diameter</dt><dd>182 ± 9 Å</dd>" in html
    assert "<dt>Picked by</dt><dd>Trained on this sample, version 1, threshold 0.31</dd>" in html
    assert "Few particles in" in html


def test_same_files_same_page(complete, table):
    assert page(table, complete[0]) == complete[1]
