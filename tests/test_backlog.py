"""How far behind a session is: in the line, in the tables, in the report; and larger batches."""

import os
import time

import numpy as np
import pandas as pd
import pytest
from report_session import fabricated_tables

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.config.model import Config, IngestConfig
from cryosnake.errors import BadInputError
from cryosnake.quick_star import read_columns
from cryosnake.report.backlog import backlog_figure, growing_backlog, waits_sentence
from cryosnake.report.status import session_status
from cryosnake.report.table import prepared
from cryosnake.session.backlog import Backlog
from cryosnake.session.batch_size import BatchSize, noted_sizes, size_decisions
from cryosnake.session.ingest import take_in
from cryosnake.session.ledger import Ledger
from cryosnake.session.progress import Counting, progress_line
from cryosnake.tables import write_star
from cryosnake.waits import arrived_s, in_words, waiting_curve, waits_s


def config_of(**ingest):
    settings = {"settle_s": 0, "batch_movies": 2, "poll_s": 0.05} | ingest
    return load_config({"input": {"path": "movies"}, "ingest": settings})


def add_movies(session, numbers):
    (session / "movies").mkdir(exist_ok=True)
    for number in numbers:
        path = session / "movies" / f"m{number:03d}.tif"
        path.write_bytes(b"x")
        os.utime(path, (1000 + number, 1000 + number))


def sizes(session):
    return [
        len(read_columns(session / layout.batch_star(batch), "movies", ["csnBatch"]))
        for batch in layout.closed_batches(session)
    ]


def finish(session, batch, *, after_s):
    """Stand-in for preprocessing: every row is complete so long after its file changed."""
    columns = ["rlnMicrographMovieName", "csnFileChanged_s", "csnArrival_s"]
    rows = read_columns(session / layout.batch_star(batch), "movies", columns)
    table = pd.DataFrame(rows, columns=columns)
    table["csnProcessed_s"] = table["csnArrival_s"].astype(float) + after_s
    table["csnAccepted"] = 1
    write_star(session / layout.batch_table(batch), {"micrographs": table})


@pytest.mark.parametrize(
    ("waiting", "movies"), [(0, 20), (4, 20), (5, 40), (6, 60), (7, 60), (500, 60)]
)
def test_batches_grow_with_what_waits_up_to_a_limit(waiting, movies):
    assert BatchSize.after(waiting, IngestConfig()) == BatchSize(movies, waiting)


def test_the_limit_can_be_set_and_makes_all_batches_alike():
    fixed = IngestConfig(batch_movies=20, batch_movies_max=20)
    assert BatchSize.after(500, fixed).movies == 20
    assert BatchSize.after(6, IngestConfig(batch_movies_max=50)).movies == 50
    with pytest.raises(BadInputError, match="batch_movies_max"):
        config_of(batch_movies=20, batch_movies_max=10)


def test_a_rerun_with_much_to_do_closes_larger_batches_and_says_so(tmp_path):
    add_movies(tmp_path, range(20))
    take_in(tmp_path, config_of())
    # four batches may wait; the sixth is twice, the seventh three times as large
    assert sizes(tmp_path) == [2, 2, 2, 2, 2, 4, 6]
    noted = noted_sizes(tmp_path)
    assert [(one["batch"], one["movies"], one["waiting"]) for one in noted] == [
        ("b00005", 4, 5),
        ("b00006", 6, 6),
    ]
    decisions = size_decisions(tmp_path)
    assert [(d.subject, d.rule, d.value) for d in decisions] == [
        ("b00005", "batch_size", "4 movies"),
        ("b00006", "batch_size", "6 movies"),
    ]
    assert "6 batches" in decisions[1].evidence


def test_batches_are_small_again_once_jobs_have_begun(tmp_path):
    add_movies(tmp_path, range(20))
    take_in(tmp_path, config_of())
    for batch in layout.closed_batches(tmp_path):
        (tmp_path / layout.PREPROCESS / batch).mkdir(parents=True)
    add_movies(tmp_path, range(20, 24))
    take_in(tmp_path, config_of())
    assert sizes(tmp_path)[7:] == [2, 2]
    assert noted_sizes(tmp_path)[-1]["movies"] == 2


def test_watching_waits_for_the_larger_batch_up_to_the_time_out(tmp_path):
    add_movies(tmp_path, range(10))
    config = config_of()
    take_in(tmp_path, config)
    assert Ledger(tmp_path, config).next_size() == BatchSize(4, 5)
    add_movies(tmp_path, range(10, 13))
    started = time.monotonic()
    watching = config_of(mode="watch", batch_timeout_s=0.5)
    assert take_in(tmp_path, watching).outcome == "closed"
    assert time.monotonic() - started > 0.2
    assert sizes(tmp_path)[5:] == [3]


def test_the_line_tells_how_long_movies_wait(tmp_path):
    add_movies(tmp_path, range(6))
    config = config_of()
    take_in(tmp_path, config)
    counting = Counting(tmp_path, config)
    before = counting.now()
    assert (before.behind, before.usual_s) == (6, None)
    assert 0 <= before.oldest_s < 60
    finish(tmp_path, "b00000", after_s=240)
    finish(tmp_path, "b00001", after_s=240)
    now = counting.now()
    assert now.behind == 2
    assert now.usual_s == pytest.approx(240, abs=5)
    line = progress_line(now, "")
    assert "2 behind (oldest " in line
    assert "usual wait 4 min)" in line
    finish(tmp_path, "b00002", after_s=1)
    assert counting.now().oldest_s is None


def test_a_session_of_an_earlier_version_has_a_line_too(tmp_path):
    add_movies(tmp_path, range(2))
    config = config_of()
    take_in(tmp_path, config)
    table = pd.DataFrame({"rlnMicrographMovieName": ["movies/m000.tif", "movies/m001.tif"]})
    write_star(
        tmp_path / layout.batch_table("b00000"), {"micrographs": table.assign(csnAccepted=1)}
    )
    assert progress_line(Counting(tmp_path, config).now(), "").startswith(
        "movies 2 seen, 2 processed, 2 accepted, 0 behind | "
    )


def test_movies_that_lay_there_before_the_session_waited_for_nobody():
    movies = pd.DataFrame(
        {
            "csnFileChanged_s": [10.0, 990.0, 1100.0, 5000.0],
            "csnArrival_s": [1000.0, 1000.0, 1120.0, 1200.0],
            "csnProcessed_s": [1030.0, 1060.0, 1160.0, 1190.0],
        }
    )
    # the last one's clock is ahead: it cannot have come after it was taken in
    assert arrived_s(movies).tolist() == [1000, 1000, 1100, 1200]
    assert waits_s(movies).tolist() == [30, 60, 60, 0]
    times, waiting = waiting_curve(movies)
    assert dict(zip(times.tolist(), waiting.tolist(), strict=True))[1000] == 2
    assert waiting.max() == 2
    assert waits_s(movies.drop(columns="csnProcessed_s")).shape == (4,)


def test_waits_in_words():
    assert [in_words(s) for s in (4, 89, 91, 5399, 12600)] == [
        "4 s",
        "89 s",
        "2 min",
        "90 min",
        "3.5 h",
    ]
    assert Backlog(3, 61, None).in_words() == "3 behind (oldest 61 s)"
    assert Backlog(0, None, 60).in_words() == "0 behind (usual wait 60 s)"


def session_of(movies, every_s, done_every_s, spent_s=16.0):
    """A prepared table of movies that come and go at a steady pace."""
    table, decisions = fabricated_tables(movies, seed=3)
    came = 1.7e9 + every_s * np.arange(movies)
    went = np.maximum.accumulate(
        np.maximum(came + spent_s, 1.7e9 + done_every_s * np.arange(movies))
    )
    table = table.assign(csnFileChanged_s=came, csnArrival_s=came + 20, csnProcessed_s=went)
    table = table.assign(csnMotion_s=spent_s - 2, csnCtf_s=1.0, csnCuration_s=1.0)
    return prepared(table), decisions


def test_a_backlog_that_grows_is_a_finding_with_what_it_takes():
    table, decisions = session_of(600, every_s=6.0, done_every_s=9.0)
    (finding,) = growing_backlog(table, Config())
    assert "every 6.0 s" in finding.what
    assert "done every 9.0 s" in finding.what
    assert "3 GPUs, or 6 cores" in finding.advice
    status = session_status(
        table,
        decisions,
        decisions.iloc[:0],
        Config(),
        batches_seen=30,
        batches_pending=0,
        further=[finding],
    )
    assert finding in status.findings
    assert status.level == "problem"


@pytest.mark.parametrize("done_every_s", [2.0, 6.0])
def test_a_session_that_keeps_up_has_no_such_finding(done_every_s):
    table, _ = session_of(600, every_s=6.0, done_every_s=done_every_s)
    assert growing_backlog(table, Config()) == []
    assert "the longest" in waits_sentence(table)
    assert "<svg" in backlog_figure(table)


def test_data_that_were_there_at_once_do_not_fall_behind():
    table, _ = session_of(600, every_s=0.0, done_every_s=9.0)
    assert growing_backlog(table, Config()) == []


def test_without_times_there_is_nothing_to_tell():
    table, _ = session_of(10, every_s=6.0, done_every_s=9.0)
    table[["csnFileChanged_s", "csnArrival_s"]] = np.nan
    assert waits_sentence(table) == ""
    assert growing_backlog(table, Config()) == []
    assert "No times" in backlog_figure(table)
