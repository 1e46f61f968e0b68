"""How long the heavy steps take, and sleeping so long in less time."""

import time
from pathlib import Path

from replay.plan import Plan

#: Seconds of a step on one GPU (or four cores), and seconds for each movie or particle of it, as
#: facilities report for 4k movies; the particles count up to a number that the step uses.
STEPS_S: dict[str, tuple[float, float, float]] = {
    "preprocess": (20, 6, 1e9),
    "particle_size": (120, 0, 0),
    "pick_training": (60, 8, 1e9),
    "consensus": (5, 0, 0),
    "train_picker": (900, 0, 0),
    "pick": (15, 1.5, 1e9),
    "extract": (10, 1.0, 1e9),
    "stream_class2d": (15, 0.008, 1e9),
    "class2d": (300, 0.02, 400_000),
    "assess_class2d": (30, 0, 0),
    "abinitio": (1200, 0.02, 40_000),
    "class3d": (600, 0.02, 200_000),
    "branch2d": (600, 0.02, 200_000),
    "branch3d": (1500, 0.02, 200_000),
    "crossvalidate": (120, 0, 0),
    "reextract": (60, 0.003, 200_000),
    "refine": (1800, 0.04, 200_000),
    "forecast": (1800, 0.02, 200_000),
}
_slept = {"nominal_s": 0.0}


def begin() -> None:
    """A new job begins."""
    _slept["nominal_s"] = 0.0


def nominal_s() -> float:
    """What the job stands for, so far."""
    return _slept["nominal_s"]


def take_time(rule: str, units: int = 0) -> None:
    """Sleep as long as a step over so many movies or particles takes, by the session's speed-up."""
    fixed_s, per_unit_s, most = STEPS_S[rule]
    seconds = fixed_s + per_unit_s * min(units, most)
    _slept["nominal_s"] += seconds
    time.sleep(seconds / Plan.read(Path.cwd()).speedup)
