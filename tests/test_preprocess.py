"""A movie and a batch without the workflow: what becomes of them, whatever happens."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from live_common import movie_frames, times_processed, write_config, write_movies  # noqa: E402

from cryosnake import compute, layout  # noqa: E402
from cryosnake.config import load_config  # noqa: E402
from cryosnake.errors import SessionStopError  # noqa: E402
from cryosnake.movies.movie import bad_input  # noqa: E402
from cryosnake.preprocess import movie as movie_step  # noqa: E402
from cryosnake.preprocess import outcome, transfer  # noqa: E402
from cryosnake.preprocess.batch import preprocess_batch  # noqa: E402
from cryosnake.preprocess.journal import Journal, MovieResult, Note  # noqa: E402
from cryosnake.session.ingest import take_in  # noqa: E402
from cryosnake.session.tables import refresh  # noqa: E402
from cryosnake.tables import read_star, read_table  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Small images: threads that wait for one another cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session with a closed batch of three movies."""
    write_movies(tmp_path / "movies", range(3))
    write_config(tmp_path, Path("movies"))
    take_in(tmp_path, config_of(tmp_path))
    return tmp_path


def config_of(session: Path, **acquisition):
    config = load_config(session / "config.yaml")
    changed = config.acquisition.model_copy(update=acquisition)
    return config.model_copy(update={"acquisition": changed})


def gain_file(session: Path, gain: np.ndarray, name: str = "gain.mrc") -> str:
    with mrcfile.new(session / name, overwrite=True) as mrc:
        mrc.set_data(gain.astype(np.float32))
    return name


def test_a_good_movie_leaves_what_the_design_promises(session):
    table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert (table["csnPassInput"] == 1).all()
    row = table.iloc[0]
    assert row["rlnMicrographPixelSize"] == pytest.approx(1.5)
    assert row["csnFrames"] == 6
    assert row["csnDosePerFrame_e_per_angst2"] == pytest.approx(2.0)
    assert row["csnDose_counts_per_angst2"] == pytest.approx(4.0 / 1.5**2, rel=0.05)
    stem = row["rlnMicrographName"].removesuffix(".mrc")
    with mrcfile.open(session / f"{stem}.mrc") as mrc:
        assert (mrc.data.dtype, mrc.data.shape) == (np.float32, (256, 256))
    assert not (session / f"{stem}_noDW.mrc").exists()
    for name in ("_thumb.png", "_ctf.png"):
        assert (session / f"{stem}{name}").read_bytes()[:4] == b"\x89PNG"
    blocks = read_star(session / f"{stem}.star")
    assert len(blocks["global_shift"]) == 6
    assert blocks["general"]["rlnImageSizeX"] == 256
    # the field moves by a pixel a frame, so the shifts undo it
    assert blocks["global_shift"]["rlnMicrographShiftX"].iloc[-1] == pytest.approx(5, abs=0.5)


def test_a_missing_gain_rejects_each_movie_with_its_reason(session):
    table = preprocess_batch(session, "b00000", config_of(session, gain="nowhere.mrc"), CPU)
    assert (table["csnReason"] == "input").all()
    assert table["csnExplanation"].str.contains("nowhere.mrc").all()


def test_the_orientation_of_the_gain_is_found_once_and_told(session):
    random = np.random.default_rng(5)
    gain = np.exp(random.normal(0, 0.25, (256, 256))).astype(np.float32)
    import tifffile

    for path in sorted((session / "movies").glob("*.tif")):
        number = int(path.stem[-4:])
        frames = random.poisson(movie_frames(number) * 8.0 / np.flipud(gain)).astype(np.uint16)
        tifffile.imwrite(path, frames[:, ::-1], photometric="minisblack")  # TIFF rows run down
    config = config_of(session, gain=gain_file(session, gain))
    preprocess_batch(session, "b00000", config, CPU)
    (found,) = json.loads((session / layout.GAIN).read_text()).values()
    assert found["orientation"] == "flip_y"
    refresh(session, config)
    decisions = read_table(session / layout.DECISIONS, "decisions")
    (told,) = decisions[decisions["csnRule"] == "gain"].to_dict("records")
    assert told["csnSubject"] == "session"
    assert "flip_y" in told["csnValue"]


def test_a_surprise_is_a_rejected_row_and_is_tried_again(session, monkeypatch):
    def fails(*_arguments, **_options):
        raise RuntimeError("something nobody thought of")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "fit_ctf", fails)
        table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert (table["csnReason"] == "input").all()
    assert table["csnExplanation"].str.contains("RuntimeError: something nobody").all()
    table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert (table["csnPassInput"] == 1).all()


def test_a_file_system_that_is_away_for_a_moment_is_waited_for(session, monkeypatch):
    calls, moments = [], 3

    def stale(path, **options):
        calls.append(path)
        if len(calls) <= moments:
            with bad_input(path, "cannot be read"):
                raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return open_movie(path, **options)

    open_movie = movie_step.open_movie
    monkeypatch.setattr(outcome, "_AGAIN_S", (0.01, 0.01, 0.01))
    with monkeypatch.context() as patch:
        patch.setattr(movie_step, "open_movie", stale)
        table = preprocess_batch(session, "b00000", config_of(session), CPU)
        assert (table["csnPassInput"] == 1).all()
        shutil.rmtree(session / layout.PREPROCESS)
        (session / layout.GAIN).unlink()
        moments = 100
        table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert table["csnPassInput"].tolist() == [0, 0, 0]
    assert set(table["csnInputProblem"]) == {"machine"}
    assert table["csnExplanation"].str.contains("Stale file handle").all()
    assert not (session / layout.GAIN).exists()  # nothing is kept that was not seen
    table = preprocess_batch(session, "b00000", config_of(session), CPU)  # as of a killed job
    assert (table["csnPassInput"] == 1).all()


def test_whose_fault_it_is_that_a_movie_cannot_be_read(session, monkeypatch):
    gone, cut, _ = sorted((session / "movies").glob("*.tif"))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    correct = movie_step.correct_motion

    def short(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(movie_step, "correct_motion", short)
    table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert table["csnInputProblem"].tolist() == ["machine", "file", "machine"]
    assert "No such file" in table["csnExplanation"][0]
    monkeypatch.setattr(movie_step, "correct_motion", correct)
    table = preprocess_batch(session, "b00000", config_of(session, gain="nowhere.mrc"), CPU)
    assert table["csnInputProblem"][2] == "file"  # it waits for the gain reference to change


def test_a_full_disk_stops_the_job_and_what_is_finished_is_kept(session, monkeypatch):
    written = []

    def full(path, *arguments):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_mrc(path, *arguments)

    write_mrc = movie_step.write_mrc
    with monkeypatch.context() as patch:
        patch.setattr(movie_step, "write_mrc", full)
        with pytest.raises(SessionStopError, match="the disk is full"):
            preprocess_batch(session, "b00000", config_of(session), CPU)
    assert not (session / layout.batch_table("b00000")).exists()
    table = preprocess_batch(session, "b00000", config_of(session), CPU)
    assert len(table) == 3
    assert times_processed(session).max() == 1


def test_other_settings_process_a_movie_again_and_the_same_do_not(session):
    preprocess_batch(session, "b00000", config_of(session), CPU)
    preprocess_batch(session, "b00000", config_of(session), CPU)
    assert times_processed(session).tolist() == [1, 1, 1]
    preprocess_batch(session, "b00000", config_of(session, pixel_size_angst=1.6), CPU)
    assert times_processed(session).tolist() == [2, 2, 2]


def test_contradictions_are_told_once_a_batch_with_their_number(session):
    for path in (session / "movies").glob("*.tif"):
        path.with_name(f"{path.name}.mdoc").write_text(
            "T = SerialEM\nVoltage = 200\n\n[FrameSet = 0]\nNumSubFrames = 6\n"
            f"SubFramePath = {path.name}\n"
        )
    preprocess_batch(session, "b00000", config_of(session), CPU)
    decisions = read_table(session / layout.batch_decisions("b00000"), "decisions")
    (told,) = decisions[decisions["csnRule"] == "acquisition"].to_dict("records")
    assert told["csnVerdict"] == "warn"
    assert told["csnValue"] == "voltage_kv: 300 is used, the mdoc file says 200"
    assert told["csnEvidence"].startswith("3 of 3 movies")


def test_a_half_written_line_of_the_journal_is_no_line(tmp_path):
    journal = Journal(tmp_path / "movies.jsonl")
    one = MovieResult({"a": float("nan")}, notes=[Note("r", "info", "v", "t")], files=["f"])
    journal.append("one", one)
    with open(journal.path, "a") as stream:
        stream.write('{"fingerprint": "two", "row"')
    journal.append("three", MovieResult({"a": 3}))
    found = Journal(journal.path).read()
    assert list(found) == ["one", "three"]
    assert found["one"].notes == one.notes


def test_two_jobs_never_lease_the_same_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(compute, "gpu_name", lambda index: f"gpu-{index}")
    with compute.leased_device("auto", folder=tmp_path) as first:
        with compute.leased_device("auto", folder=tmp_path) as second:
            assert {first.index, second.index} == {0, 1}
        with compute.leased_device("cuda", folder=tmp_path) as third:
            assert third.index == second.index


def test_no_gpu_means_the_cpu_unless_one_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with compute.leased_device("auto") as device:
        assert device.type == "cpu"
    with pytest.raises(SessionStopError, match="sees no GPU"), compute.leased_device("cuda"):
        pass


@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="RELION is not installed")
def test_relion_opens_the_table_and_the_micrograph(session):
    config = config_of(session)
    table = preprocess_batch(session, "b00000", config, CPU)
    refresh(session, config)
    opened = subprocess.run(
        ["relion_star_handler", "--i", layout.MICROGRAPHS, "--o", "opened.star"],
        cwd=session,
        capture_output=True,
        text=True,
    )
    assert opened.returncode == 0, opened.stdout + opened.stderr
    assert "rlnDefocusU" in (session / "opened.star").read_text()
    name = table["rlnMicrographName"].iloc[0]
    statistics = subprocess.run(
        ["relion_image_handler", "--i", name, "--stats"],
        cwd=session,
        capture_output=True,
        text=True,
    )
    assert statistics.returncode == 0, statistics.stdout + statistics.stderr
    with mrcfile.open(session / name) as mrc:
        mean = float(mrc.data.mean())
    told = re.search(r"avg= *(\S+)", statistics.stdout)
    assert float(told.group(1)) == pytest.approx(mean, rel=1e-3)
