"""What each step costs: CPU seconds and memory, shipped, or fitted to a site's own session.

Shipped figures are CPU seconds on one core of the reference machine (two cores of an AMD EPYC, no
GPU) at the reference sizes: movies of 5760 x 4092 x 40 frames, particles of 150 A on micrographs
of 1 A/px, images of 128 px, 100 classes in 2D, two volumes, particles of 190 A refined to 5 A.
`source` says where each comes from; `benchmarks/plan_costs.py` measures or collects them. No step
was ever timed on a GPU by this project: with GPUs, only a measured session tells
(`plan.fit.measured_costs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

#: Part of a step's work that runs on all its threads (2D classification: 254 s on two cores for
#: 500 CPU s).
PARALLEL = 0.95
#: CPU seconds in which Python and its libraries are loaded.
START_S = 3.0


@dataclass(frozen=True)
class Cost:
    """What a step costs.

    Parameters
    ----------
    unit : what the work is counted in: `movie`, `particle`, or `session` (the same every time).
    fixed_s, per_unit_s : CPU seconds on one core; `START_S` of the first are the start of Python.
    memory_fixed_mb, memory_per_unit_mb : peak memory of the process.
    source : where the figures come from.
    gpu_fixed_s, gpu_per_unit_s : seconds that a job holds its GPU; None: never measured.
    fixed_scales : the fixed part is the larger, too, the larger the sizes.
    full_at : units with which the fixed part is reached; with fewer it is in proportion (parts of
        the particles, of a number that does not depend on how many there are).
    """

    unit: str
    fixed_s: float
    per_unit_s: float
    memory_fixed_mb: float
    memory_per_unit_mb: float
    source: str
    gpu_fixed_s: float | None = None
    gpu_per_unit_s: float | None = None
    fixed_scales: bool = True
    full_at: float = 0.0

    @property
    def gpu_known(self) -> bool:
        """Whether it was ever timed on a GPU."""
        return self.gpu_fixed_s is not None

    def working_s(self, fixed_s: float, per_unit_s: float, units: float, size: float) -> float:
        """Seconds beside the start of Python, by a fixed part and one for each unit."""
        fixed_s -= START_S
        if units < self.full_at:
            fixed_s *= units / self.full_at
        return fixed_s * (size if self.fixed_scales else 1.0) + per_unit_s * units * size


def _movie(per_s: float, memory_mb: float, source: str, fixed_s: float = START_S) -> Cost:
    return Cost("movie", fixed_s, per_s, memory_mb, 0.0, source)


def _particle(
    fixed_s: float, per_s: float, memory_mb: float, per_particle_mb: float, source: str, **more
) -> Cost:
    return Cost("particle", fixed_s, per_s, memory_mb, per_particle_mb, source, **more)


def _session(fixed_s: float, memory_mb: float, source: str) -> Cost:
    return Cost("session", fixed_s, 0.0, memory_mb, 0.0, source)


_RATES3D = "volumes3d_scaling.py: rates of 128 px, times the passes; larger sets were not run"
#: Mini-batches of a 2D classification do not grow with the classes.
_ROUND = {"fixed_scales": False, "full_at": 8000}

#: Each rule that does more than count.
COSTS: dict[str, Cost] = {
    "preprocess": _movie(48.0, 5300, "motion_k3.py: 15 s on 2 threads; plan_costs.py: 3/5 of it"),
    "particle_size": _session(51.0, 1500, "picking_size.py: 6 s for each of 8 micrographs"),
    "training_set": _session(START_S, 400, "the demo"),
    "pick_training": _session(50.0, 2000, "picking_pickers.py: the network on 25 micrographs"),
    "consensus": _session(12.0, 600, "picking_consensus.py: 0.35 s for each of 25 micrographs"),
    "train_picker": _session(83.0, 2500, "picking_training.py time: 80 s on 25 micrographs"),
    "pick": _movie(2.2, 2000, "picking_training.py time: 1.3 s on 2 threads"),
    "extract": _particle(START_S, 1.33e-3, 680, 0.0, "particles_extract.py"),
    "take_particles": _particle(START_S, 0.2e-3, 680, 0.0, "as extraction without cutting out"),
    "class2d": _particle(36.0, 4.64e-3, 800, 0.005, "classes2d_scaling.py, 100 classes", **_ROUND),
    "assess_class2d": _session(8.0, 1000, "the demo"),
    "stream_class2d": _particle(START_S, 3.2e-3, 1000, 0.0, "plan_costs.py, 100 classes"),
    "live_class2d": _session(5.0, 800, "the demo"),
    "abinitio": _particle(
        233.0, 0.0, 3400, 0.0, "volumes3d_relion.py: 225-236 s, three starts", full_at=1000
    ),
    "class3d": _particle(
        147.0, 12e-3, 3400, 0.05, "volumes3d_relion.py: 6 ms a particle and pass", full_at=4000
    ),
    "branch2d": _particle(36.0, 4.64e-3, 800, 0.005, "as class2d", **_ROUND),
    "branch3d": _particle(377.0, 12e-3, 3400, 0.05, "as abinitio and class3d", full_at=1300),
    "crossvalidate": _session(60.0, 1500, "the demo"),
    "reextract": _particle(START_S, 1.33e-3, 680, 0.0, "as extract"),
    "refine": _particle(180.0, 0.120, 3400, 0.1, _RATES3D, full_at=4000),
    "forecast": _particle(30.0, 0.105, 3400, 0.1, "as refine: an eighth, a quarter, a half"),
    "tally": _session(6.0, 800, "live_dryrun.py: tables and report of 20,000 movies"),
    "tally_particles": _session(START_S, 400, "the demo"),
    "freeze": _session(START_S, 400, "the demo"),
    "freeze_particles": _session(START_S, 600, "the demo"),
    "session_tables": _session(7.0, 800, "live_dryrun.py: 20,000 movies"),
    "report": _session(7.0, 800, "live_dryrun.py: 20,000 movies"),
    "relion_folder": _session(START_S, 400, "the demo"),
}


@dataclass(frozen=True)
class Costs:
    """The costs of all rules.

    Parameters
    ----------
    table : of each rule. fitted : rules whose figures are fitted to a site's own session.
    origin : in words, for people.
    """

    table: Mapping[str, Cost]
    fitted: frozenset[str] = frozenset()
    origin: str = "shipped figures (two cores of an AMD EPYC, no GPU)"

    @staticmethod
    def shipped() -> "Costs":
        """The figures that come with the project."""
        return Costs(dict(COSTS))

    def source(self, rule: str) -> str:
        """Where a rule's figures come from."""
        return self.table[rule].source

    def cpu_s(self, rule: str, units: float, size: float = 1.0) -> float:
        """CPU seconds of a job.

        Parameters
        ----------
        units : movies or particles in it (any number where the unit is the session).
        size : work against the reference sizes (half the classes: 0.5).
        """
        cost = self.table[rule]
        return START_S + cost.working_s(cost.fixed_s, cost.per_unit_s, units, size)

    def duration_s(
        self, rule: str, units: float, threads: int = 1, *, gpu: bool = False, size: float = 1.0
    ) -> float:
        """How long a job takes from the start of its program, with so many threads.

        With `gpu` it is the time on a GPU where that was measured, else that on the CPU.
        """
        cost = self.table[rule]
        if gpu and cost.gpu_known:
            timed = cost.working_s(cost.gpu_fixed_s, cost.gpu_per_unit_s, units, size)
            return START_S + timed
        working_s = self.cpu_s(rule, units, size) - START_S
        return START_S + working_s * ((1 - PARALLEL) + PARALLEL / max(1, threads))

    def memory_mb(self, rule: str, units: float) -> float:
        """Peak memory of a job."""
        cost = self.table[rule]
        return cost.memory_fixed_mb + cost.memory_per_unit_mb * units
