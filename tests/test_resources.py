"""What jobs ask a scheduler for grows with work and attempt, and every rule asks."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "workflow"))

import lint  # noqa: E402
from live_dryrun import fabricate  # noqa: E402

from cryosnake import layout  # noqa: E402
from cryosnake.config import load_config  # noqa: E402
from cryosnake.config.model import Config  # noqa: E402
from cryosnake.plan.costs import COSTS  # noqa: E402
from cryosnake.plan.resources import (  # noqa: E402
    GPU_RULES,
    Requests,
    memory_mb,
    runtime_min,
)
from cryosnake.session.job_work import (  # noqa: E402
    REFERENCE_MOVIE,
    MovieSize,
    SessionWork,
    Work,
    movie_size,
)

WORK = Work(units=20_000, movie=REFERENCE_MOVIE, box_px=128, classes=100, volumes=2)
#: Works that are larger in one respect each, and the rules whose memory must grow for it.
LARGER = {
    "units": (replace(WORK, units=200_000), {"class2d", "branch2d", "class3d", "refine"}),
    "frames": (
        replace(WORK, movie=replace(REFERENCE_MOVIE, frames=80)),
        {"preprocess"},
    ),
    "pixels": (
        replace(WORK, movie=replace(REFERENCE_MOVIE, height_px=8184, width_px=11520)),
        {"preprocess", "pick", "particle_size"},
    ),
    "bytes": (replace(WORK, movie=replace(REFERENCE_MOVIE, pixel_bytes=4)), {"preprocess"}),
    "box": (replace(WORK, box_px=256), {"class2d", "class3d", "refine", "forecast"}),
    "classes": (replace(WORK, classes=200), {"class2d", "branch2d"}),
    "volumes": (replace(WORK, volumes=4), {"abinitio", "class3d", "branch3d"}),
}
#: A session whose third batch is streamed.
MORE = """
milestones: {tally_every_batches: 1, size_micrographs: 5, training_micrographs: 10}
class2d: {rounds: [{particles: 5000, classes: 40}]}
"""
#: Rules whose time must grow with their units.
COUNTED = {"preprocess", "extract", "class2d", "class3d", "refine", "forecast", "branch3d"}


@pytest.mark.parametrize("rule", COSTS)
def test_more_work_never_asks_for_less(rule):
    memory, minutes = memory_mb(rule, WORK), runtime_min(rule, WORK, threads=2)
    for what, (larger, grows) in LARGER.items():
        more_memory = memory_mb(rule, larger)
        assert more_memory >= memory, what
        assert runtime_min(rule, larger, threads=2) >= minutes, what
        if rule in grows:
            assert more_memory > memory, what
    if rule in COUNTED:
        assert runtime_min(rule, LARGER["units"][0], threads=2) > minutes


@pytest.mark.parametrize("rule", COSTS)
def test_memory_and_time_grow_with_each_attempt(rule):
    memory = [memory_mb(rule, WORK, attempt=n) for n in (1, 2, 3)]
    minutes = [runtime_min(rule, WORK, threads=2, attempt=n) for n in (1, 2, 3)]
    for first, second in itertools.pairwise(memory):
        assert second == pytest.approx(1.5 * first, abs=100)
    for first, second in itertools.pairwise(minutes):
        assert second == pytest.approx(2 * first, abs=1)


def test_time_is_three_times_what_is_expected_and_never_short():
    batch = replace(WORK, units=20)
    # 20 movies of 48 CPU s on two threads
    expected_min = (3 + 20 * 48) * (0.05 + 0.95 / 2) / 60
    assert runtime_min("preprocess", batch, threads=2) == pytest.approx(
        3 * expected_min + 10, abs=1
    )
    assert runtime_min("extract", replace(WORK, units=1), threads=2) == 15
    assert runtime_min("class2d", WORK, threads=1) > runtime_min("class2d", WORK, threads=8)


def test_memory_holds_what_was_measured():
    """Peak memory of whole runs on the reference machine, see benchmarks/RESULTS.md."""
    for rule, work, measured_mb in (
        ("preprocess", replace(WORK, units=20), 3200),
        ("preprocess", replace(WORK, movie=MovieSize(20, 2048, 2048)), 837),
        ("class2d", replace(WORK, units=100_000), 1284),
        ("extract", WORK, 679),
        ("refine", replace(WORK, units=100_000), 6000),
    ):
        assert measured_mb * 1.1 < memory_mb(rule, work) < measured_mb * 3


def write_movie(path: Path, shape: tuple[int, int, int]) -> None:
    tifffile.imwrite(path, np.zeros(shape, "u1"), photometric="minisblack")


def test_movies_are_measured_by_their_headers(tmp_path):
    config = Config()
    write_movie(tmp_path / "a.tif", (5, 32, 48))
    assert movie_size(tmp_path / "a.tif", config) == MovieSize(5, 32, 48, 1)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(np.zeros((3, 16, 24), "i2"))
    assert movie_size(tmp_path / "a.mrc", config) == MovieSize(3, 16, 24, 2)
    (tmp_path / "bad.tif").write_bytes(b"no movie")
    assert movie_size(tmp_path / "bad.tif", config) is None
    assert movie_size(tmp_path / "missing.eer", config) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A session of three batches in which everything is done."""
    session = tmp_path_factory.mktemp("finished")
    fabricate(session, 60, 20, MORE)
    return session


@pytest.fixture
def session(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "session", copy_function=shutil.copy2))


def test_work_is_found_on_disk(session):
    config = load_config(session / "config.yaml")
    work = SessionWork(session, config)
    batch = {"batch": "b00002"}
    # empty files tell no size; the first that does counts
    assert work.of("preprocess", batch).movie == REFERENCE_MOVIE
    first = sorted((session / "movies").iterdir())[0]
    write_movie(first, (4, 8, 8))
    assert work.of("preprocess", batch).movie == MovieSize(4, 8, 8, 1)
    assert work.of("preprocess", batch).units == 20
    picks = (session / layout.picked_counts("b00002")).read_text().splitlines()[1:]
    assert work.of("extract", batch).units == 200 * len(picks)
    assert work.of("stream_class2d", batch | {"particles": "5000"}).units == 180 * len(picks)
    (session / layout.picked_counts("b00002")).unlink()
    assert work.of("extract", batch).units >= 20 * 200
    assert work.of("class2d", {"particles": "5000"}).classes == 40
    assert work.of("branch2d", {"particles": "5000", "number": "2"}).classes == 50
    assert work.of("branch3d", {"particles": "5000"}).volumes == 3
    (session / layout.SIZE).write_text(json.dumps({"long_axis_angst": 150.0}))
    assert work.of("refine", {"particles": "5000"}).box_px == 150
    assert work.of("class3d", {"particles": "900000"}).units == 200_000


def asked(session: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """The resources of the first job of each rule in a dry run."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    words += ["--directory", str(session), "--configfile", str(session / "config.yaml"), "-n"]
    done = subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^(?=(?:local)?(?:rule|checkpoint) \w+:)", output, flags=re.M)[1:]:
        rule = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", block)[1]
        listed = re.search(r"^    resources: (.*)$", block, flags=re.M)
        pairs = (pair.split("=", 1) for pair in listed[1].split(", "))
        found.setdefault(rule, dict(pairs))
    return found


def unprocess(session: Path) -> None:
    """Nothing is done but the counts, so that a dry run plans every rule's first jobs."""
    for folder in (layout.PREPROCESS, layout.PICKING, layout.PARTICLES, layout.CLASS2D):
        shutil.rmtree(session / folder)


def edited_profile(folder: Path, **block: str) -> Path:
    """A copy of the SLURM profile with other values in its block."""
    text = (ROOT / "profiles/slurm/config.yaml").read_text()
    for name, value in block.items():
        text, number = re.subn(rf"^  - {name} = .*$", f"  - {name} = {value}", text, flags=re.M)
        assert number == 1, name
    folder.mkdir()
    (folder / "config.yaml").write_text(text)
    return folder


def test_every_job_for_the_cluster_says_what_it_needs(session):
    unprocess(session)
    found = asked(session, "--profile", str(ROOT / "profiles/slurm"))
    assert set(COSTS) - set(found) <= {"take_particles", "tally", "tally_particles", "freeze",
                                      "freeze_particles"}  # fmt: skip
    for rule in lint.cluster_rules():
        if rule in found:
            assert int(found[rule]["mem_mb"]) >= 500
            assert int(found[rule]["runtime"]) >= 15
            expected = rule in GPU_RULES and rule != "pick_training"
            assert expected <= (found[rule]["gpu"] == "1") <= (rule in GPU_RULES), rule
            assert not any(name.startswith(("on_gpu", "at_most")) for name in found[rule])
    assert not any("slurm_partition" in resources for resources in found.values())
    again = asked(session, "--profile", str(ROOT / "profiles/slurm"), "--attempt", "2")
    for rule, resources in again.items():
        if "runtime" in resources:
            assert int(resources["runtime"]) >= 2 * int(found[rule]["runtime"]) - 1, rule
            assert int(resources["mem_mb"]) > int(found[rule]["mem_mb"]), rule


def test_what_a_site_sets_reaches_the_jobs(session, tmp_path):
    unprocess(session)
    profile = edited_profile(
        tmp_path / "site",
        partition='"all"',
        gpu_partition='"gpu"',
        account='"123"',
        gpu_qos='"short"',
        gpu_request='"gres"',
        gpu_type='"a100"',
        extra='"--nice=100"',
        max_memory_mb="5000",
        max_runtime_min="20",
    )
    found = asked(session, "--profile", str(profile))
    on_gpu, without = found["preprocess"], found["extract"]
    assert (on_gpu["slurm_partition"], without["slurm_partition"]) == ("gpu", "all")
    assert (on_gpu["gpu"], on_gpu["gres"]) == ("0", "gpu:a100:1")
    assert (without["gpu"], without.get("gres")) == ("0", None)
    assert (on_gpu["qos"], without.get("qos")) == ("short", None)
    for job in (on_gpu, without):
        assert (job["slurm_account"], job["slurm_extra"]) == ("123", "--nice=100")
        assert int(job["mem_mb"]) <= 5000
        assert int(job["runtime"]) <= 20
    cpu = asked(session, "--profile", str(profile), "--config", "compute={device: cpu}")
    assert cpu["preprocess"]["slurm_partition"] == "all"
    assert "gres" not in cpu["preprocess"]
    assert cpu["preprocess"]["gpu"] == "0"
    typed = edited_profile(tmp_path / "typed", gpu_type='"a100"')
    found = asked(session, "--profile", str(typed))
    assert (found["preprocess"]["gpu"], found["preprocess"]["gpu_model"]) == ("1", "a100")
    assert (found["extract"]["gpu"], found["extract"].get("gpu_model")) == ("0", None)
    none = edited_profile(tmp_path / "none", gpu_request='"none"')
    found = asked(session, "--profile", str(none))
    assert {found[rule]["gpu"] for rule in lint.cluster_rules() if rule in found} == {"0"}


def test_a_gpu_is_for_what_can_use_one(session):
    def gpus(more: dict, rule: str, **wildcards: str) -> int:
        return Requests(session, Config.model_validate(more)).gpu(rule, wildcards)

    pickers = [gpus({}, "pick_training", picker=name) for name in ("log", "network")]
    assert pickers == [0, 1]
    assert gpus({"picking": {"denoise": True}}, "pick_training", picker="log") == 1
    given = {"kind": "micrographs", "path": "*.mrc"}
    assert gpus({"input": given}, "preprocess", batch="b00000") == 1
    assert gpus({"input": given, "ctf": {"fit": False}}, "preprocess", batch="b00000") == 0
    about = session / layout.model_file(1, "json")
    for chosen, wanted in (("log", 0), ("network", 1), ("trained", 1), ("consensus", 1)):
        about.write_text(json.dumps({"chosen": chosen}))
        assert gpus({}, "pick", batch="b00000") == wanted
    for rule in GPU_RULES:
        assert gpus({"compute": {"device": "cpu"}}, rule, picker="network") == 0


def test_other_engines_get_the_time_that_they_need(session):
    times = {}
    for engine in ("native", "relion"):
        config = Config.model_validate(
            {"class2d": {"engine": engine}, "refine": {"engine": engine}}
        )
        asks = Requests(session, config)
        wildcards = {"particles": "50000", "number": "1"}
        for rule in ("class2d", "branch2d", "refine", "class3d"):
            times[engine, rule] = asks.runtime_min(rule, wildcards, 1, 2)
    for rule in ("class2d", "branch2d", "refine"):
        assert times["relion", rule] > 5 * times["native", rule]
    assert times["relion", "class3d"] == times["native", "class3d"]
