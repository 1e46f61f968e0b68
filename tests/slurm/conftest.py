"""The cluster that these tests use, and the sessions that they compare with.

`make test-slurm` runs them. They are no part of `make test`: they need root and Debian's SLURM.
"""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from cluster import missing, temporary_cluster  # noqa: E402
from live_common import run, write_movies  # noqa: E402
from slurm_common import on_cluster, site_profile, write_tiny_session  # noqa: E402


@pytest.fixture(scope="session")
def cluster():
    """One node, 8 CPUs, 2 GPUs; this process and what it starts use it."""
    if reason := missing():
        pytest.skip(reason)
    with temporary_cluster() as one, on_cluster(one):
        yield one


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    """The shipped profile as a site fills it in."""
    return site_profile(tmp_path_factory.mktemp("site") / "slurm")


@pytest.fixture(scope="session")
def movies(tmp_path_factory) -> Path:
    """Eight small movies, four batches: more than there are GPUs."""
    folder = tmp_path_factory.mktemp("tiny") / "movies"
    write_movies(folder, range(8))
    return folder


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, movies) -> Path:
    """They were processed on this machine, without a cluster, and nothing happened."""
    session = tmp_path_factory.mktemp("undisturbed") / "session"
    write_tiny_session(session, movies)
    run(session)
    return session
