"""The report: it says in words what is wrong, holds whatever comes, and needs no network."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_session import fabricated_tables, write_pictures

from cryosnake.config.model import Config
from cryosnake.curation import FILTERS, FLAG_COLUMNS
from cryosnake.decisions import Decision, as_table
from cryosnake.report import figures, gallery, render, summary, write_report
from cryosnake.report.status import percent, session_status, wilson_interval
from cryosnake.report.table import left_out_files, prepared
from cryosnake.tables import read_table, write_star

WRITTEN = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
CONFIG = Config()
NOTHING = as_table([])


def page(table, decisions=NOTHING, *, config=CONFIG, results_dir=Path("nowhere"), **others):
    arguments = {
        "batches_seen": -(-len(table) // 20),
        "batches_pending": 0,
        "milestones": [("size", 3, 100), ("training", 260, 250)],
    }
    return render(
        micrographs=table,
        decisions=decisions,
        config=config,
        results_dir=results_dir,
        written=WRITTEN,
        **(arguments | others),
    )


def status_of(table, decisions=NOTHING, config=CONFIG, batches_pending=0):
    table = prepared(table)
    return session_status(
        table,
        decisions,
        left_out_files(table, decisions),
        config,
        batches_seen=1,
        batches_pending=batches_pending,
    )


def good_movies(number):
    """Movies that every filter accepts."""
    table = pd.DataFrame(
        {
            "rlnMicrographMovieName": [f"movies/m{i}.tif" for i in range(number)],
            "rlnMicrographName": [f"results/preprocess/b00000/m{i}.mrc" for i in range(number)],
            "csnBatch": "b00000",
            "rlnCtfMaxResolution": 4.0,
            "rlnDefocusU": 15100.0,
            "rlnDefocusV": 14900.0,
            "csnDefocusMean_angst": 15000.0,
            "csnAstigmatism_ratio": 0.01,
            "csnMicrographClass": "good",
            "csnAccepted": 1,
            "csnReason": "-",
            "csnExplanation": "-",
        }
    )
    table[list(FLAG_COLUMNS.values())] = 1
    return table


def rejected_by(table, rows, reason, **columns):
    table = table.copy()
    table.loc[rows, "csnAccepted"] = 0
    table.loc[rows, "csnReason"] = reason
    table.loc[rows, FLAG_COLUMNS[reason]] = 0
    for name, value in columns.items():
        table.loc[rows, name] = value
    return table


# ---- the status ----


def test_no_movies_waits():
    status = status_of(pd.DataFrame())
    assert status.level == "waiting"
    assert status.headline == "Waiting for the first movies."


def test_few_movies_are_too_early_to_judge():
    status = status_of(rejected_by(good_movies(6), range(6), "drift"))
    assert status.level == "unsure"
    assert status.headline == "Too early to say: 0 of 6 movies accepted so far."


def test_a_good_session_needs_nothing():
    status = status_of(good_movies(100))
    assert (status.level, status.findings) == ("good", [])
    assert status.headline == "All is well: 100 % of the latest 50 movies accepted."


def test_fall_of_acceptance_is_named_with_cause_and_advice():
    late = range(250, 300)
    table = rejected_by(good_movies(300), range(255, 290), "class", csnMicrographClass="major_ice")
    status = status_of(table)
    assert status.level == "problem"
    assert status.headline == "Too few: 30 % of the latest 50 movies accepted."
    assert status.findings[0].what == (
        "Acceptance fell from 100 % to 30 % in the latest 50 movies."
    )
    ice = next(f for f in status.findings if "ice" in f.what)
    assert ice.what == (
        f"Micrograph class filter: 35 of the latest {len(late)} movies rejected, mostly major ice."
    )
    assert "leave this square or this grid" in ice.advice


@pytest.mark.parametrize(
    ("columns", "cause", "advice"),
    [
        ({"rlnCtfMaxResolution": 9.0}, "resolution", "focus"),
        ({"csnDefocusMean_angst": 60000.0}, "defocus", "autofocus"),
        ({"csnAstigmatism_ratio": 0.3}, "astigmatism", "stigmators"),
    ],
)
def test_ctf_rejections_name_what_failed(columns, cause, advice):
    status = status_of(rejected_by(good_movies(60), range(20, 60), "ctf", **columns))
    (finding,) = status.findings
    assert finding.what.endswith(f"mostly for {cause}.")
    assert advice in finding.advice


def test_one_unreadable_file_is_told_and_a_few_other_rejections_are_not():
    assert status_of(rejected_by(good_movies(100), [98, 99], "ctf")).level == "good"
    status = status_of(
        rejected_by(good_movies(100), [99], "input", csnExplanation="the file is empty")
    )
    assert status.level == "watch"
    assert status.findings[0].what == (
        "Input filter: 1 of the latest 50 movies rejected; the latest: the file is empty."
    )


def test_dose_is_told_although_it_does_not_reject():
    table = good_movies(100)
    table.loc[60:, "csnPassDose"] = 0
    status = status_of(table)
    assert status.level == "problem"
    assert status.findings[0].what.startswith("The dose of 40 of the latest 50 movies is more than")


def test_waiting_batches_warnings_and_doubts_become_findings():
    decisions = as_table(
        [
            Decision("b00000", "acquisition", "warn", "voltage 300 is used, xml says 200", "-"),
            Decision("session", "gain", "unsure", "orientation none", "-"),
            Decision("session", "gain", "info", "nothing to tell", "-"),
        ]
    )
    status = status_of(good_movies(100), decisions, batches_pending=7)
    texts = [finding.what for finding in status.findings]
    assert texts == [
        "Acquisition: voltage 300 is used, xml says 200.",
        "Gain: orientation none.",
        "7 batches wait to be processed.",
    ]
    assert status.headline.endswith("3 things to look at.")


def test_files_that_were_not_taken_in_are_shown():
    decisions = as_table(
        [
            Decision("movies/odd'name.tif", "input", "fail", "a name STAR cannot hold", "another"),
            Decision("movies/m3.tif", "input", "fail", "truncated", "whole file"),
            Decision("movies/now.tif", "input", "warn", "still grows", "-"),
        ]
    )
    table = rejected_by(good_movies(30), [3], "input", csnExplanation="truncated")
    html = page(table, decisions)
    assert "1 file seen but not taken in: a name STAR cannot hold." in html
    rows, _ = summary.rejected_rows(
        prepared(table), left_out_files(prepared(table), decisions), limit=10
    )
    assert [row["name"] for row in rows] == ["odd`name.tif", "now.tif", "m3.tif"]


@given(st.integers(0, 400), st.integers(0, 400))
def test_wilson_interval_holds_the_share(successes, more):
    trials = successes + more
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= high <= 1
    if trials:
        assert low <= successes / trials + 1e-12
        assert high >= successes / trials - 1e-12


def test_wilson_interval_against_published_values():
    # Newcombe 1998, Stat Med 17, 857, table I, method 3: 81 of 263, 95 %
    assert wilson_interval(81, 263, z=1.959964) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_shares_are_not_rounded_into_a_lie():
    assert percent(999, 1000) == "99 %"
    assert percent(1, 1000) == "under 1 %"
    assert percent(1000, 1000) == "100 %"
    assert percent(0, 0) == "-"


# ---- tables of the page ----


def test_filters_count_what_was_computed():
    table = good_movies(10)
    table.loc[:4, "csnPassDrift"] = 0
    table.loc[5:6, "csnPassDrift"] = -1
    rows = {row.name: row for row in summary.filter_rows(prepared(table), CONFIG)}
    assert (rows["drift"].accepted, rows["drift"].total, rows["drift"].low) == (3, 8, True)
    assert rows["dose"].rejects is False
    assert list(rows) == list(FILTERS)


def test_input_errors_come_first_then_the_newest():
    table = rejected_by(good_movies(20), [2, 9, 15], "drift")
    table = rejected_by(table, [4, 7], "input")
    rows, not_listed = summary.rejected_rows(prepared(table), NOTHING, limit=4)
    assert [row["number"] for row in rows] == [8, 5, 16, 10]
    assert not_listed == 1


def test_passes_are_the_first_decisions_to_be_left_out():
    decisions = as_table(
        [Decision("session", "dose", "warn", "-", "-")]
        + [Decision("m1", "ctf", "fail", "-", "-")]
        + [Decision(f"m{i}", "ctf", "pass", "-", "-") for i in range(50)]
    )
    rows, not_listed = summary.decision_rows(decisions, limit=3)
    assert [row["verdict"] for row in rows] == ["pass", "fail", "warn"]
    assert (rows[0]["subject"], not_listed) == ("m49", 49)


def test_forecast_of_milestones():
    rows = summary.milestone_rows([("size", 40, 100), ("training", 250, 250)], 120.0)
    assert rows[0]["forecast"] == "in about 30 min at the microscope's pace"
    assert rows[1]["forecast"] == "reached"
    assert summary.milestone_rows([("size", 40, 100)], None)[0]["forecast"] == "60 to go"


def test_pace_from_times_of_acquisition():
    table = good_movies(100)
    times = pd.date_range("2026-03-01T00:00", periods=100, freq="6s", tz="UTC")
    table["csnAcquisitionTime"] = [t.isoformat() for t in times]
    assert summary.pace_per_hour(prepared(table)) == pytest.approx(600)


def test_rejected_gallery_shows_every_reason_before_any_twice():
    table = rejected_by(good_movies(50), range(10, 40), "drift")
    table = rejected_by(table, [3], "ctf")
    table = rejected_by(table, [1], "input")
    chosen = gallery.chosen_rejected(prepared(table), 4)
    assert list(chosen["csnReason"]) == ["drift", "ctf", "input", "drift"]
    assert list(chosen["number"]) == [40, 4, 2, 39]
    assert len(gallery.chosen_accepted(prepared(table), 5)) == 5
    assert gallery.chosen_accepted(prepared(table), 5)["number"].iloc[0] == 50


# ---- the page ----


def svgs(html):
    return re.findall(r"<svg role=.*?</svg>", html, flags=re.DOTALL)


@pytest.mark.parametrize("movies", [0, 1, 2, 60])
def test_any_number_of_movies(movies, recwarn):
    table, decisions = fabricated_tables(movies)
    html = page(table, decisions)
    assert len(svgs(html)) == (4 if movies else 0)
    assert [str(w.message) for w in recwarn] == []


def test_columns_may_be_missing_or_nan_and_all_rejected(recwarn):
    table = good_movies(30)[["rlnMicrographMovieName"]]
    assert "Too few: none of 30 movies accepted." in page(table)
    table = good_movies(30)
    table[["rlnCtfMaxResolution", "csnDefocusMean_angst", "rlnDefocusU"]] = np.nan
    table["csnDriftPath_angst"] = np.inf
    assert page(rejected_by(table, range(30), "drift")).count("no data") >= 8
    table.loc[:, "csnGridSquare"] = np.nan
    assert page(table)
    assert [str(w.message) for w in recwarn] == []


def test_figures_are_well_formed_follow_the_theme_and_share_no_id():
    table = prepared(fabricated_tables(80)[0])
    ids = []
    for draw in (
        figures.outcome_figure,
        figures.series_figure,
        figures.histogram_figure,
        figures.scatter_figure,
    ):
        text = draw(table, CONFIG)
        root = ET.fromstring(text)
        assert root.get("aria-label")
        assert "width" not in root.attrib
        assert "var(--ink)" in text
        assert "#010101" not in text
        ids += [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_many_points_are_drawn_into_a_picture():
    table = prepared(fabricated_tables(6000)[0])
    text = figures.series_figure(table, CONFIG)
    assert "data:image/png;base64" in text
    assert len(text) < 1_500_000


def test_same_input_same_page():
    table, decisions = fabricated_tables(40)
    assert page(table, decisions) == page(table, decisions)


def test_tables_read_back_from_star_give_the_same_page(tmp_path):
    table, decisions = fabricated_tables(40)
    table["csnGridSquare"] = "0049"
    write_star(tmp_path / "m.star", {"micrographs": table})
    write_star(tmp_path / "d.star", {"decisions": decisions})
    again = page(
        read_table(tmp_path / "m.star", "micrographs"), read_table(tmp_path / "d.star", "decisions")
    )
    # STAR keeps six decimals: curves may differ in the last digit of a coordinate
    without_figures = [
        re.sub(r"<figure.*?</figure>", "", h, flags=re.DOTALL)
        for h in (again, page(table, decisions))
    ]
    assert without_figures[0] == without_figures[1]


def test_pictures_are_inlined_and_broken_ones_are_no_obstacle(tmp_path):
    table, decisions = fabricated_tables(40)
    write_pictures(table.iloc[:35], tmp_path, side_px=64)
    broken = next(tmp_path.glob("preprocess/b00000/*_thumb.png"))
    broken.write_bytes(broken.read_bytes()[:50])
    html = page(table, decisions, results_dir=tmp_path)
    assert html.count("data:image/webp;base64,") > 20
    assert "no micrograph" in html


def test_budget_of_pictures():
    assert gallery.picture_side_px(1) == 448
    many = gallery.picture_side_px(2000)
    assert 96 <= many < 200


def test_written_whole(tmp_path):
    table, decisions = fabricated_tables(5)
    write_report(
        tmp_path / "results" / "report.html",
        micrographs=table,
        decisions=decisions,
        config=CONFIG,
        batches_seen=1,
        batches_pending=0,
        milestones=[],
        results_dir=tmp_path / "results",
    )
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["report.html"]


EVIL = "<script>document.title='taken'</script><img src=http://example.org/x onerror=alert(1)>\"&'"


def evil_session():
    table = rejected_by(good_movies(30), [4, 5], "class")
    table.loc[4, "rlnMicrographMovieName"] = f"movies/{EVIL}.tif"
    for column in ("rlnMicrographName", "csnGridSquare", "csnExplanation", "csnMicrographClass"):
        table[column] = table.get(column, "-")
        table.loc[[4, 6], column] = EVIL
    table.loc[5, "csnReason"] = EVIL
    decisions = as_table(
        [Decision(EVIL, EVIL, "warn", EVIL, EVIL, evidence=EVIL)] * 2
        + [Decision("session", "input", "fail", EVIL, EVIL)]
    )
    config = Config.model_validate(
        {"report": {"title": EVIL}, "input": {"path": EVIL}, "acquisition": {"gain": EVIL}}
    )
    return table, decisions, config


def test_nothing_from_a_file_name_becomes_markup():
    table, decisions, config = evil_session()
    html = page(table, decisions, config=config, milestones=[(EVIL, 1, 2)])
    assert "<script>document" not in html
    assert "<img src=http" not in html
    assert html.count("<script>") == 1
    assert html.count("&lt;script&gt;document") > 5


def test_page_names_no_other_resource():
    table, decisions = fabricated_tables(60)
    html = page(table, decisions)
    targets = re.findall(r'(?:src|href|action|xlink:href)="([^"]*)"', html)
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert not re.search(r"@import|url\((?!#)", html)


# ---- a real browser ----


@pytest.fixture(scope="module")
def browser():
    """A function that loads a page in headless Chromium: (DOM, console messages, requests)."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")

    def load(path, folder):
        log = folder / "net.json"
        done = subprocess.run(
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}",
                f"--log-net-log={log}",
                "--enable-logging=stderr",
                "--virtual-time-budget=3000",
                "--dump-dom",
                path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        events = json.loads(log.read_text())["events"]
        # the browser's own errands (updates) have no page as their initiator
        requests = {
            e["params"]["url"]
            for e in events
            if e.get("params", {}).get("initiator", "not an origin") != "not an origin"
        }
        return done.stdout, console, {u for u in requests if not u.startswith("file:")}

    return load


def test_browser_notices_requests_and_errors(browser, tmp_path):
    path = tmp_path / "control.html"
    path.write_text('<img src="http://example.org/a.png"><script>throw Error("told")</script>')
    _, console, requests = browser(path, tmp_path)
    assert "told" in console[0]
    assert requests == {"http://example.org/a.png"}


def test_browser_loads_the_page_without_network_or_errors(browser, tmp_path):
    table, decisions, config = evil_session()
    write_pictures(table.iloc[:3], tmp_path, side_px=64)
    path = tmp_path / "report.html"
    path.write_text(page(table, decisions, config=config, results_dir=tmp_path))
    dom, console, requests = browser(path, tmp_path)
    assert console == []
    assert requests == set()
    # the script ran (filters are unhidden, and count), that of the file name did not
    assert "3 of 3 shown" in dom
    assert "<title>taken</title>" not in dom
