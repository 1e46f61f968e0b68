"""What jobs ask a scheduler for: a GPU or none, memory, time; from the work that they have.

Costs are those of `cryosnake.plan.costs`, at their reference sizes; here they are scaled to the
session's movies, boxes and classes, given a margin, and grow with each attempt.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosnake.config.model import Config
from cryosnake.plan.costs import Costs
from cryosnake.session.job_work import REFERENCE_MOVIE, SessionWork, Work

#: Rules that compute on a GPU where they have one.
GPU_RULES = frozenset(
    (
        *("preprocess", "pick_training", "train_picker", "pick", "class2d", "stream_class2d"),
        *("abinitio", "class3d", "branch2d", "branch3d", "refine", "forecast"),
    )
)
#: Pickers that compute on the CPU whatever there is.
_CPU_PICKERS = ("log", "correlation")
#: Rules whose buffers follow `compute.memory_mb`, and the budget that costs were measured with.
_BUDGETED = GPU_RULES - {"preprocess", "pick_training", "train_picker", "pick"}
_MEASURED_BUDGET_MB = 1000
#: Of a process that has done nothing yet: Python and its libraries; and with CUDA.
_LIBRARIES_MB, _CUDA_MB = 350, 2500
#: Reference sizes of costs.
_BOX_PX, _CLASSES, _VOLUMES = 128, 100, 2
#: Box that the memory for each particle of a refinement is told for.
_MAP_BOX_PX = 256
_MEMORY_MARGIN, _MEMORY_GROWTH = 1.3, 1.5
_TIME_MARGIN, _TIME_GROWTH = 3.0, 2.0
_START_MIN, _LEAST_MIN = 10, 15
#: RELION against the native engine on CPUs: 28 times in 2D, 9 in a refinement.
_RELION_TIME = 30.0


@dataclass(frozen=True)
class _Scale:
    """Time for a unit, memory beside the libraries, and memory for a unit, against the costs."""

    time: float = 1.0
    fixed_memory: float = 1.0
    unit_memory: float = 1.0


def _movies(work: Work) -> _Scale:
    """Raw frames are held in memory, and some twenty images of a frame's size."""
    movie, usual = work.movie, REFERENCE_MOVIE
    mpx = movie.frame_mpx
    held = movie.frames * movie.pixel_bytes + 80
    return _Scale(
        time=(movie.frames * mpx) / (usual.frames * usual.frame_mpx),
        fixed_memory=(held * mpx) / ((usual.frames + 80) * usual.frame_mpx),
    )


def _micrographs(work: Work) -> _Scale:
    area = work.movie.frame_mpx / REFERENCE_MOVIE.frame_mpx
    return _Scale(time=max(1.0, area), fixed_memory=max(1.0, area))


def _images(work: Work) -> _Scale:
    area = (work.box_px / _BOX_PX) ** 2
    return _Scale(time=max(1.0, area), unit_memory=area)


def _classes(work: Work) -> _Scale:
    area, classes = (work.box_px / _BOX_PX) ** 2, work.classes / _CLASSES
    return _Scale(area * max(0.5, classes), max(1.0, area * classes), area)


def _volumes(work: Work) -> _Scale:
    side, volumes = work.box_px / _BOX_PX, max(1.0, work.volumes / _VOLUMES)
    return _Scale(side**2 * volumes, side**3 * volumes, side**2)


def _map(work: Work) -> _Scale:
    """What is compared ends at the resolution, whatever the box; volumes are as large as it."""
    side = work.box_px / _BOX_PX
    return _Scale(max(1.0, side), side**3, (work.box_px / _MAP_BOX_PX) ** 2)


_SCALES: dict[str, Callable[[Work], _Scale]] = {
    "preprocess": _movies,
    **dict.fromkeys(("particle_size", "pick_training", "train_picker", "pick"), _micrographs),
    **dict.fromkeys(("extract", "take_particles", "reextract"), _images),
    **dict.fromkeys(("class2d", "branch2d", "stream_class2d"), _classes),
    **dict.fromkeys(("abinitio", "class3d", "branch3d"), _volumes),
    **dict.fromkeys(("refine", "forecast", "crossvalidate"), _map),
}


def memory_mb(
    rule: str, work: Work, *, attempt: int = 1, gpu: bool = False, budget_mb: float = 0.0
) -> int:
    """Memory that a job asks for.

    Parameters
    ----------
    gpu : it computes on a GPU; budget_mb : for the buffers of classification.
    """
    cost, scale = Costs.shipped().table[rule], _scale(rule, work)
    need = _LIBRARIES_MB + max(0.0, cost.memory_fixed_mb - _LIBRARIES_MB) * scale.fixed_memory
    need += cost.memory_per_unit_mb * work.units * scale.unit_memory
    if rule in _BUDGETED:
        need += max(0.0, budget_mb - _MEASURED_BUDGET_MB)
    need = need * _MEMORY_MARGIN + (_CUDA_MB if gpu else 0)
    return 100 * math.ceil(need * _MEMORY_GROWTH ** (attempt - 1) / 100)


def runtime_min(
    rule: str,
    work: Work,
    *,
    threads: int,
    attempt: int = 1,
    gpu: bool = False,
    slower: float = 1.0,
) -> int:
    """Minutes that a job asks for: three times what it is expected to take, and ten.

    With a GPU it is what it takes there, where that was measured, else the time on CPUs.

    Parameters
    ----------
    slower : times that its engine takes of what the native one does.
    """
    expected_s = Costs.shipped().duration_s(rule, work.units, threads, gpu=gpu)
    expected_s *= _scale(rule, work).time * slower
    minutes = max(_LEAST_MIN, _TIME_MARGIN * expected_s / 60 + _START_MIN)
    return math.ceil(minutes * _TIME_GROWTH ** (attempt - 1))


def _scale(rule: str, work: Work) -> _Scale:
    measure = _SCALES.get(rule)
    return _Scale() if measure is None else measure(work)


class Requests:
    """The `resources` of every rule, for the workflow.

    Parameters
    ----------
    session : the session's folder.
    site : default resources of the profile. What is called `on_gpu_x` there takes the place of `x`
        in jobs with a GPU, and `at_most_x` bounds it.

    A rule says `resources: **asks("rule")`.
    """

    def __init__(self, session: Path, config: Config, site: Mapping[str, Any] | None = None):
        self.config, self.site = config, dict(site or {})
        self.work = SessionWork(session, config)

    def __call__(self, rule: str) -> dict[str, Any]:
        """The resources of a rule's jobs, as Snakemake evaluates them."""
        asked: dict[str, Any] = {
            "gpu": lambda wildcards: self.gpu(rule, wildcards),
            "mem_mb": lambda wildcards, attempt: self.memory_mb(rule, wildcards, attempt),
            "runtime": lambda wildcards, attempt, threads: self.runtime_min(
                rule, wildcards, attempt, threads
            ),
        }
        for name, value in self.site.items():
            if name.startswith("on_gpu_"):
                plain = name.removeprefix("on_gpu_")
                asked[plain] = self._either(rule, value, asked.get(plain, self.site.get(plain)))
            if name.startswith(("on_gpu_", "at_most_")):
                asked[name] = None  # said; no job has it
        return asked

    def gpu(self, rule: str, wildcards: Mapping[str, str]) -> int:
        """GPUs of a job: one where it has use for one, and the session may use GPUs."""
        device = self.config.compute.device
        if rule not in GPU_RULES or device == "cpu":
            return 0
        if rule == "pick_training":
            return int(wildcards["picker"] == "network" or self.config.picking.denoise)
        if device == "cuda":
            return 1  # without one, such a job refuses to start
        if rule == "pick":
            return int(self.work.chosen_picker() not in _CPU_PICKERS)
        if rule == "preprocess":
            return int(self.config.input.kind == "movies" or self.config.ctf.fit)
        return 1

    def memory_mb(self, rule: str, wildcards: Mapping[str, str], attempt: int) -> int:
        """Memory of a job, bounded by `at_most_mem_mb`."""
        asked = memory_mb(
            rule,
            self.work.of(rule, wildcards),
            attempt=attempt,
            gpu=bool(self.gpu(rule, wildcards)),
            budget_mb=self.config.compute.memory_mb / 2,
        )
        return self._at_most("mem_mb", asked)

    def runtime_min(
        self, rule: str, wildcards: Mapping[str, str], attempt: int, threads: int
    ) -> int:
        """Time of a job in minutes, bounded by `at_most_runtime`."""
        asked = runtime_min(
            rule,
            self.work.of(rule, wildcards),
            threads=threads,
            attempt=attempt,
            gpu=bool(self.gpu(rule, wildcards)),
            slower=_RELION_TIME if "relion" in self._engines(rule) else 1.0,
        )
        return self._at_most("runtime", asked)

    def _engines(self, rule: str) -> list[str]:
        """The engines that a rule computes with."""
        steps = {"branch2d": ["class2d"], "branch3d": ["abinitio", "class3d"]}.get(rule, [rule])
        return [getattr(getattr(self.config, step, None), "engine", "native") for step in steps]

    def _at_most(self, name: str, asked: int) -> int:
        bound = self.site.get(f"at_most_{name}")
        return asked if bound is None else min(asked, bound.value)

    def _either(self, rule: str, with_gpu: Any, without: Any) -> Callable[..., Any]:
        """Gives what the site says for jobs with a GPU, or what holds for the others."""

        def value(wildcards, **given):
            said = with_gpu if self.gpu(rule, wildcards) else without
            if said is None or callable(said):
                return said and said(wildcards)
            return said.evaluate(wildcards, **given).value

        return value
