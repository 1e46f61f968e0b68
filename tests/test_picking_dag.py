"""What the workflow plans once there are micrographs enough to pick, and when it plans nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from live_dryrun import fabricate, mark_made  # noqa: E402

from cryosnake import layout  # noqa: E402
from cryosnake.config import load_config  # noqa: E402
from cryosnake.session.publish import publish_report  # noqa: E402
from cryosnake.session.tables import refresh  # noqa: E402


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A session of 15 batches in which everything is done."""
    session = tmp_path_factory.mktemp("finished")
    fabricate(session, 300, 20)
    config = load_config(session / "config.yaml")
    refresh(session, config)
    publish_report(session, config)
    mark_made(session)
    return session


def plan(session: Path, **settings: str) -> dict[str, int]:
    """Number of jobs of each rule that a run would do."""
    words = [f"{section}={{{value}}}" for section, value in settings.items()]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")),
            *("--profile", str(ROOT / "profiles/local"), "--directory", str(session), "-n"),
            *("--configfile", str(session / "config.yaml"), "--cores", "2"),
            *(["--config", *words] if words else []),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    if "Nothing to be done" in output:
        return {}
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", output.split("Job stats:")[1], flags=re.M))
    return {rule: int(number) for rule, number in jobs.items() if rule != "total"}


@pytest.fixture
def session(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "session", copy_function=shutil.copy2))


def test_a_finished_session_has_nothing_to_do(finished):
    assert plan(finished) == {}


def test_picking_starts_when_there_are_micrographs_enough(session):
    shutil.rmtree(session / layout.PICKING)
    shutil.rmtree(session / layout.PARTICLES)
    jobs = plan(session)
    once = ["particle_size", "training_set", "consensus", "train_picker"]
    assert [jobs[rule] for rule in once] == [1, 1, 1, 1]
    assert jobs["pick_training"] == 3
    assert (jobs["pick"], jobs["extract"]) == (15, 15)
    assert "preprocess" not in jobs
    assert plan(session, workflow="until: curation") == {}
    jobs = plan(session, workflow="until: picking")
    assert jobs["pick"] == 15
    assert "extract" not in jobs


def test_a_new_model_on_request_picks_anew_and_measures_nothing_again(session):
    jobs = plan(session, picking="model_version: 2")
    assert (jobs["train_picker"], jobs["pick"], jobs["extract"]) == (1, 15, 15)
    assert not {"particle_size", "training_set", "pick_training", "consensus"} & set(jobs)


def test_a_batch_that_was_not_picked_is_picked_alone(session):
    shutil.rmtree(session / layout.PICKING / "b00003")
    shutil.rmtree(session / layout.PARTICLES / "b00003")
    jobs = plan(session)
    assert (jobs["pick"], jobs["extract"]) == (1, 1)
    assert "train_picker" not in jobs


def test_without_enough_micrographs_nothing_is_picked(session):
    shutil.rmtree(session / layout.PICKING)
    shutil.rmtree(session / layout.PARTICLES)
    shutil.rmtree(session / layout.SUBSETS)
    shutil.rmtree(session / layout.TALLY)
    more = "size_micrographs: 5000, training_micrographs: 5000"
    jobs = plan(session, milestones=more)
    assert not {"particle_size", "pick", "extract", "freeze"} & set(jobs)
