"""The ledger: what is taken in, when, in which order, under which name."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.quick_star import read_columns, read_tables
from cryosnake.session.ingest import take_in
from cryosnake.session.ledger import Arrival, Ledger, left_out_decisions
from cryosnake.session.names import UniqueNames, safe_stem, star_can_hold
from cryosnake.tables import read_table, write_star


@pytest.fixture
def session(tmp_path: Path) -> Path:
    (tmp_path / "movies").mkdir()
    return tmp_path


def config_of(**ingest):
    settings = {"settle_s": 0, "batch_movies": 3, "poll_s": 0.05} | ingest
    return load_config({"input": {"path": "movies"}, "ingest": settings})


def add_movie(session: Path, name: str, *, mtime_s: float = 1000.0, content: bytes = b"x") -> Path:
    path = session / "movies" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime_s, mtime_s))
    return path


def movies_of(session: Path, batch: str) -> list[str]:
    rows = read_columns(session / layout.batch_star(batch), "movies", ["rlnMicrographMovieName"])
    return [movie for (movie,) in rows]


def judge(
    session: Path, batch: str, *, failed: set[str] = frozenset(), problem: str = "file"
) -> None:
    """Stand-in for preprocessing: the batch's table with who failed on input."""
    movies = movies_of(session, batch)
    table = pd.DataFrame({"rlnMicrographMovieName": movies})
    table["csnPassInput"] = [0 if m in failed else 1 for m in movies]
    table["csnInputProblem"] = [problem if m in failed else "-" for m in movies]
    write_star(session / layout.batch_table(batch), {"micrographs": table})


def test_batches_are_closed_in_order_of_arrival(session):
    for name, mtime_s in (("c.tif", 30), ("a.tif", 20), ("b.tif", 20), ("sub/d.mrc", 10)):
        add_movie(session, name, mtime_s=mtime_s)
    add_movie(session, "notes.txt")
    add_movie(session, ".hidden.tif")
    tick = take_in(session, config_of())
    assert (tick.outcome, tick.batches, tick.movies) == ("end", 2, 4)
    assert movies_of(session, "b00000") == ["movies/sub/d.mrc", "movies/a.tif", "movies/b.tif"]
    assert movies_of(session, "b00001") == ["movies/c.tif"]


def test_a_closed_batch_never_changes_and_only_new_movies_are_taken_in(session):
    add_movie(session, "a.tif")
    take_in(session, config_of())
    before = (session / layout.batch_star("b00000")).read_bytes()
    state = (session / layout.batch_star("b00000")).stat()
    add_movie(session, "b.tif", mtime_s=1)
    take_in(session, config_of())
    after = session / layout.batch_star("b00000")
    assert after.read_bytes() == before
    assert after.stat().st_mtime_ns == state.st_mtime_ns
    assert movies_of(session, "b00001") == ["movies/b.tif"]
    assert not Ledger(session, config_of()).pending()


def test_two_processes_cannot_close_the_same_batch(session):
    add_movie(session, "a.tif")
    first, second = Ledger(session, config_of()), Ledger(session, config_of())
    (session / layout.BATCHES).mkdir(parents=True)
    first.close(first.look().settled)
    with pytest.raises(FileExistsError):
        second.close(second.look().settled)
    assert layout.closed_batches(session) == ["b00000"]
    assert not list((session / layout.BATCHES).glob(".closing*"))


def test_concurrent_ingests_lose_and_repeat_nothing(session):
    for i in range(40):
        add_movie(session, f"m{i:02d}.tif", mtime_s=i)
    threads = [threading.Thread(target=take_in, args=(session, config_of())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [m for b in layout.closed_batches(session) for m in movies_of(session, b)]
    assert taken == [f"movies/m{i:02d}.tif" for i in range(40)]


def test_a_growing_file_is_waited_for(session):
    path = add_movie(session, "a.tif", mtime_s=time.time())
    stop = time.monotonic() + 1.2

    def grow():
        while time.monotonic() < stop:
            with open(path, "ab") as stream:
                stream.write(b"more")
            time.sleep(0.05)

    writer = threading.Thread(target=grow)
    writer.start()
    tick = take_in(session, config_of(settle_s=0.6))
    writer.join()
    assert tick.movies == 1
    ((size,),) = read_columns(
        session / layout.batch_star("b00000"), "movies", ["csnMovieSize_bytes"]
    )
    assert int(size) == path.stat().st_size


def test_a_file_that_does_not_stop_growing_is_listed_and_taken_in_later(session):
    path = add_movie(session, "a.tif", mtime_s=time.time())
    add_movie(session, "b.tif", mtime_s=1)
    os.utime(path, (time.time() + 3600, time.time() + 3600))  # never settles by the clock
    stop = threading.Event()

    def grow():
        while not stop.is_set():
            with open(path, "ab") as stream:
                stream.write(b"more")
            stop.wait(0.05)

    writer = threading.Thread(target=grow)
    writer.start()
    time.sleep(0.3)
    take_in(session, config_of(settle_s=0.2))
    stop.set()
    writer.join()
    assert movies_of(session, "b00000") == ["movies/b.tif"]
    (decision,) = left_out_decisions(session)
    assert (decision.subject, decision.verdict) == ("movies/a.tif", "warn")
    assert "growing" in decision.value
    assert Ledger(session, config_of(settle_s=0.2)).pending()
    time.sleep(0.3)
    take_in(session, config_of(settle_s=0.2))
    assert movies_of(session, "b00001") == ["movies/a.tif"]
    assert left_out_decisions(session) == []


def test_a_failed_movie_is_taken_in_again_only_when_it_changed(session):
    add_movie(session, "a.tif", content=b"half")
    add_movie(session, "b.tif")
    config = config_of()
    take_in(session, config)
    time.sleep(0.01)
    judge(session, "b00000", failed={"movies/a.tif"})
    assert not Ledger(session, config).pending()
    time.sleep(0.01)
    add_movie(session, "a.tif", content=b"whole")
    add_movie(session, "b.tif", content=b"a movie that was read may change: it is done")
    take_in(session, config)
    assert movies_of(session, "b00001") == ["movies/a.tif"]
    columns = ["csnAttempt", "rlnMicrographName"]
    ((attempt, name),) = read_columns(session / layout.batch_star("b00001"), "movies", columns)
    assert (attempt, name) == ("2", "results/preprocess/b00001/a.mrc")
    assert not Ledger(session, config).pending()
    judge(session, "b00001")
    assert not Ledger(session, config).pending()


def test_a_movie_that_vanished_is_taken_in_again_when_it_is_back_as_it_was(session):
    path = add_movie(session, "a.tif")
    take_in(session, config_of())
    away = path.rename(session / "a.tif")
    judge(session, "b00000", failed={"movies/a.tif"}, problem="machine")
    assert not Ledger(session, config_of()).pending()  # nothing to take in by now
    back = time.time() - 100
    away.rename(path)
    os.utime(path, (1000, 1000))
    os.utime(session / layout.batch_table("b00000"), (back, back))
    assert Ledger(session, config_of()).pending()
    assert take_in(session, config_of()).batches == 2
    assert movies_of(session, "b00001") == ["movies/a.tif"]
    judge(session, "b00001")
    assert not Ledger(session, config_of()).pending()


def test_a_file_that_can_never_be_reached_is_not_tried_for_ever(session):
    add_movie(session, "a.tif")
    for attempt in range(1, 6):
        take_in(session, config_of())
        assert len(layout.closed_batches(session)) == attempt
        judge(session, f"b{attempt - 1:05d}", failed={"movies/a.tif"}, problem="machine")
    assert not Ledger(session, config_of()).pending()


def test_a_bad_movie_whose_times_lie_in_the_future_is_not_tried_for_ever(session):
    add_movie(session, "a.tif", mtime_s=time.time() + 1e6)
    take_in(session, config_of())
    judge(session, "b00000", failed={"movies/a.tif"})
    assert not Ledger(session, config_of()).pending()
    add_movie(session, "a.tif", mtime_s=time.time() + 2e6, content=b"repaired")
    assert Ledger(session, config_of()).pending()


def test_a_growing_file_is_waited_for_where_the_file_servers_clock_is_behind(session):
    path = add_movie(session, "a.tif")
    ledger = Ledger(session, config_of(settle_s=30))
    then = time.time() - 300
    os.utime(path, (then, then))
    state = path.stat()
    now = Arrival("movies/a.tif", state.st_size, state.st_mtime, then, 1)
    assert not ledger._is_settled(now)  # 300 s old, they say; it may have changed just now
    assert ledger._is_settled(replace(now, path="b.tif", changed_s=then - 3600))


def test_a_movie_that_could_not_be_read_is_retried_when_its_permissions_change(session):
    path = add_movie(session, "a.tif")
    take_in(session, config_of())
    time.sleep(0.01)
    judge(session, "b00000", failed={"movies/a.tif"})
    time.sleep(0.01)
    path.chmod(0o600)
    assert Ledger(session, config_of()).pending()


def test_failed_movies_are_retried_when_the_gain_reference_comes_late(session):
    config = load_config(
        {
            "input": {"path": "movies"},
            "ingest": {"settle_s": 0},
            "acquisition": {"gain": "movies/gain.mrc"},
        }
    )
    add_movie(session, "a.mrc")
    take_in(session, config)
    time.sleep(0.01)
    judge(session, "b00000", failed={"movies/a.mrc"})
    assert not Ledger(session, config).pending()
    time.sleep(0.01)
    add_movie(session, "gain.mrc")
    arrivals = Ledger(session, config).look().settled
    assert [a.path for a in arrivals] == ["movies/a.mrc"]  # and the gain is no movie


def test_names_that_star_cannot_hold_are_reported_once_and_never_lost(session):
    add_movie(session, "good.tif")
    add_movie(session, "it's.tif")
    add_movie(session, "no#1.tif")
    config = config_of()
    take_in(session, config)
    assert movies_of(session, "b00000") == ["movies/good.tif"]
    decisions = left_out_decisions(session)
    assert {d.subject for d in decisions} == {"movies/it`s.tif", "movies/nono.1.tif"}
    assert {(d.rule, d.verdict) for d in decisions} == {("input", "fail")}
    assert not Ledger(session, config).pending()  # reported, so there is nothing to do
    (session / "movies/it's.tif").rename(session / "movies/its.tif")
    take_in(session, config)
    assert movies_of(session, "b00001") == ["movies/its.tif"]
    assert len(left_out_decisions(session)) == 1


def test_a_gain_reference_beside_the_movies_is_no_movie_and_is_missed_when_not_configured(session):
    add_movie(session, "a.tif")
    add_movie(session, "gain.mrc")
    add_movie(session, "again.tif", mtime_s=2000)  # a word that merely ends like it
    take_in(session, config_of())
    assert movies_of(session, "b00000") == ["movies/a.tif", "movies/again.tif"]
    (decision,) = left_out_decisions(session)
    assert decision.subject == "movies/gain.mrc"
    assert "acquisition.gain" in decision.threshold

    facts = {"input": {"path": "movies"}, "ingest": {"settle_s": 0}}
    take_in(session, load_config(facts | {"acquisition": {"gain": "movies/gain.mrc"}}))
    assert left_out_decisions(session) == []


def test_a_dangling_link_is_reported_and_taken_in_when_its_target_comes(session):
    (session / "movies/a.tif").symlink_to(session / "elsewhere.tif")
    take_in(session, config_of())
    (decision,) = left_out_decisions(session)
    assert decision.subject == "movies/a.tif"
    (session / "elsewhere.tif").write_bytes(b"x")
    take_in(session, config_of())
    assert movies_of(session, "b00000") == ["movies/a.tif"]
    assert left_out_decisions(session) == []


def test_spaces_and_unicode_and_duplicates_get_names_of_their_own(session):
    for name in ("a b.tif", "a_b.tif", "x/a b.tif", "é movie.tif", "ガ.tif", "x/A_B.mrc"):
        add_movie(session, name)
    take_in(session, config_of(batch_movies=10))
    columns = ["rlnMicrographMovieName", "rlnMicrographName"]
    names = dict(read_columns(session / layout.batch_star("b00000"), "movies", columns))
    assert set(names) == {
        "movies/a b.tif",
        "movies/a_b.tif",
        "movies/x/a b.tif",
        "movies/é movie.tif",
        "movies/ガ.tif",
        "movies/x/A_B.mrc",
    }
    outputs = [n.lower() for n in names.values()]
    assert len(set(outputs)) == len(outputs)
    assert names["movies/é movie.tif"] == "results/preprocess/b00000/e_movie.mrc"
    table = read_table(session / layout.batch_star("b00000"), "movies")
    assert set(table["rlnMicrographMovieName"]) == set(names)


def test_the_sessions_own_results_are_no_movies(tmp_path):
    config = load_config({"input": {"path": "."}, "ingest": {"settle_s": 0}})
    (tmp_path / "m.mrc").write_bytes(b"x")
    take_in(tmp_path, config)
    micrograph = tmp_path / "results/preprocess/b00000/m.mrc"
    micrograph.parent.mkdir(parents=True)
    micrograph.write_bytes(b"x")
    assert not Ledger(tmp_path, config).pending()


def test_a_glob_and_a_loop_of_links_are_searched(session):
    add_movie(session, "x/a.tif")
    add_movie(session, "y/b.tif")
    (session / "movies/x/up").symlink_to(session / "movies")
    take_in(session, config_of())
    assert len(Ledger(session, config_of()).movies) >= 2  # and it came back at all
    other = load_config({"input": {"path": "movies/*/b*.tif"}, "ingest": {"settle_s": 0}})
    assert [a.path for a in Ledger(session.parent / session.name, other).look().settled] == []


def test_watch_waits_for_a_full_batch_or_the_time_out(session):
    config = config_of(mode="watch", batch_timeout_s=0.5, idle_timeout_s=60)
    for i in range(4):
        add_movie(session, f"m{i}.tif", mtime_s=i)
    tick = take_in(session, config)
    assert (tick.outcome, tick.movies) == ("closed", 3)
    started = time.monotonic()
    tick = take_in(session, config)
    assert (tick.outcome, tick.movies) == ("closed", 4)
    assert time.monotonic() - started < 5


def test_watch_ends_at_the_marker_and_takes_in_the_rest(session):
    config = config_of(mode="watch", batch_timeout_s=60)
    add_movie(session, "a.tif")
    (session / "movies/END").touch()
    tick = take_in(session, config)
    assert (tick.outcome, tick.movies) == ("end", 1)
    assert "END" in tick.why


def test_watch_ends_when_idle(session):
    config = config_of(mode="watch", batch_timeout_s=60, idle_timeout_s=0.3)
    add_movie(session, "a.tif")
    tick = take_in(session, config)
    assert (tick.outcome, tick.movies) == ("end", 1)


def test_twenty_thousand_movies_cost_a_second_or_two(session):
    for i in range(20_000):
        (session / "movies" / f"m{i:05d}.tif").touch()
    config = config_of(batch_movies=500)
    take_in(session, config)
    started = time.perf_counter()
    assert not Ledger(session, config).pending()
    assert time.perf_counter() - started < 2.0


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=20))
def test_names_are_safe_and_no_two_alike(paths):
    names = UniqueNames()
    given_names = [names.give(path + ".tif") for path in paths]
    outputs = [f"{n}{s}.mrc".casefold() for n in given_names for s in ("", "_noDW")]
    assert len(set(outputs)) == len(outputs)
    for name in given_names:
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        assert name not in ("micrographs", "decisions", "movies")
        assert not name.startswith((".", "-"))


@given(st.text(min_size=1, max_size=20))
def test_what_star_is_said_to_hold_comes_back_unchanged(tmp_path_factory, text):
    if not star_can_hold(text):
        return
    path = tmp_path_factory.mktemp("star") / "t.star"
    write_star(path, {"movies": pd.DataFrame({"csnBatch": ["b"], "rlnMicrographMovieName": text})})
    ((back,),) = read_columns(path, "movies", ["rlnMicrographMovieName"])
    assert back == text


def test_stems_keep_dots_and_lose_the_last_ending():
    assert safe_stem("a/b.c.tif") == "b.c"
    assert safe_stem("-option.tif") == "_option"
    assert safe_stem("...tif") != ""


def test_the_fast_reader_reads_what_the_usual_one_reads(tmp_path):
    table = pd.DataFrame(
        {
            "rlnMicrographMovieName": ["a b.tif", "c.tif"],
            "rlnDefocusU": [1.5, float("nan")],
            "csnAccepted": [1, 0],
            "csnReason": ["-", "ctf"],
        }
    )
    write_star(tmp_path / "t.star", {"micrographs": table})
    fast = read_tables([tmp_path / "t.star"], "micrographs")
    pd.testing.assert_frame_equal(
        fast.reset_index(drop=True),
        read_table(tmp_path / "t.star", "micrographs"),
        check_dtype=False,
    )
