"""Tallies, milestones and the session's tables, from fabricated batches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.decisions import Decision, as_table
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.session.dag import SessionDag
from cryosnake.session.milestones import count, freeze, write_tally
from cryosnake.session.tables import micrograph_blocks, refresh
from cryosnake.session.tallies import read_tally
from cryosnake.tables import read_star, read_table, write_star

OPTICS = {
    "rlnMicrographOriginalPixelSize": 0.83,
    "rlnMicrographPixelSize": 0.83,
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
}


def finish_batch(session: Path, number: int, movies: list[str], accepted, **columns) -> None:
    """Write a batch as preprocessing would."""
    batch = layout.batch_name(number)
    rows = [
        EMPTY_ROW
        | OPTICS
        | {
            "rlnMicrographMovieName": movie,
            "rlnMicrographName": f"results/preprocess/{batch}/{Path(movie).stem}.mrc",
            "csnBatch": batch,
            "rlnDefocusU": 15000.0,
            "rlnDefocusV": 14900.0,
            "rlnCtfMaxResolution": 4.0 if good else 9.0,
            "csnDose_counts_per_angst2": 1.0,
            "csnPassInput": 1,
            "csnPassCtf": int(good),
            "csnAccepted": int(good),
            "csnReason": "-" if good else "ctf",
        }
        for movie, good in zip(movies, accepted, strict=True)
    ]
    table = pd.DataFrame(rows).assign(**columns)
    names = table[["rlnMicrographName", "rlnMicrographMovieName", "csnBatch"]]
    write_star(session / layout.batch_star(batch), {"movies": names})
    decisions = as_table([Decision(m, "ctf", "pass", "4 A", "6 A") for m in movies])
    write_star(session / layout.batch_decisions(batch), {"decisions": decisions})
    write_star(session / layout.batch_table(batch), {"micrographs": table})


def prefix_by_tallies(session: Path, every: int, size: int) -> int | None:
    """The prefix that a run with this cadence of tallies finds."""
    config = load_config(
        {"milestones": {"tally_every_batches": every, "training_micrographs": size}}
    )
    dag = SessionDag(session, config, main=False)
    for covered in dag.missing(dag.micrograph_tallies):
        write_tally(session, config, covered, dag.micrograph_tallies.before(covered))
    found = dag.subset_batches("training", ask=pytest.fail)
    for path in (session / layout.TALLY).glob("*.json"):
        path.unlink()
    return None if found is None else len(found)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=6),
    st.integers(1, 8),
)
def test_the_prefix_is_the_smallest_and_does_not_depend_on_when_is_counted(
    tmp_path_factory, batches, size
):
    session = tmp_path_factory.mktemp("session")
    for number, accepted in enumerate(batches):
        finish_batch(session, number, [f"m{number}_{i}.tif" for i in range(2)], accepted)
    reached = np.cumsum([sum(accepted) for accepted in batches]) >= size
    expected = int(np.argmax(reached)) + 1 if reached.any() else None
    assert {prefix_by_tallies(session, every, size) for every in (1, 2, 4)} == {expected}


def test_a_frozen_subset_holds_the_accepted_of_its_prefix_and_opens_as_relion_31(tmp_path):
    for number in range(3):
        finish_batch(tmp_path, number, [f"m{number}a.tif", f"m{number}b.tif"], [True, False])
    config = load_config({"milestones": {"training_micrographs": 2}})
    result = count(tmp_path, config, covered=3, before=0)
    assert result["milestones"]["training"]["batches"] == 2
    freeze(tmp_path, config, "training", ["b00000", "b00001"])
    blocks = read_star(tmp_path / layout.subset_star("training"))
    assert list(blocks) == ["optics", "micrographs"]
    assert blocks["micrographs"]["rlnMicrographMovieName"].tolist() == ["m0a.tif", "m1a.tif"]
    assert pd.DataFrame(blocks["optics"])["rlnVoltage"].tolist() == [300.0]


def test_stringent_micrographs_are_those_one_can_measure_particles_on(tmp_path):
    movies = [f"m{i}.tif" for i in range(4)]
    finish_batch(
        tmp_path,
        0,
        movies,
        [True] * 4,
        rlnCtfMaxResolution=[4.9, 5.1, 4.0, 4.0],
        rlnDefocusU=[15000.0, 15000.0, 9000.0, 31000.0],
        rlnDefocusV=[15000.0, 15000.0, 9000.0, 31000.0],
    )
    result = count(tmp_path, load_config({}), covered=1, before=0)
    assert result["milestones"]["size"]["count"] == 1
    assert result["milestones"]["training"]["count"] == 4


def test_tallies_are_due_every_few_batches_and_over_the_rest_at_the_end(tmp_path):
    for number in range(7):
        finish_batch(tmp_path, number, [f"m{number}.tif"], [True])
    config = load_config({"milestones": {"tally_every_batches": 3}})
    dag = SessionDag(tmp_path, config, main=False)
    assert dag.missing(dag.micrograph_tallies) == [3, 6, 7]
    assert dag.micrograph_tallies.inputs(6) == [
        "results/preprocess/b00003/micrographs.star",
        "results/preprocess/b00004/micrographs.star",
        "results/preprocess/b00005/micrographs.star",
        "results/tally/00003.json",
    ]
    write_tally(tmp_path, config, 3, 0)
    assert dag.missing(dag.micrograph_tallies) == [6, 7]
    assert "results/tally/00003.json" not in dag.micrograph_tallies.inputs(6)


def test_a_milestone_asks_for_the_next_tally_only(tmp_path):
    for number in range(4):
        finish_batch(tmp_path, number, [f"m{number}.tif"], [True])
    config = load_config(
        {
            "milestones": {
                "tally_every_batches": 1,
                "training_micrographs": 2,
                "size_micrographs": 100,
            }
        }
    )
    dag = SessionDag(tmp_path, config, main=False)

    class Asked(Exception):
        pass

    def ask(_tallies, covered):
        raise Asked(covered)

    with pytest.raises(Asked, match="1"):
        dag.subset("training", ask)
    write_tally(tmp_path, config, 1, 0)
    with pytest.raises(Asked, match="2"):
        dag.subset("training", ask)
    write_tally(tmp_path, config, 2, 1)
    assert dag.subset("training", ask) == [layout.subset_star("training")]
    assert dag.subset_batches("training", ask) == ["b00000", "b00001"]
    assert read_tally(tmp_path, layout.tally_file(2))["milestones"]["size"]["batches"] is None


def test_session_tables_keep_the_latest_attempt_and_every_decision(tmp_path):
    finish_batch(tmp_path, 0, ["a.tif", "b.tif"], [False, True])
    finish_batch(tmp_path, 1, ["a.tif"], [True], csnAttempt=2)
    refresh(tmp_path, load_config({}))
    table = read_table(tmp_path / layout.MICROGRAPHS, "micrographs")
    assert table["rlnMicrographMovieName"].tolist() == ["b.tif", "a.tif"]
    assert table["csnAttempt"].tolist() == [1, 2]
    assert table["csnAccepted"].tolist() == [1, 1]
    assert len(read_table(tmp_path / layout.DECISIONS, "decisions")) == 3
    metrics = pd.read_csv(tmp_path / layout.METRICS)
    assert metrics["micrograph"].tolist() == ["b", "a"]


def test_session_tables_are_as_old_as_what_they_show(tmp_path):
    finish_batch(tmp_path, 0, ["a.tif"], [True])
    finished_s = (tmp_path / layout.batch_table("b00000")).stat().st_mtime
    refresh(tmp_path, load_config({}))
    shown_s = (tmp_path / layout.MICROGRAPHS).stat().st_mtime
    finish_batch(tmp_path, 1, ["b.tif"], [True])
    assert finished_s <= shown_s <= (tmp_path / layout.batch_table("b00001")).stat().st_mtime


def test_optics_groups_come_from_the_beam_shifts_and_unread_movies_get_one_too():
    shifts = np.repeat([[0.0, 0.0], [5.0, 0.0]], 10, axis=0)
    shifts += np.random.default_rng(1).normal(0, 0.02, shifts.shape)
    table = pd.DataFrame([EMPTY_ROW | OPTICS for _ in range(20)])
    table["csnBeamShiftX"], table["csnBeamShiftY"] = shifts.T
    unread = pd.DataFrame([EMPTY_ROW])
    table = pd.concat([table, unread], ignore_index=True)
    blocks = micrograph_blocks(table, load_config({}))
    assert blocks["optics"]["rlnOpticsGroup"].tolist() == [1, 2]
    assert blocks["micrographs"]["rlnOpticsGroup"].tolist() == [1] * 10 + [2] * 10 + [1]
    one = micrograph_blocks(table, load_config({"acquisition": {"optics_groups": "one"}}))
    assert one["optics"]["rlnOpticsGroup"].tolist() == [1]
