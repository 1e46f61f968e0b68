"""A session from movies to the map through the cluster, and two sessions at once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from live_common import kill_all, run, science, start
from live_kill_resume import compare
from slurm_common import (
    allocations,
    copies,
    nothing_to_do,
    records,
    shared_gpus,
    site_profile,
    write_tiny_session,
)
from small_session import ROUND, simulate, write_small_session

from cryosnake import layout
from cryosnake.images import read_mrc
from cryosnake.plan.resources import GPU_RULES
from cryosnake.tables import read_star

#: What jobs of the session compute.
MADE = (layout.CLASS2D, layout.ABINITIO, layout.CLASS3D, layout.VALIDATION, layout.REFINE)


@pytest.fixture(scope="module")
def sessions(cluster, profile, tmp_path_factory) -> tuple[Path, Path]:
    """The same movies, processed on this machine and through the cluster."""
    folder = tmp_path_factory.mktemp("whole")
    movies = simulate(folder)
    for name in ("local", "slurm"):
        write_small_session(folder / name, movies)
    local, slurm = folder / "local", folder / "slurm"
    beside = start(local)
    try:
        run(slurm, "--profile", str(profile), timeout_s=1800)
        assert beside.wait(timeout=1800) == 0, (local / "starter.log").read_text()[-2000:]
    finally:
        if beside.poll() is None:
            kill_all(beside)
    return local, slurm


def tables(session: Path) -> dict[str, pd.DataFrame]:
    """Every table of numbers that the stages wrote, by its place."""
    found = {}
    for folder in (*MADE, layout.PARTICLES, layout.PICKING):
        for path in sorted((session / folder).rglob("*.star")):
            for name, block in read_star(path).items():
                frame = block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])
                times = [c for c in frame if c == "csnTime" or c.endswith("_s")]
                found[f"{path.relative_to(session)}:{name}"] = frame.drop(columns=times)
    return found


def test_through_the_cluster_comes_what_comes_without_it(sessions):
    local, slurm = sessions
    pd.testing.assert_frame_equal(science(local), science(slurm))
    one, other = tables(local), tables(slurm)
    assert one.keys() == other.keys()
    assert any(name.startswith(layout.VALIDATION) for name in one)
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name], obj=name)
    path = layout.refine_file(ROUND, "map.mrc")
    maps = [read_mrc(session / path)[0] for session in sessions]
    assert np.ptp(maps[0]) > 0
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5 * np.ptp(maps[0]))


def test_gpus_are_for_jobs_that_use_one_and_never_for_two_at_a_time(cluster, profile, sessions):
    slurm = sessions[1]
    jobs = allocations(cluster, slurm)
    assert {job.state for job in jobs} == {"COMPLETED"}
    rules = {record.rule for record in records(slurm).values()}
    assert {"preprocess", "pick", "extract", "class2d", "abinitio", "refine"} <= rules
    for job in jobs:
        # the two pickers here compute on the CPU
        uses = records(slurm)[job.number].rule in GPU_RULES - {"pick_training"}
        assert job.gpus == int(uses), job
    assert shared_gpus(cluster, slurm) == []
    assert copies(cluster, slurm) == []
    seen = {record.cuda_visible_devices for record in records(slurm).values()}
    assert seen == {None, "0", "1"}
    assert nothing_to_do(slurm, profile)


def test_two_sessions_share_the_cluster(cluster, movies, undisturbed, tmp_path):
    # each may queue as many jobs as there are GPUs: what comes later need not wait for all of it
    profile = site_profile(tmp_path / "site", max_jobs="2")
    both = [tmp_path / "one", tmp_path / "other"]
    for session in both:
        write_tiny_session(session, movies)
    starters = [start(session, "--profile", str(profile)) for session in both]
    ended = [starter.wait(timeout=900) for starter in starters]
    assert ended == [0, 0], [(session / "starter.log").read_text()[-2000:] for session in both]
    for session in both:
        assert compare(undisturbed, session)["tables_identical"]
    assert shared_gpus(cluster, *both) == []
    starts = [[job.start_s for job in allocations(cluster, session)] for session in both]
    for one, other in (starts, starts[::-1]):
        # half of a session is under way before all of the other one is
        assert one[1] < other[3]
