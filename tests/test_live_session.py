"""Whole sessions, as an operator runs them: bad input, reruns, watching, kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from live_common import (  # noqa: E402
    movie_frames,
    run,
    science,
    start,
    times_processed,
    wait_for,
    write_config,
    write_movies,
)
from live_kill_resume import compare, killed_run  # noqa: E402

from cryosnake import layout  # noqa: E402
from cryosnake.session.orphans import local_orphans  # noqa: E402
from cryosnake.tables import read_table  # noqa: E402


def write_mrc_movie(path: Path, frames: np.ndarray) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(frames)
        mrc.set_image_stack()
        mrc.voxel_size = 1.5


def write_bad_movies(folder: Path) -> dict[str, str]:
    """One movie of each bad kind, and what its reason must say."""
    good = movie_frames(900)
    tifffile.imwrite(folder / "wrong_size.tif", good[:, :200], photometric="minisblack")
    (folder / "zero_byte.tif").touch()
    whole = folder / "movie_0000.tif"
    (folder / "truncated.tif").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "text.tif").write_text("not a movie\n")
    write_mrc_movie(folder / "nan.mrc", np.where(good > 8, np.nan, good).astype(np.float32))
    zero = good.copy()
    zero[3] = 0
    write_mrc_movie(folder / "all_zero.mrc", zero.astype(np.int16))
    saturated = good.copy()
    saturated[:, :100] = 255
    tifffile.imwrite(folder / "saturated.tif", saturated, photometric="minisblack")
    shutil.copy(whole, folder / "wrong_frames.tif")
    (folder / "wrong_frames.tif.mdoc").write_text(
        "T = SerialEM\n\n[FrameSet = 0]\nNumSubFrames = 9\n"
        f"SubFramePath = {folder / 'wrong_frames.tif'}\n"
    )
    return {
        "wrong_size.tif": "gain reference",
        "zero_byte.tif": "empty",
        "truncated.tif": "",
        "text.tif": "",
        "nan.mrc": "NaN",
        "all_zero.mrc": "all-zero",
        "saturated.tif": "saturated",
        "wrong_frames.tif": "frames",
    }


@pytest.fixture(scope="module")
def bad_session(tmp_path_factory) -> tuple[Path, Path, dict[str, str]]:
    """A session with movies of every bad kind among good ones, run once."""
    folder = tmp_path_factory.mktemp("bad")
    movies, session = folder / "movies", folder / "session"
    write_movies(movies, range(3))
    with mrcfile.new(folder / "gain.mrc") as mrc:
        mrc.set_data(np.ones((256, 256), np.float32))
    bad = write_bad_movies(movies)
    for name in ("again/movie_0000.tif", "with space.tif", "ünïcode.tif", "it's.tif"):
        (movies / name).parent.mkdir(exist_ok=True)
        shutil.copy(movies / "movie_0001.tif", movies / name)
    write_config(
        session,
        movies,
        acquisition={"gain": str(folder / "gain.mrc"), "gain_orientation": "none"},
        milestones={"size_micrographs": 1, "training_micrographs": 1},
    )
    run(session)
    return session, movies, bad


def test_no_bad_movie_ends_the_session_or_is_lost(bad_session):
    session, movies, bad = bad_session
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    seen = {os.path.relpath(m, movies) for m in table["rlnMicrographMovieName"]}
    assert seen == {
        *bad,
        *(f"movie_{i:04d}.tif" for i in range(3)),
        "again/movie_0000.tif",
        "with space.tif",
        "ünïcode.tif",
    }
    assert table["rlnMicrographName"].str.lower().is_unique


def test_every_bad_movie_has_its_reason_in_table_decisions_and_report(bad_session):
    session, movies, bad = bad_session
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    table = table.set_index("rlnMicrographMovieName")
    decisions = read_table(session / layout.DECISIONS, "decisions")
    report = (session / layout.REPORT).read_text().replace("<wbr>", "")
    for name, reason in bad.items():
        row = table.loc[str(movies / name)]
        assert (row["csnAccepted"], row["csnReason"], row["csnPassInput"]) == (0, "input", 0)
        assert reason in row["csnExplanation"], row["csnExplanation"]
        about = decisions[decisions["csnSubject"] == str(movies / name)]
        assert about[["csnRule", "csnVerdict"]].values.tolist() == [["input", "fail"]]
        assert name in report
    left_out = decisions[decisions["csnSubject"].str.endswith("it`s.tif")]
    assert left_out["csnVerdict"].tolist() == ["fail"]
    good = table.drop(index=[str(movies / name) for name in bad])
    assert (good["csnPassInput"] == 1).all()


def test_the_tables_are_those_of_the_outer_contract(bad_session):
    session, _, bad = bad_session
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    for column in (
        "rlnMicrographMovieName",
        "rlnMicrographName",
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnCtfMaxResolution",
        "rlnAccumMotionTotal",
        "csnAccepted",
        "csnReason",
    ):
        assert column in table
    good = table[table["csnPassInput"] == 1]
    assert len(good) == len(table) - len(bad)
    for row in good.to_dict("records"):
        with mrcfile.open(session / row["rlnMicrographName"]) as mrc:
            assert mrc.data.dtype == np.float32
            assert mrc.data.shape == (256, 256)
            assert mrc.voxel_size.x == pytest.approx(1.5)
        assert (session / row["rlnMicrographMetadata"]).exists()


def test_rerun_processes_only_what_is_new_or_was_repaired(bad_session):
    session, movies, _ = bad_session
    before = times_processed(session)
    old_rows = science(session)
    tables = {p: p.stat().st_mtime_ns for p in (session / layout.PREPROCESS).glob("*/*.star")}
    write_movies(movies, [3])
    shutil.copy(movies / "movie_0002.tif", movies / "truncated.tif")
    run(session)
    after = times_processed(session)
    more = (after - before.reindex(after.index, fill_value=0)).loc[lambda n: n > 0]
    assert {os.path.relpath(m, movies): n for m, n in more.items()} == {
        "movie_0003.tif": 1,
        "truncated.tif": 1,
    }
    assert {p: p.stat().st_mtime_ns for p in tables} == tables
    rows = science(session).set_index("rlnMicrographMovieName")
    assert rows.loc[str(movies / "truncated.tif"), "csnPassInput"] == 1
    assert rows.loc[str(movies / "truncated.tif"), "csnAttempt"] == 2
    assert len(rows) == len(old_rows) + 1


def snakemake(session: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles/local")),
        *("--configfile", str(session / "config.yaml"), "--directory", str(session)),
        *arguments,
    ]


def test_nothing_is_left_to_do_and_a_dry_run_closes_no_batch(bad_session):
    session, movies, _ = bad_session
    words = snakemake(session, "--snakefile", str(ROOT / "workflow/Snakefile"), "-c1", "-n")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "Nothing to be done" in done.stdout + done.stderr
    write_movies(movies, [4])
    batches = layout.closed_batches(session)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "checkpoint ingest" in done.stdout + done.stderr
    assert layout.closed_batches(session) == batches
    (movies / "movie_0004.tif").unlink()


def test_killed_and_resumed_is_as_if_nothing_had_happened(tmp_path):
    write_movies(tmp_path / "movies", range(8))
    for name in ("straight", "killed"):
        write_config(
            tmp_path / name,
            tmp_path / "movies",
            ingest={"batch_movies": 4},
            milestones={"training_micrographs": 6},
            curation={"reject_by": []},
        )
    run(tmp_path / "straight")
    kills = killed_run(tmp_path / "killed", kills=2, seed=3, between_s=(3, 9))
    assert len(kills) == 2
    result = compare(tmp_path / "straight", tmp_path / "killed")
    assert result["tables_identical"]
    assert (result["movies"], result["lost"], result["processed_twice"]) == (8, 0, 0)
    assert result["subsets"] == 1
    assert result["subset_rows_identical"]


def test_new_movies_are_processed_while_a_long_job_runs(tmp_path):
    movies, session = tmp_path / "movies", tmp_path / "session"
    write_movies(movies, range(2))
    write_config(
        session,
        movies,
        ingest={"mode": "watch", "batch_movies": 2, "idle_timeout_s": 90},
        milestones={"tally_every_batches": 1, "training_micrographs": 1},
        # everything is accepted: this is about the DAG
        curation={"reject_by": []},
    )
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(
        f"""
include: "{ROOT}/workflow/Snakefile"

rule long_job:  # a stage that starts from the subset, and ends when new movies are done
    input: "results/subsets/micrographs_training.star"
    output: "results/long_job.txt"
    shell:
        "touch results/long_job_started; "
        "for i in $(seq 400); do sleep 0.2; "
        "if [ -e results/preprocess/b00001/micrographs.star ]; then touch {{output}}; exit 0; fi; "
        "done; exit 1"
"""
    )
    words = snakemake(session, "--snakefile", str(snakefile), "-c2")
    with open(tmp_path / "watch.log", "w") as log:
        watching = subprocess.Popen(
            [*words, "session", "results/long_job.txt"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for((session / "results/long_job_started").exists)
            write_movies(movies, range(2, 4))
            wait_for((session / "results/long_job.txt").exists)
            (movies / "END").touch()
            assert watching.wait(timeout=120) == 0, (tmp_path / "watch.log").read_text()[-4000:]
        finally:
            watching.kill()
    assert len(science(session)) == 4
    tick = json.loads((session / layout.tick_file(2)).read_text())
    assert (tick["outcome"], tick["movies"]) == ("end", 4)
    # and a plain run finds nothing to do
    run(session, "--profile", "local")
    assert times_processed(session).max() == 1


def test_an_interrupted_watch_leaves_nothing_running(tmp_path):
    (tmp_path / "movies").mkdir()
    write_config(tmp_path, tmp_path / "movies")
    starter = start(tmp_path, "--watch")
    log = tmp_path / layout.RESULTS / "logs/run.log"
    wait_for(lambda: log.exists() and "checkpoint ingest" in log.read_text())
    starter.send_signal(signal.SIGINT)
    assert starter.wait(timeout=60) == 128 + signal.SIGINT
    assert local_orphans(tmp_path) == []


def test_tables_that_could_not_be_written_are_written_by_the_next_run(tmp_path):
    session, movies = tmp_path / "session", tmp_path / "movies"
    write_movies(movies, range(1))
    write_config(session, movies)
    run(session)
    assert len(science(session)) == 1
    write_movies(movies, range(1, 2))
    metrics = session / layout.METRICS
    metrics.unlink()
    metrics.mkdir()  # in the way
    assert start(session).wait(timeout=300) != 0
    metrics.rmdir()
    metrics.write_text("of the first run\n")  # all files are there, and older than the last batch
    run(session)
    assert len(science(session)) == 2
    assert len(metrics.read_text().splitlines()) == 3
    (session / layout.REPORT).unlink()
    run(session)
    assert "movie_0001" in (session / layout.REPORT).read_text().replace("<wbr>", "")
