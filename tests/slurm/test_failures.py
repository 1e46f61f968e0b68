"""What clusters do to a session: nothing is lost, nothing is done twice, the end is the same."""

from collections import Counter
from functools import partial

from live_kill_resume import compare
from slurm_common import allocations, copies, shared_gpus, write_tiny_session
from slurm_injections import (
    cancel_a_job,
    drain_the_node,
    fail_the_node,
    hang_a_job,
    kill_a_process,
    restart_the_controller,
    run_disturbed,
    run_with_a_killed_starter,
    starve_a_job,
    state_of,
    take_the_controller_away,
)


def check_end(cluster, session, undisturbed) -> None:
    """The session ended as if nothing had happened, and nothing was done by two jobs at a time."""
    result = compare(undisturbed, session)
    assert result["tables_identical"]
    assert (result["movies"], result["lost"], result["processed_twice"]) == (8, 0, 0)
    assert result["subsets"] == 1
    assert result["subset_rows_identical"]
    assert copies(cluster, session) == []
    assert shared_gpus(cluster, session) == []


def test_jobs_that_fail_are_done_again_with_more_time_and_memory(
    cluster, profile, movies, undisturbed, tmp_path
):
    session = tmp_path / "session"
    write_tiny_session(session, movies)
    failures = [starve_a_job, hang_a_job, kill_a_process, cancel_a_job]
    run_disturbed(cluster, session, profile, failures)
    check_end(cluster, session, undisturbed)
    jobs = allocations(cluster, session)
    states = Counter(job.state for job in jobs)
    assert states["COMPLETED"] == 4
    assert states["TIMEOUT"] == 1
    assert sum(states.values()) >= 4 + len(failures)
    by_work = {job.work: [one for one in jobs if one.work == job.work] for job in jobs}
    for same_work in by_work.values():
        asked = [(job.memory_mb, job.limit_min) for job in same_work]
        assert asked[-1] == max(asked)


def test_a_node_may_fail_or_drain_and_the_controller_be_restarted(
    cluster, profile, movies, undisturbed, tmp_path
):
    session = tmp_path / "session"
    write_tiny_session(session, movies)
    run_disturbed(
        cluster,
        session,
        profile,
        [fail_the_node, restart_the_controller, drain_the_node],
    )
    check_end(cluster, session, undisturbed)


def test_a_starter_may_be_killed_and_the_controller_be_away(
    cluster, profile, movies, undisturbed, tmp_path
):
    session = tmp_path / "session"
    write_tiny_session(session, movies)
    away = partial(take_the_controller_away, away_s=25)
    left = run_with_a_killed_starter(cluster, session, profile, [away])
    assert left
    # never a second copy: what was left behind was cancelled before anything was submitted
    assert {state_of(cluster, number) for number in left} == {"CANCELLED"}
    check_end(cluster, session, undisturbed)
