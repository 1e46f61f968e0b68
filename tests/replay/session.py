"""Making a session that is replayed, and running it with the starter."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from cryosnake.config import load_config
from cryosnake.session.dag import STAGES
from replay.plan import Plan
from replay.samples import make_samples

TESTS = Path(__file__).resolve().parents[1]
_PROFILE = {
    "executor": "replay",
    "rerun-triggers": ["mtime", "input"],
    "rerun-incomplete": True,
    "keep-going": True,
    "restart-times": 2,
    "show-failed-logs": True,
    "scheduler": "cryosnake",
}
#: The configuration of a replayed session, as usual but for waits that fit its pace.
USUAL = {
    "input": {"path": "movies"},
    "acquisition": {"pixel_size_angst": 0.83, "voltage_kv": 300, "cs_mm": 2.7},
    "ingest": {"settle_s": 0.2, "poll_s": 0.5, "batch_timeout_s": 5, "idle_timeout_s": 600},
    "compute": {"threads": 4},
}
#: Thresholds of a session that is over in a minute; it ends with 2D classes.
SMALL = {
    "ingest": {**USUAL["ingest"], "batch_movies": 10, "batch_movies_max": 10},
    "milestones": {
        "size_micrographs": 20,
        "training_micrographs": 40,
        "tally_every_batches": 3,
    },
    "class2d": {"rounds": [{"particles": 1500, "classes": 10}, {"particles": 3000, "classes": 10}]},
    "picking": {"training_micrographs": 10},
    "workflow": {"until": "class2d"},
}


def prepare(session: Path, plan: Plan, *, gpus: int = 4, **sections) -> None:
    """Make a session with nothing in it yet: configuration, plan, profile and samples.

    Parameters
    ----------
    gpus : that jobs share.
    sections : of the configuration, in the place of those of a usual session.
    """
    session = Path(session)
    (session / "movies").mkdir(parents=True)
    (session / "profile").mkdir()
    profile = {**_PROFILE, "resources": [f"gpu={gpus}"]}
    (session / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))
    (session / "config.yaml").write_text(yaml.safe_dump({**USUAL, **sections}))
    plan.write(session)
    config = load_config(session / "config.yaml")
    classes = {one.classes for one in config.class2d.rounds}
    to_volumes = STAGES.index(config.workflow.until) >= STAGES.index("class3d")
    make_samples(session, classes, volumes=to_volumes)


def start(session: Path, *arguments: str, cores: int = 24) -> subprocess.Popen:
    """Start `cryosnake run` on a prepared session; its output is added to `starter.log`."""
    session = Path(session)
    words = [sys.executable, "-m", "cryosnake.cli", "run", str(session), "--cores", str(cores)]
    words += ["--profile", str(session / "profile"), *arguments]
    paths = [str(TESTS), str(TESTS / "replay" / "plugin"), os.environ.get("PYTHONPATH", "")]
    with open(session / "starter.log", "ab") as log:
        return subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
            # the GPUs are counted by the profile; jobs compute nothing
            | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
