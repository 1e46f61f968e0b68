"""The terms of a plan: what comes, what there is to compute with, and what came of it."""

from dataclasses import dataclass, field

from cryosnake.plan.machine import Machine

#: Priorities of the rules; the others have 0.
PRIORITIES = {
    **dict.fromkeys(("tally", "tally_particles", "freeze", "freeze_particles"), 100),
    **dict.fromkeys(
        ("particle_size", "training_set", "pick_training", "consensus", "train_picker"), 90
    ),
    **dict.fromkeys(("assess_class2d", "live_class2d"), 85),
    "class2d": 80,
    **dict.fromkeys(
        ("abinitio", "class3d", "branch2d", "branch3d", "crossvalidate", "reextract", "refine"), 20
    ),
    "forecast": 15,
}
#: Rules that run beside the starter.
LOCAL = frozenset(
    [
        *("tally", "tally_particles", "freeze", "freeze_particles", "training_set", "consensus"),
        "live_class2d",
    ]
)


@dataclass(frozen=True)
class Pace:
    """What comes from the microscope.

    Parameters
    ----------
    movies : how many. every_s : one comes so often.
    particles : on an accepted micrograph. accepted : part of the movies that is; stringent : part
        of those that is good enough to measure the particle on.
    """

    movies: int
    every_s: float
    particles: int
    accepted: float = 0.85
    stringent: float = 0.7


@dataclass(frozen=True)
class Site:
    """What there is to compute with.

    Parameters
    ----------
    cores, gpus : of all nodes together.
    start_s : what a job costs beside its own time: queueing, polling, starting.
    scheduler : local rules take no cores of the nodes.
    """

    cores: int
    gpus: int = 0
    start_s: float = 0.5
    scheduler: bool = False


@dataclass
class Batch:
    """A closed batch."""

    number: int
    movies: list[int]
    particles: float
    processed: bool = False
    extracted: bool = False


@dataclass
class Outcome:
    """What came of a simulated session; times in seconds since it began.

    Parameters
    ----------
    arrived_s, processed_s : of each movie.
    reached : name of each event that people wait for, and when.
    extracted_s : when the last batch was picked and extracted.
    machine : with all its runs.
    """

    arrived_s: list[float]
    processed_s: list[float]
    machine: Machine
    reached: dict[str, float] = field(default_factory=dict)
    extracted_s: float = 0.0
