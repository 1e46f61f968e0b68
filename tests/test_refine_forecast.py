"""What more particles would bring, and how fast they come."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refine_session import ROUND, config, refined_session, told

from cryosnake import layout
from cryosnake.images import read_mrc
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.stages import forecast
from cryosnake.stages.forecast import write_forecast
from cryosnake.stages.pace import acquisition_hours, acquisition_times_s, particles_per_hour
from cryosnake.stages.refine_engines import RefinedHalves
from cryosnake.stages.refine_files import write_json
from cryosnake.tables import write_star


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def refined(tmp_path_factory, tmp_path):
    return Path(shutil.copytree(refined_session(tmp_path_factory), tmp_path / "session"))


def test_parts_are_refined_and_a_line_is_drawn(refined, monkeypatch):
    monkeypatch.setattr(forecast, "LEAST", 80)
    content = write_forecast(refined, ROUND, config(refine={"target_angst": 12.0}), "cpu", 1)
    numbers = [n for n, _ in content["points"]]
    assert numbers == [80, 160, 320]
    result = json.loads((refined / layout.refine_file(ROUND, "result.json")).read_text())
    assert content["points"][-1][1] == pytest.approx(result["resolution_angst"])
    # points coarser than 15 A do not foretell
    assert content["verdict"] == "unsure"
    written = json.loads((refined / layout.refine_file(ROUND, "forecast.json")).read_text())
    assert written["points"] == [list(point) for point in content["points"]]
    assert told(refined, "forecast_decisions.star")["forecast"]["csnVerdict"] == "unsure"


def halves_of(refined, noise):
    """An engine that gives the truth with noise that falls with the number of particles."""
    half1 = read_mrc(refined / layout.refine_file(ROUND, "half1.mrc"))[0]

    def engine(task, device, threads):
        rng = np.random.default_rng(len(task.given.table))
        strength = noise / np.sqrt(len(task.given.table))
        pair = half1 + strength * half1.std() * rng.normal(size=(2, *half1.shape))
        return RefinedHalves(pair.astype(np.float32), {}, 1.0, True)

    return engine


def test_more_particles_are_finer_under_the_same_mask(refined, monkeypatch):
    monkeypatch.setattr(forecast, "LEAST", 40)
    monkeypatch.setattr(forecast, "natively", halves_of(refined, 12.0))
    found = write_forecast(refined, ROUND, config(), "cpu", 1)["points"][:3]
    assert [n for n, _ in found] == [40, 80, 160]
    assert found[0][1] > found[1][1] > found[2][1]


def test_earlier_rounds_count_and_too_few_particles_are_not_refined(refined, monkeypatch):
    monkeypatch.setattr(forecast, "natively", None)  # nothing is refined below 300 particles
    earlier = {"problem": None, "particles": 100, "resolution_angst": 30.0}
    path = refined / layout.refine_file(500, "result.json")
    write_json(path, earlier)
    content = write_forecast(refined, ROUND, config(refine={"target_angst": 12.0}), "cpu", 1)
    assert [n for n, _ in content["points"]] == [100, 320]
    assert content["verdict"] == "unsure"


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        ({"problem": "no volume"}, "fail"),
        ({"problem": None}, "unsure"),  # noise: no resolution
    ],
)
def test_without_a_resolution_there_is_no_forecast(tmp_path, result, verdict):
    path = tmp_path / layout.refine_file(ROUND, "result.json")
    write_json(path, {"particles": 0, "resolution_angst": None, **result})
    content = write_forecast(tmp_path, ROUND, config(), "cpu", 1)
    assert content["verdict"] == "unsure"
    assert content["problem"] == result["problem"]
    assert told(tmp_path, "forecast_decisions.star")["forecast"]["csnVerdict"] == verdict


def movies(number: int, seconds: float, **columns) -> pd.DataFrame:
    rows = pd.DataFrame([EMPTY_ROW] * number).assign(
        csnBatch="b00000",
        rlnMicrographName=[f"{layout.PREPROCESS}/b00000/m{i}.mrc" for i in range(number)],
        csnMovieMtime_s=1.7e9 + seconds * np.arange(number),
    )
    return rows.assign(**columns)


def write_movies(session, table: pd.DataFrame) -> None:
    write_star(session / layout.batch_table("b00000"), {"micrographs": table})
    write_star(session / layout.batch_star("b00000"), {"movies": pd.DataFrame({"rlnX": [1]})})
    names = table["rlnMicrographName"].iloc[::2]
    write_star(
        session / layout.particle_subset(ROUND),
        {"particles": pd.DataFrame({"rlnMicrographName": names})},
    )


def test_the_pace_counts_all_movies_of_the_batches(tmp_path):
    write_movies(tmp_path, movies(60, 60.0))
    pace, source = particles_per_hour(tmp_path, ROUND, 500)
    assert pace == pytest.approx(500.0)
    assert "60 movies" in source


def test_the_microscopes_times_win_over_those_of_the_files():
    told_times = [f"2026-03-01T10:{minute:02d}:00" for minute in range(0, 60, 2)]
    times, source = acquisition_times_s(movies(30, 1.0, csnAcquisitionTime=told_times))
    assert acquisition_hours(times) == pytest.approx(1.0)
    assert "microscope" in source
    times, source = acquisition_times_s(movies(30, 60.0, csnAcquisitionTime="-"))
    assert acquisition_hours(times) == pytest.approx(0.5)
    assert "files" in source


def test_a_night_without_movies_is_not_acquisition():
    times = np.concatenate([np.arange(30), 10_000 + np.arange(30)]) * 60.0
    assert acquisition_hours(times) == pytest.approx(1.0)


def test_the_pace_is_not_known_without_movies(tmp_path):
    assert particles_per_hour(tmp_path, ROUND, 500)[0] is None
    write_movies(tmp_path, movies(4, 60.0))
    assert particles_per_hour(tmp_path, ROUND, 500)[0] is None
    write_movies(tmp_path, movies(20, 0.0))
    assert particles_per_hour(tmp_path, ROUND, 500)[0] is None
