"""What the workflow plans in 3D, and that a session that has ended gets a last round."""

import json
import shutil
from pathlib import Path

import pytest
from test_picking_dag import finished, plan, session  # noqa: F401

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.errors import BadInputError
from cryosnake.session.dag import SessionDag

FIRST = ("abinitio", "class3d")
BRANCHES = ("branch2d", "branch3d", "crossvalidate")
LAST = ("reextract", "refine", "forecast")


def without_volumes(session: Path) -> None:  # noqa: F811
    for folder in (layout.ABINITIO, layout.CLASS3D, layout.VALIDATION, layout.REFINE):
        shutil.rmtree(session / folder)


def test_a_round_goes_on_to_a_refined_map(session):  # noqa: F811
    without_volumes(session)
    jobs = plan(session)
    assert [jobs[rule] for rule in FIRST + BRANCHES + LAST] == [1, 1, 2, 1, 1, 1, 1, 1]
    assert "class2d" not in jobs


def test_it_stops_where_it_is_told_to(session):  # noqa: F811
    without_volumes(session)
    assert plan(session, workflow="until: class2d") == {}
    jobs = plan(session, workflow="until: class3d")
    assert [jobs[rule] for rule in FIRST] == [1, 1]
    assert not set(BRANCHES + LAST) & set(jobs)


def test_rounds_that_3d_does_not_follow(session):  # noqa: F811
    without_volumes(session)
    assert plan(session, class3d="rounds: [50000]") == {}


def test_3d_rounds_have_to_be_2d_rounds():
    with pytest.raises(BadInputError, match=r"some of class2d\.rounds: 25000, 50000"):
        load_config({"class3d": {"rounds": [30000]}})


def test_a_better_selection_is_refined_again_and_later_movies_change_nothing(session):  # noqa: F811
    (session / "class2d_overrides.csv").write_text("round,class,label\n25000,3,noise\n")
    jobs = plan(session)
    assert [jobs[rule] for rule in FIRST + LAST] == [1, 1, 1, 1, 1]


def test_a_session_that_has_ended_gets_a_round_of_all_its_particles(session):  # noqa: F811
    jobs = plan(session, ingest="finish: true")
    # 300 movies, 9 of 10 accepted, 180 particles each
    assert (jobs["freeze_particles"], jobs["class2d"], jobs["abinitio"]) == (1, 1, 1)
    assert jobs["refine"] == 1
    config = load_config({"ingest": {"finish": True}})
    dag = SessionDag(session, config, main=False)
    first, last = dag.reached_rounds(pytest.fail)
    assert (first, last > 40000) == (25000, True)
    assert len(dag.round_batches(last, pytest.fail)) == 15
    assert dag.rounds.classes(last) == 50
    assert dag.rounds.before(last) == [layout.class2d_file(25000, "averages.star")]
    assert dag.volume_rounds.refined_before(last) == [layout.refine_file(25000, "result.json")]


def test_no_last_round_for_a_handful_of_particles_more(session):  # noqa: F811
    rounds = "rounds: [{particles: 25000, classes: 50}, {particles: 47000, classes: 50}]"
    jobs = plan(session, ingest="finish: true", class2d=rounds)
    assert jobs["class2d"] == 1
    config = load_config(
        {
            "ingest": {"finish": True},
            "class2d": {"rounds": [{"particles": n, "classes": 50} for n in (25000, 47000)]},
        }
    )
    dag = SessionDag(session, config, main=False)
    assert dag.reached_rounds(pytest.fail) == [25000, 47000]


def a_last_round(session, particles: int) -> None:  # noqa: F811
    """A run ended with a round of so many particles, and counted them."""
    (session / layout.class2d_folder(particles)).mkdir()
    counts = session / layout.particle_tallies(1)
    newest = max(counts.glob("*.json"))
    count = json.loads(newest.read_text())
    count["so_far"][-1][1] = particles
    (counts / f"{int(newest.stem) - 1:05d}.json").write_text(json.dumps(count))


def test_no_other_last_round_for_a_few_movies_that_came_late(session):  # noqa: F811
    config = load_config({"ingest": {"finish": True}})
    last = SessionDag(session, config, main=False).reached_rounds(pytest.fail)[-1]
    earlier = last - 200  # of the same batches but the latest micrograph or so
    a_last_round(session, earlier)
    assert SessionDag(session, config, main=False).reached_rounds(pytest.fail) == [25000, earlier]
    (session / layout.class2d_folder(earlier)).rmdir()
    a_last_round(session, round(0.7 * last))
    assert SessionDag(session, config, main=False).reached_rounds(pytest.fail) == [25000, last]


def test_a_later_run_goes_on_with_the_last_round_of_an_earlier_one(session):  # noqa: F811
    ended = load_config({"ingest": {"finish": True}})
    last = SessionDag(session, ended, main=False).reached_rounds(pytest.fail)[-1]
    a_last_round(session, last)
    later = SessionDag(session, load_config({}), main=False)
    assert later.reached_rounds(pytest.fail) == [25000, last]
    assert later.streamed(pytest.fail) == []  # nothing came after it
    # a round that was configured once is not such a one
    (session / layout.class2d_folder(last)).rename(session / layout.class2d_folder(last - 1))
    later = SessionDag(session, load_config({}), main=False)
    assert later.reached_rounds(pytest.fail) == [25000]
    assert later.streamed(pytest.fail) != []
