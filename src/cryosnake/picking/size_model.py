"""The particle's size as pickers and the extraction need it, and as it is kept in `size.json`."""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cryosnake.ctf import wavelength_angst
from cryosnake.errors import BadInputError
from cryosnake.files import write_text

#: Length over diameter above which a particle counts as elongated.
ELONGATED_ABOVE = 1.4
_PICKING_BOXES = 2.0
_LONG_AXES = 1.5
_GOOD_FACTORS = (2, 3, 5)


@dataclass(frozen=True)
class ParticleSize:
    """How large the particle is.

    Attributes
    ----------
    diameter_angst : of the circle with the area of the particle's silhouette, mean over its views:
        what a picker that knows nothing of the shape is tuned to.
    uncertainty_angst : standard deviation of `diameter_angst`, from the scatter between micrographs
        and between methods; at least half the diameter where `sure` is False.
    long_axis_angst, short_axis_angst : extents along and across the particle's longest axis, as the
        views that show it longest have them.
    elongated : `long_axis_angst` is more than 1.4 times `diameter_angst`.
    box_px : extraction box on the full-size micrograph; see `extraction_box_px`.
    sure : False where no particles stand out of the noise or the methods contradict one another.
    """

    diameter_angst: float
    uncertainty_angst: float
    long_axis_angst: float
    short_axis_angst: float
    elongated: bool
    box_px: int
    sure: bool = True

    def __post_init__(self):
        for name in ("diameter_angst", "long_axis_angst", "short_axis_angst"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} = {getattr(self, name)} is not a positive number")
        if not self.uncertainty_angst >= 0:
            raise ValueError(f"uncertainty_angst = {self.uncertainty_angst} is not a number >= 0")
        if self.box_px <= 0 or self.box_px % 2:
            raise ValueError(f"box_px = {self.box_px} is not a positive even number")

    def radius_px(self, pixel_size_angst: float) -> float:
        """Half the diameter in pixels of a given size."""
        return self.diameter_angst / 2 / pixel_size_angst


def good_box_px(least_px: float) -> int:
    """The smallest even box not below `least_px` with only the factors 2, 3 and 5."""
    size = 2 * max(1, math.ceil(least_px / 2))
    while True:
        rest = size
        for factor in _GOOD_FACTORS:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def delocalisation_angst(
    resolution_angst: float, *, defocus_angst: float, voltage_kv: float
) -> float:
    """How far signal of a resolution is carried away from where it belongs: wavelength * defocus /
    resolution (Rosenthal and Henderson 2003, J Mol Biol 333, page 727), without the spherical
    aberration, which takes from it."""
    return wavelength_angst(voltage_kv) * defocus_angst / resolution_angst


def extraction_box_px(
    long_axis_angst: float,
    pixel_size_angst: float,
    *,
    diameter_angst: float | None = None,
    defocus_angst: float = 20_000.0,
    voltage_kv: float = 300.0,
    output_px: int = 128,
    resolution_angst: float | None = None,
) -> int:
    """Side of the box to cut on the full-size micrograph, even and good for transforms.

    It is the largest of: twice the picking box (`diameter_angst`; the long axis where that is not
    given), one and a half times the long axis, and the long axis with what the CTF carries out of
    it on both sides. The last is for `resolution_angst`; where that is None, for the finest
    resolution that a box B rescaled to `output_px` pixels can hold, 2 B / output_px, which gives
    B = (L + sqrt(L^2 + 4 wavelength defocus output_px)) / 2.
    """
    if not (long_axis_angst > 0 and pixel_size_angst > 0):
        raise ValueError(f"{long_axis_angst = } and {pixel_size_angst = } must be positive")
    if resolution_angst is None:
        carried = wavelength_angst(voltage_kv) * defocus_angst * output_px
        whole_angst = 0.5 * (long_axis_angst + math.sqrt(long_axis_angst**2 + 4 * carried))
    else:
        whole_angst = long_axis_angst + 2 * delocalisation_angst(
            resolution_angst, defocus_angst=defocus_angst, voltage_kv=voltage_kv
        )
    picking_angst = long_axis_angst if diameter_angst is None else diameter_angst
    box_angst = max(_PICKING_BOXES * picking_angst, _LONG_AXES * long_axis_angst, whole_angst)
    return good_box_px(box_angst / pixel_size_angst)


def write_size(path: str | os.PathLike, size: ParticleSize, evidence: dict | None = None) -> None:
    """Write `size.json` whole or not at all."""
    content = {**asdict(size), "evidence": evidence or {}}
    write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_size(path: str | os.PathLike) -> tuple[ParticleSize, dict]:
    """The size and its evidence from `size.json`. `elongated` and `sure` may be missing: then the
    one follows from the axes and the other is True.

    Raises
    ------
    BadInputError : missing, not JSON, or a value is missing or impossible.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
        size = ParticleSize(
            diameter_angst=float(content["diameter_angst"]),
            uncertainty_angst=float(content["uncertainty_angst"]),
            long_axis_angst=float(content["long_axis_angst"]),
            short_axis_angst=float(content["short_axis_angst"]),
            elongated=bool(
                content.get(
                    "elongated",
                    content["long_axis_angst"] > ELONGATED_ABOVE * content["diameter_angst"],
                )
            ),
            box_px=int(content["box_px"]),
            sure=bool(content.get("sure", True)),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(
            path,
            f"cannot be read ({type(error).__name__}: {error})",
            "JSON with diameter_angst, uncertainty_angst, long_axis_angst, short_axis_angst and "
            "box_px",
        ) from error
    return size, dict(content.get("evidence", {}))
