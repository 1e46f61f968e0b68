"""Acquisitions on disk: formats, metadata, faults, numbering; the readers are independent of it."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import eerfile
import imagecodecs
import mrcfile
import numpy as np
import pandas as pd
import pytest
import tifffile
import typer
from eerfile.data_models import EERHeader
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cryosnake.acquisition import find_metadata, optics_groups, read_epu_xml, read_mdoc
from cryosnake.errors import BadInputError
from cryosnake.movies import find_gain_orientation, open_movie, orient_gain, read_gain
from cryosnake.simulate import SimulationConfig, Species, simulate, simulate_movie
from cryosnake.simulate.command import build_config, simulate_command
from cryosnake.simulate.config import settings_table
from cryosnake.simulate.eer import encode_events, write_eer
from cryosnake.simulate.metadata import movie_path
from cryosnake.simulate.movie import session_detector
from cryosnake.simulate.scenarios import scenario_sequence
from cryosnake.simulate.writers import write_gain, write_movie
from cryosnake.tables import read_table, write_star

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "movies": 4,
    "height_px": 96,
    "width_px": 128,
    "frames": 4,
    "pixel_size_angst": 2.0,
    "dose_e_per_angst2_per_frame": 1.5,
    "species": [Species(structure="nanodisc")],
}


def config(**changes) -> SimulationConfig:
    return SimulationConfig(**{**TINY, **changes})


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.0005, 0.004, 0.05, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_eer_events_decode_to_the_same_pixels(seed, density):
    rng = np.random.default_rng(seed)
    height, width = 40, 56
    events = rng.random((height, width)) < density
    if seed % 3 == 0:
        events[-1, -1] = True
    pixels = np.flatnonzero(events)
    encoded = encode_events(pixels, rng.integers(0, 16, len(pixels)), height * width)
    np.testing.assert_array_equal(imagecodecs.eer_decode(encoded, (height, width), 7, 2, 2), events)
    fine = imagecodecs.eer_decode(encoded, (4 * height, 4 * width), 7, 2, 2, superres=2)
    np.testing.assert_array_equal(fine.reshape(height, 4, width, 4).sum((1, 3)), events)


def test_eer_is_read_by_eerfile(tmp_path):
    rng = np.random.default_rng(1)
    frames = [rng.poisson(0.5, (64, 48)).astype(np.uint8) for _ in range(3)]
    path = tmp_path / "movie.eer"
    write_eer(
        path,
        frames,
        n_frames=3,
        shape=(64, 48),
        camera_frames_per_frame=40,
        pixel_size_angst=1.25,
        total_dose_e_per_angst2=30.0,
        rng=rng,
    )
    events = eerfile.read(path)
    assert events.shape == (120, 64, 48)
    summed = events.reshape(3, 40, 64, 48).sum(1)
    assert (summed <= np.stack(frames)).all()
    assert summed.sum() > 0.98 * np.sum(frames)  # what coincides is lost
    header = EERHeader.from_file(path)
    assert header.n_frames == 120
    assert header.pixel_spacing_width_angstroms == pytest.approx(1.25)
    assert header.total_dose_electrons_per_square_angstrom == pytest.approx(30.0)
    assert eerfile.render(path, dose_per_output_frame=10.0).shape == (3, 64, 48)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "tiff"},
        {"format": "tiff", "tiff_compression": "zip"},
        {"format": "tiff", "dose_e_per_angst2_per_frame": 20.0},
        {"format": "mrc"},
        {"format": "eer"},
    ],
)
def test_the_reader_gives_the_frames_that_were_simulated(tmp_path, changes):
    settings_ = config(**changes)
    movie = simulate_movie(settings_, 0)
    path = tmp_path / movie_path(settings_, 0).name
    write_movie(movie, path)
    again = tmp_path / f"again{path.suffix}"
    write_movie(movie, again)
    assert path.read_bytes() == again.read_bytes()
    truth = np.stack(list(movie.frames()))
    kinds = {"eer_fractions": settings_.frames} if settings_.format == "eer" else {}
    with open_movie(path, **kinds) as opened:
        read = np.stack(list(opened.frames()))
        assert opened.info.pixel_size_angst == pytest.approx(2.0, rel=1e-4)
    if settings_.format == "eer":
        assert (read <= truth).all()
        assert read.sum() > 0.95 * np.minimum(truth, 60).sum()
    else:
        np.testing.assert_array_equal(read, truth)


def test_formats_are_right_for_other_programs(tmp_path):
    movie = simulate_movie(config(format="mrc"), 0)
    write_movie(movie, tmp_path / "m.mrc")
    assert mrcfile.validate(tmp_path / "m.mrc")
    with mrcfile.open(tmp_path / "m.mrc") as mrc:
        assert mrc.is_image_stack()
        np.testing.assert_array_equal(mrc.data[1], list(movie.frames())[1])
    tiff = simulate_movie(config(), 0)
    write_movie(tiff, tmp_path / "m.tiff")
    rows = tifffile.imread(tmp_path / "m.tiff")
    np.testing.assert_array_equal(rows[:, ::-1], np.stack(list(tiff.frames())))


@pytest.mark.parametrize("orientation", ["none", "flip_y", "rotate_90", "anti_transpose"])
def test_gain_file_must_be_turned_as_the_setting_says(tmp_path, orientation):
    square = config(
        height_px=192,
        width_px=192,
        frames=8,
        gain_orientation=orientation,
        dose_e_per_angst2_per_frame=6.0,
        dead_columns=0,
        hot_pixels=0,
        particles_per_um2=0,
    )
    gain = session_detector(square).gain
    for number, (name, movies) in enumerate(
        (("mrc", "tiff"), ("tiff", "tiff"), ("gain", "eer"), ("mrc", "eer"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        form = square.model_copy(update={"gain_format": name, "format": movies})
        path = write_gain(gain, form, folder)
        stored = read_gain(path, movie_format=movies)
        turned = orient_gain(stored, orientation)
        scale = turned.mean() / gain.mean()  # what is divided by is scaled to a mean of 1
        np.testing.assert_allclose(turned, gain * scale, rtol=1e-4)
    mean_frame = np.mean(list(simulate_movie(square, 0).frames()), axis=0)
    stored = read_gain(tmp_path / "0" / "gain.mrc")
    assert find_gain_orientation(mean_frame, stored).name == orientation


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> tuple[Path, Path, list[Path]]:
    folder = tmp_path_factory.mktemp("session")
    many = config(movies=20, counts={"truncated": 1, "drift": 2, "empty": 1}, end_marker=True)
    return folder / "movies", folder / "truth", simulate(many, folder / "movies", folder / "truth")


def test_epu_session_is_understood(session):
    out, truth, paths = session
    assert len(paths) == 20
    assert (out / "END").is_file()
    table = pd.read_csv(truth / "movies.csv")
    assert table["index"].tolist() == list(range(20))
    assert table["scenario"].value_counts().to_dict() == {
        "good": 16,
        "drift": 2,
        "empty": 1,
        "truncated": 1,
    }
    good = table[table["scenario"] == "good"].iloc[0]
    facts = find_metadata(out / good["path"])
    assert facts.pixel_size_angst == pytest.approx(2.0)
    assert facts.voltage_kv == 300
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(1.5)
    assert facts.frames == 4
    assert facts.grid_square == str(good["grid_square"])
    assert facts.foil_hole == str(good["foil_hole"])
    shifts = []
    for path in paths:
        xml = path.with_name(path.name.replace("_Fractions.tiff", ".xml"))
        found = read_epu_xml(xml)
        shifts.append((found.beam_shift_x, found.beam_shift_y))
    groups = optics_groups(np.array(shifts))
    pairs = {(a, b) for a, b in zip(groups, table["beam_shift_group"], strict=True)}
    assert len(pairs) == table["beam_shift_group"].nunique() == 9
    assert len({p.parent for p in paths}) == 2  # grid squares


def test_truncated_movie_is_refused_and_the_others_read(session):
    out, truth, _ = session
    table = pd.read_csv(truth / "movies.csv")
    for row in table.itertuples():
        if row.file_fault == "truncated":
            with pytest.raises(BadInputError), open_movie(out / row.path) as movie:
                list(movie.frames())
        else:
            with open_movie(out / row.path) as movie:
                assert len(list(movie.frames())) == 4
        motion = pd.read_csv(truth / f"{row.movie}_motion.csv")
        assert len(motion) == 4
        assert motion.loc[0, ["shift_x_px", "shift_y_px"]].abs().max() == 0


def test_serialem_mdoc_is_understood(tmp_path):
    paths = simulate(
        config(movies=1, metadata="serialem", tilt_deg=20.0, clean_micrographs=True),
        tmp_path / "m",
        tmp_path / "t",
    )
    facts = read_mdoc(paths[0].with_name(f"{paths[0].name}.mdoc"), movie=paths[0])
    assert facts.pixel_size_angst == pytest.approx(2.0)
    assert facts.voltage_kv == 300
    assert facts.stage_tilt_deg == 20
    assert facts.frames == 4
    assert facts.dose_e_per_angst2_per_frame == pytest.approx(1.5)
    assert facts.gain is not None
    assert Path(facts.gain).is_file()
    clean = mrcfile.read(tmp_path / "t" / "movie_00001_clean.mrc")
    assert clean.shape == (96, 128)


@pytest.mark.relion
def test_relions_motion_correction_finds_the_true_shifts(tmp_path, monkeypatch):
    program = shutil.which("relion_run_motioncorr")
    if program is None:
        pytest.skip("relion_run_motioncorr is not installed")
    settings_ = config(
        movies=1,
        height_px=512,
        width_px=512,
        frames=12,
        dose_e_per_angst2_per_frame=4.0,
        contrast_scale=6.0,
        drift_scale=3.0,
        local_motion_angst=0.0,
        metadata="none",
    )
    monkeypatch.chdir(tmp_path)
    (path,) = simulate(settings_, "movies", "truth")
    optics = {
        "rlnOpticsGroupName": ["one"],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [2.0],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
    }
    movies = {"rlnMicrographMovieName": [f"movies/{path.name}"], "rlnOpticsGroup": [1]}
    write_star("in.star", {"optics": pd.DataFrame(optics), "movies": pd.DataFrame(movies)})
    command = "--i in.star --o out/ --use_own --dose_per_frame 4 --patch_x 1 --patch_y 1 --j 1"
    subprocess.run(
        [program, *command.split(), "--gainref", "movies/gain.mrc"],
        check=True,
        capture_output=True,
    )
    (found,) = (tmp_path / "out").rglob("movie_00001.star")
    shifts = read_table(found, "global_shift")[["rlnMicrographShiftX", "rlnMicrographShiftY"]]
    truth = pd.read_csv("truth/movie_00001_motion.csv")[["shift_x_px", "shift_y_px"]]
    error = shifts.to_numpy(float) - truth.to_numpy()
    error -= error.mean(0)
    assert np.abs(truth.to_numpy()).max() > 5
    assert np.sqrt((error**2).sum(1).mean()) < 0.2


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_same_bytes_whatever_the_pace_the_processes_and_the_way_of_writing(tmp_path):
    mixed = {"movies": 3, "counts": {"half_written": 1, "film": 1}, "particles_per_um2": 500}
    simulate(config(**mixed), tmp_path / "a", tmp_path / "ta")
    simulate(
        config(**mixed, workers=2, write="in_place", pace_s=0.05), tmp_path / "b", tmp_path / "tb"
    )
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    first = pd.read_csv(tmp_path / "ta" / "movies.csv")
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "tb" / "movies.csv"))


def test_second_acquisition_goes_on_where_the_first_ended(tmp_path):
    out, truth = tmp_path / "m", tmp_path / "t"
    first = simulate(config(movies=2, end_marker=True), out, truth)
    before = _bytes(out)
    with pytest.raises(BadInputError, match="append"):
        simulate(config(movies=2), out, truth)
    with pytest.raises(BadInputError, match="seed"):
        simulate(config(movies=2, seed=9), out, truth, append=True)
    second = simulate(config(movies=3), out, truth, append=True)
    assert len({*first, *second}) == 5
    assert not (out / "END").exists()  # the acquisition went on
    after = _bytes(out)
    assert all(after[name] == data for name, data in before.items() if name != "END")
    assert pd.read_csv(truth / "movies.csv")["index"].tolist() == list(range(5))


def test_truth_among_the_movies_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="among the movies"):
        simulate(config(movies=1), tmp_path / "m", tmp_path / "m" / "truth")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("x")
    with pytest.raises(BadInputError, match="not empty"):
        simulate(config(movies=1), tmp_path / "full", tmp_path / "t")


def test_half_written_movie_grows_later(tmp_path):
    out, truth = tmp_path / "m", tmp_path / "t"
    settings_ = config(movies=5, pace_s=0.3, metadata="none", counts={"half_written": 1}, seed=3)
    place = scenario_sequence(settings_, 0).index("half_written")
    path = out / movie_path(settings_, place)
    sizes = set()
    worker = threading.Thread(target=simulate, args=(settings_, out, truth))
    worker.start()
    while worker.is_alive():
        if path.is_file():
            sizes.add(os.path.getsize(path))
        time.sleep(0.02)
    worker.join()
    assert len(sizes) >= 2
    with open_movie(path) as movie:
        assert len(list(movie.frames())) == 4


def test_movie_of_rename_mode_is_whole_whenever_it_is_seen(tmp_path):
    out = tmp_path / "m"
    settings_ = config(movies=4, metadata="none", pace_s=0.1)
    sizes: dict[str, set[int]] = {}
    worker = threading.Thread(target=simulate, args=(settings_, out, tmp_path / "t"))
    worker.start()
    while worker.is_alive():
        for path in out.glob("*.tiff") if out.is_dir() else ():
            if not path.name.startswith("."):
                sizes.setdefault(path.name, set()).add(path.stat().st_size)
        time.sleep(0.005)
    worker.join()
    assert all(len(seen) == 1 for seen in sizes.values())


def test_scenarios_by_chance_have_their_share():
    many = config(movies=2000, probabilities={"drift": 0.2, "film": 0.05}, counts={"empty": 30})
    names = scenario_sequence(many, 0)
    assert names.count("empty") == 30
    assert names.count("drift") == pytest.approx(0.2 * 1970, abs=60)
    assert names.count("film") == pytest.approx(0.05 * 1970, abs=35)
    assert names == scenario_sequence(many, 0)
    assert names != scenario_sequence(many, 2000)


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate_command)
    return app


def test_command_acquires(tmp_path):
    yaml = tmp_path / "s.yaml"
    yaml.write_text("frames: 3\nspecies: [{structure: nanodisc}]\n")
    arguments = [str(tmp_path / "m"), "--config", str(yaml), "--movies", "2", "--seed", "5"]
    arguments += ["--height-px", "96", "--width-px", "96", "--scenario", "drift=1"]
    arguments += ["--scenario", "film=0.5", "--set", "pixel_size_angst=2", "--end-marker"]
    result = CliRunner().invoke(_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "2/2 " in result.output
    table = pd.read_csv(tmp_path / "m_truth" / "movies.csv")
    assert (table["scenario"] == "drift").sum() == 1
    again = CliRunner().invoke(_app(), arguments)
    assert again.exit_code == 2
    assert "append" in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"movies": 0}, ["movies = 0"]),
        ({"settings": ["nonsense=1"]}, ["nonsense"]),
        ({"settings": ["nonsense"]}, ["KEY=VALUE"]),
        ({"scenarios": ["no=1"]}, ["'no'", "drift"]),
        ({"scenarios": ["drift=many"]}, ["drift='many'"]),
        ({"format": "png"}, ["format = 'png'", "tiff"]),
    ],
)
def test_wrong_option_is_answered_with_key_value_and_what_is_allowed(arguments, words):
    arguments = {"file": None, "scenarios": None, "settings": None, **arguments}
    with pytest.raises(typer.BadParameter) as error:
        build_config(**arguments)
    assert all(word in str(error.value) for word in words)


def test_page_holds_the_settings():
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert settings_table() in page
