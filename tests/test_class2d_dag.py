"""What the workflow plans once there are particles enough for 2D classes."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_picking_dag import finished, plan, session  # noqa: F401

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.files import write_text
from cryosnake.particles import read_particles, write_particles
from cryosnake.session.dag import SessionDag
from cryosnake.session.particle_subsets import freeze_particles, write_particle_tally
from cryosnake.session.progress import Counting
from cryosnake.session.tables import read_movies

RULES = ("tally_particles", "freeze_particles", "class2d", "assess_class2d")
STREAM = ("stream_class2d", "live_class2d")


def unmade(session: Path) -> None:  # noqa: F811
    """Take the 2D classes out of a finished session, and what they were started from."""
    shutil.rmtree(session / layout.CLASS2D)
    shutil.rmtree(session / layout.particle_tallies(1))
    for path in (session / layout.SUBSETS).glob("particles_*"):
        path.unlink()


def test_a_finished_session_has_its_rounds_and_a_streamed_rest(finished):  # noqa: F811
    dag = SessionDag(finished, load_config(finished / "config.yaml"), main=False)
    # 300 movies, 9 of 10 accepted, 180 particles each
    assert dag.reached_rounds(pytest.fail) == [25000]
    batches = len(dag.round_batches(25000, pytest.fail))
    assert 7 <= batches <= 9
    assert len(dag.streamed(pytest.fail)) == 15 - batches


def test_counts_come_first_and_rounds_follow_from_them(session):  # noqa: F811
    unmade(session)
    jobs = plan(session)
    # the counts are not made yet: what follows from them cannot be planned
    assert jobs["tally_particles"] == 3
    assert not {"freeze_particles", "class2d"} & set(jobs)
    dag = SessionDag(session, load_config(session / "config.yaml"), main=False)
    for covered in dag.missing(dag.particle_tallies):
        write_particle_tally(session, dag.particle_tallies, covered)
    jobs = plan(session)
    assert [jobs.get(rule) for rule in RULES] == [None, 1, 1, 1]
    after = 15 - len(dag.round_batches(25000, pytest.fail))
    assert [jobs[rule] for rule in STREAM] == [after, after]
    assert not {"preprocess", "pick", "extract"} & set(jobs)
    assert plan(session, workflow="until: particles") == {}
    jobs = plan(session, class2d="streaming: false")
    assert jobs["class2d"] == 1
    assert not set(STREAM) & set(jobs)


def test_smaller_rounds_start_from_the_ones_before(session):  # noqa: F811
    jobs = plan(
        session,
        class2d="rounds: [{particles: 5000, classes: 20}, {particles: 9000, classes: 20}]",
    )
    assert (jobs["freeze_particles"], jobs["class2d"], jobs["assess_class2d"]) == (2, 2, 2)
    assert "tally_particles" not in jobs
    dag = SessionDag(session, load_config(session / "config.yaml"), main=False)
    assert dag.rounds.before(25000) == []
    assert dag.rounds.before(50000) == [layout.class2d_file(25000, "averages.star")]


def test_labels_given_by_hand_are_assessed_again_and_nothing_is_classified_again(session):  # noqa: F811
    (session / "class2d_overrides.csv").write_text("round,class,label\n25000,3,noise\n")
    jobs = plan(session)
    assert jobs["assess_class2d"] == 1
    assert "class2d" not in jobs


def test_a_new_picking_model_gives_new_rounds(session):  # noqa: F811
    jobs = plan(session, picking="model_version: 2")
    assert jobs["tally_particles"] == 3


def test_a_round_gets_the_smallest_prefix_whose_particles_are_enough(tmp_path):
    config = load_config({"milestones": {"tally_every_batches": 2}})
    dag = SessionDag(tmp_path, config, main=False)
    for index, number in enumerate((10, 0, 30, 5)):
        path = tmp_path / layout.extracted_counts(layout.batch_name(index))
        path.parent.mkdir(parents=True)
        pd.DataFrame({"micrograph": ["m"], "extracted": [number]}).to_csv(path, index=False)
    tallies = dag.particle_tallies
    assert write_particle_tally(tmp_path, tallies, 2)["so_far"] == [[1, 10], [2, 10]]
    assert write_particle_tally(tmp_path, tallies, 4)["so_far"] == [[3, 40], [4, 45]]
    assert tallies.inputs(4) == [layout.particles_star("b00002"), layout.particles_star("b00003")]

    def prefix(particles):
        return tallies.prefix(
            lambda tally: next((n for n, so_far in tally["so_far"] if so_far >= particles), None),
            [],
            pytest.fail,
        )

    assert [prefix(n) for n in (10, 11, 40, 45, 46)] == [1, 3, 3, 4, None]


def test_a_subset_leaves_out_particles_of_micrographs_that_are_rejected_since(session):  # noqa: F811
    config = load_config(session / "config.yaml")
    batches = ["b00000", "b00001"]
    movies = read_movies(session, batches)
    taken = movies[movies["csnAccepted"] == 1]
    for batch in batches:
        names = taken.loc[taken["csnBatch"] == batch, "rlnMicrographName"].tolist()
        particles = pd.DataFrame(
            {
                "rlnImageName": [
                    f"{i + 1:06d}@{layout.particles_stack(batch)}" for i in range(len(names) + 1)
                ],
                "rlnMicrographName": [*names, f"{layout.PREPROCESS}/{batch}/gone.mrc"],
                "rlnOpticsGroup": 1,
            }
        )
        optics = pd.DataFrame(
            {
                "rlnOpticsGroupName": ["opticsGroup1"],
                "rlnOpticsGroup": [1],
                "rlnVoltage": [300.0],
                "rlnSphericalAberration": [2.7],
                "rlnAmplitudeContrast": [0.1],
                "rlnMicrographOriginalPixelSize": [0.83],
                "rlnMicrographPixelSize": [0.83],
                "rlnImagePixelSize": [1.66],
                "rlnImageSize": [64],
            }
        )
        write_particles(session / layout.particles_star(batch), optics, particles)
    assert freeze_particles(session, config, 30, batches) == len(taken)
    optics, particles = read_particles(session / layout.particle_subset(30))
    assert set(particles["rlnMicrographName"]) == set(taken["rlnMicrographName"])
    assert optics["rlnImageSize"].tolist() == [64]


def test_the_progress_line_names_the_next_round(session):  # noqa: F811
    progress = Counting(session, load_config(session / "config.yaml")).now()
    name, have, need = progress.threshold
    assert (name, need) == ("2D", 50000)
    assert 40000 < have < 50000
    path = session / layout.particle_tallies(1) / "00015.json"
    write_text(path, json.dumps({"batches": 15, "so_far": [[15, 200000]]}))
    assert Counting(session, load_config(session / "config.yaml")).now().threshold is None
