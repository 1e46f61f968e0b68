"""A session of a few hundred movies at a thousand times the pace, with failures on the way."""

from dataclasses import replace
from pathlib import Path

import pytest
from replay.check import complete
from replay.microscope import Microscope
from replay.notes import read_notes
from replay.plan import Plan
from replay.session import SMALL, prepare, start
from typer.testing import CliRunner

from cryosnake import layout
from cryosnake.cli import app
from cryosnake.tables import read_table

MOVIES = 300
PLAN = Plan(speedup=5000, particles=20, failing=0.05, bad=0.03, always=["extract b00020"])


@pytest.fixture(scope="module")
def replayed(tmp_path_factory) -> tuple[Path, Microscope, int]:
    """A watched session in which one job fails every time; the second run is without that."""
    session = tmp_path_factory.mktemp("replay") / "session"
    prepare(session, PLAN, **SMALL)
    scope = Microscope(session, MOVIES, every_s=0.02, repair=False)
    scope.start()
    code = start(session, "--watch").wait(timeout=600)
    scope.join()
    return session, scope, code


def test_a_job_that_always_fails_costs_only_what_needs_it(replayed):
    session, _, code = replayed
    assert code != 0
    told = CliRunner().invoke(app, ["status", str(session)]).output
    assert "particles of batch b00020 (tried 3 times): InjectedError" in told
    without = [b for b in layout.closed_batches(session) if not _extracted(session, b)]
    assert without == ["b00020"]
    # what needs the particles of all batches waits; a round that does not is there
    assert (session / layout.class2d_file(1500, "classes.star")).exists()
    assert not (session / layout.particle_subset(3000)).exists()
    assert (session / layout.REPORT).exists()


def test_jobs_that_fail_once_are_tried_again(replayed):
    session, _, _ = replayed
    jobs = read_notes(session, "job")
    jobs["job"] = [f"{one.rule} {sorted(one.wildcards.items())}" for one in jobs.itertuples()]
    failed = jobs[jobs["problem"].notna()]
    assert len(failed) > 3
    again = jobs[jobs["problem"].isna() & jobs["job"].isin(failed["job"])]
    assert set(failed["job"]) - set(again["job"]) == {"extract [('batch', 'b00020')]"}
    assert not jobs[jobs["problem"].isna()]["job"].duplicated().any()


def test_the_next_run_completes_the_session_and_another_finds_nothing_to_do(replayed):
    session, scope, _ = replayed
    scope.repair()
    replace(PLAN, always=[]).write(session)
    assert start(session, "--finish").wait(timeout=300) == 0
    assert complete(session, scope) == []
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    again = table[table["rlnMicrographMovieName"].isin(scope.repaired)]
    assert len(again) > 0
    assert (again["csnAttempt"] == 2).all()
    assert len(read_table(session / layout.DECISIONS, "decisions")) > 3 * MOVIES
    jobs = len(read_notes(session, "job"))
    assert start(session, "--finish").wait(timeout=300) == 0
    assert len(read_notes(session, "job")) == jobs


def _extracted(session: Path, batch: str) -> bool:
    return (session / layout.particles_star(batch)).exists()
