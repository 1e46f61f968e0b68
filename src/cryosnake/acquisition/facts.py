"""Facts of the acquisition, and how those of several sources become one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath, PureWindowsPath

from cryosnake.config.model import AcquisitionConfig
from cryosnake.errors import BadInputError

TOLERANCE = 0.01
REQUIRED = ("pixel_size_angst", "voltage_kv", "cs_mm", "dose_e_per_angst2_per_frame")
#: What is needed of a motion-corrected micrograph.
REQUIRED_OF_MICROGRAPHS = REQUIRED[:3]
_CONFIGURED = (*REQUIRED, "amplitude_contrast", "gain")
_COMPARED = ("pixel_size_angst", "voltage_kv", "cs_mm", "dose_e_per_angst2_per_frame", "frames")


@dataclass(frozen=True)
class Alternative:
    """What another source said about a fact, and did not prevail."""

    name: str
    value: float | str
    source: str


@dataclass(frozen=True)
class Facts:
    """Facts of one movie's acquisition; None where nothing says it.

    Parameters
    ----------
    pixel_size_angst : of the movie as stored (EER: as rendered).
    voltage_kv, cs_mm, amplitude_contrast : of the microscope.
    dose_e_per_angst2_per_frame : exposure of one frame (EER: of one fraction).
    frames : frames of the movie.
    gain : path of the gain reference.
    acquisition_time : ISO 8601.
    grid_square, foil_hole : numbers in EPU's names.
    stage_x_um, stage_y_um, stage_tilt_deg : stage position and alpha tilt.
    beam_shift_x, beam_shift_y : beam-image shift as the microscope writes it.
    total_dose_e_per_angst2 : exposure of the whole movie.
    image_width_px, image_height_px : size of the image that the pixel size is told for.
    source : for each fact that is set, who said it (a file, or `config`).
    alternatives : what other sources said.
    problems : metadata files that could not be used, and why.
    """

    pixel_size_angst: float | None = None
    voltage_kv: float | None = None
    cs_mm: float | None = None
    amplitude_contrast: float | None = None
    dose_e_per_angst2_per_frame: float | None = None
    frames: int | None = None
    gain: str | None = None
    acquisition_time: str | None = None
    grid_square: str | None = None
    foil_hole: str | None = None
    stage_x_um: float | None = None
    stage_y_um: float | None = None
    stage_tilt_deg: float | None = None
    beam_shift_x: float | None = None
    beam_shift_y: float | None = None
    total_dose_e_per_angst2: float | None = None
    image_width_px: int | None = None
    image_height_px: int | None = None
    source: dict[str, str] = field(default_factory=dict)
    alternatives: tuple[Alternative, ...] = ()
    problems: tuple[str, ...] = ()


FACT_NAMES = tuple(
    f.name
    for f in dataclasses.fields(Facts)
    if f.name not in ("source", "alternatives", "problems")
)


@dataclass(frozen=True)
class Contradiction:
    """Two sources disagree about a fact.

    Parameters
    ----------
    name : the fact.
    chosen : the value that is used.
    other : the value that is not.
    source : who said `other`.
    """

    name: str
    chosen: float | str
    other: float | str
    source: str

    def __str__(self) -> str:
        return f"{self.name}: {self.chosen} is used, {self.source} says {self.other}"


def facts_from(source: str, **values) -> Facts:
    """Facts that all come from one source; values that are None are left out."""
    known = {name: value for name, value in values.items() if value is not None}
    return Facts(**known, source=dict.fromkeys(known, source))


def combined(*sources: Facts) -> Facts:
    """One set of facts from several: the first source that knows a fact is believed; what the
    others say differently is kept as alternatives."""
    values, origin, alternatives, problems = {}, {}, [], []
    for facts in sources:
        for name in FACT_NAMES:
            value = getattr(facts, name)
            if value is None:
                continue
            if name not in values:
                values[name] = value
                origin[name] = facts.source.get(name, "-")
            elif name in _COMPARED and differ(values[name], value):
                alternatives.append(Alternative(name, value, facts.source.get(name, "-")))
        alternatives += facts.alternatives
        problems += facts.problems
    return Facts(
        **values, source=origin, alternatives=tuple(alternatives), problems=tuple(problems)
    )


def merge(
    config: AcquisitionConfig, found: Facts, *, required: Sequence[str] = REQUIRED
) -> tuple[Facts, list[Contradiction]]:
    """Facts that are used: the configuration's where it has them, else the microscope's.

    Parameters
    ----------
    config : the section `acquisition` of the configuration.
    found : what `find_metadata` found.
    required : the facts that must be known.

    Returns
    -------
    (facts, contradictions) : numbers that differ by more than 1 %, and gain references of
        different names, between the configuration and the files or among the files.

    Raises
    ------
    BadInputError : a required fact is nowhere: it names the key of the configuration.
    """
    values = {name: getattr(found, name) for name in FACT_NAMES}
    source = dict(found.source)
    contradictions = []
    for name in _CONFIGURED:
        configured = getattr(config, name)
        if configured is None:
            continue
        if values[name] is not None and differ(configured, values[name]):
            contradictions.append(
                Contradiction(name, configured, values[name], source.get(name, "-"))
            )
        values[name], source[name] = configured, "config"
    for other in found.alternatives:
        if differ(values[other.name], other.value):
            contradictions.append(
                Contradiction(other.name, values[other.name], other.value, other.source)
            )
    for name in required:
        if values[name] is None:
            raise BadInputError(
                None,
                f"acquisition.{name} is not set, and neither the microscope's metadata nor the "
                f"movie's header tell it{_because(found.problems)}",
                f"a value for acquisition.{name} in the configuration",
            )
    facts = dataclasses.replace(found, **values, source=source)
    return facts, contradictions


def differ(first: float | str, second: float | str) -> bool:
    """Whether two values of a fact contradict each other: numbers beyond 1 %, files by their name
    without its ending (a gain reference may have been converted)."""
    if isinstance(first, str) or isinstance(second, str):
        return _stem(str(first)) != _stem(str(second))
    return abs(first - second) > TOLERANCE * max(abs(first), abs(second))


def _because(problems: tuple[str, ...]) -> str:
    return f" ({'; '.join(problems)})" if problems else ""


def _stem(path: str) -> str:
    return PureWindowsPath(path).stem if "\\" in path else PurePath(path).stem
