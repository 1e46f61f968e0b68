"""The particle's size from a handful of micrographs, without a template and without a question.

Three estimators that share nothing but the coarse image: blob filters in scale space (`scale`),
the edge of the rotational average of their candidates (`average`), and outlines of single
particles (`outline`). Length and width come from the outlines and from the average of the most
elongated candidates, turned to lie along one axis.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.picking import size_outline
from cryosnake.picking.size_average import Aligned, Profile
from cryosnake.picking.size_combine import combined, doubts
from cryosnake.picking.size_image import Working, prepare
from cryosnake.picking.size_methods import axes, from_averages, from_scales
from cryosnake.picking.size_model import ELONGATED_ABOVE, ParticleSize, extraction_box_px
from cryosnake.picking.size_scale import Candidates, ScaleCurve

_UNSURE = 0.5  # relative uncertainty at least, where it is unsure

Denoise = Callable[[np.ndarray, float], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class SizeEstimate:
    """The size and what it rests on.

    Attributes
    ----------
    size : the result.
    methods : one row an estimator: `method`, `diameter_angst`, `uncertainty_angst`, `weight`.
    micrographs : one row a micrograph: `name`, `candidates`, `scale_angst`, `average_angst`,
        `outline_angst` (nan where an estimator found nothing), `reason` ("-", or why it was left
        out).
    presence : height of the candidates relative to those in noise of the same spectrum.
    curves, profile, aligned, example : for the picture; the example is the first coarse image with
        its candidates.
    notes : sentences that explain what was unusual.
    """

    size: ParticleSize
    methods: pd.DataFrame
    micrographs: pd.DataFrame
    presence: float
    curves: list[ScaleCurve] = field(repr=False)
    profile: Profile | None = field(repr=False)
    aligned: Aligned | None = field(repr=False)
    example: tuple[Working, Candidates] = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def evidence(self) -> dict:
        """Plain numbers for `size.json` (None where there is no number)."""
        return {
            "presence": round(self.presence, 3),
            "notes": self.notes,
            "methods": _records(self.methods),
            "micrographs": _records(self.micrographs),
        }


def _records(table: pd.DataFrame) -> list[dict]:
    rounded = table.round(3).astype(object)
    return rounded.where(rounded.notna(), None).to_dict("records")


def estimate_size(
    images: Iterable[tuple[str, np.ndarray]],
    pixel_size_angst: float,
    *,
    min_angst: float = 60.0,
    max_angst: float = 600.0,
    seed: int = 0,
    defocus_angst: Mapping[str, float] | None = None,
    voltage_kv: float = 300.0,
    amplitude_contrast: float = 0.1,
    output_px: int = 128,
    denoise: Denoise | None = None,
) -> SizeEstimate:
    """Estimate the size of the particles in micrographs.

    Parameters
    ----------
    images : names and images (H, W), particles dark; some eight of one sample.
    pixel_size_angst : of the images.
    min_angst, max_angst : the diameter is looked for between these.
    seed : of the choice of candidates and of the noise that they are compared with.
    defocus_angst : mean defocus by name; 20,000 A is taken for a name that is missing.
    output_px : pixels that extracted particles are rescaled to; the box depends on it.
    denoise : takes an image and its pixel size, gives an image and its coarser pixel size.

    Raises
    ------
    BadInputError : no image at all, or none that can be used; bad limits.
    """
    if not 0 < min_angst < max_angst:
        raise BadInputError(None, f"limits {min_angst} and {max_angst} A", "0 < min < max")
    if not 0 < min_angst < max_angst:
        raise BadInputError(None, f"limits {min_angst} and {max_angst} A", "0 < min < max")
    workings, reasons = [], {}
    for name, image in images:
        try:
            coarser, pixel = (
                denoise(image, pixel_size_angst) if denoise else (image, pixel_size_angst)
            )
            workings.append(
                prepare(
                    name,
                    coarser,
                    pixel,
                    max_angst=max_angst,
                    defocus_angst=(defocus_angst or {}).get(name),
                    voltage_kv=voltage_kv,
                    amplitude_contrast=amplitude_contrast,
                )
            )
            reasons[name] = "-"
        except BadInputError as error:
            reasons[name] = str(error)
    if not workings:
        raise BadInputError(
            None,
            "; ".join(["no micrograph to estimate the particle's size from", *reasons.values()]),
            "at least one micrograph",
        )
    rng = np.random.default_rng(seed)
    scales = from_scales(workings, min_angst, max_angst, rng)
    profile, averages = from_averages(workings, scales, rng)
    outlines = size_outline.outlines(workings, min_angst)
    cut = size_outline.particles(outlines, max_angst)
    table = pd.DataFrame({"reason": pd.Series(reasons, dtype=object)})
    table["candidates"] = pd.Series({c.name: len(c) for c in scales.candidates})
    table["candidates"] = table.candidates.fillna(0).astype(int)
    table["scale_angst"] = pd.Series({c.name: c.diameter_angst for c in scales.curves}, dtype=float)
    table["average_angst"] = pd.Series(averages, dtype=float)
    table["outline_angst"] = cut.groupby("name").diameter_angst.mean()
    axis = axes(workings, cut, outlines.solid_share, scales)
    if profile is not None:
        table[["scale_angst", "average_angst", "outline_angst"]] *= profile.wall_factor
        axis = axis.scaled(profile.wall_factor)
    diameter, uncertainty, methods = combined(table, axis.long_angst)
    notes = doubts(diameter, methods, scales.presence, min_angst, max_angst)
    if diameter is None:  # nothing was found: the middle of the range, and the range
        diameter, uncertainty = (min_angst * max_angst) ** 0.5, (max_angst - min_angst) / 2
    if notes:
        uncertainty = max(uncertainty, _UNSURE * diameter)
    long_angst = max(axis.long_angst or 0.0, diameter)
    short_angst = min(axis.short_angst or diameter, diameter)
    size = ParticleSize(
        diameter_angst=round(diameter, 1),
        uncertainty_angst=round(uncertainty, 1),
        long_axis_angst=round(long_angst, 1),
        short_axis_angst=round(short_angst, 1),
        elongated=bool(long_angst > ELONGATED_ABOVE * diameter),
        box_px=extraction_box_px(
            long_angst,
            pixel_size_angst,
            diameter_angst=diameter,
            voltage_kv=voltage_kv,
            output_px=output_px,
        ),
        sure=not notes,
    )
    return SizeEstimate(
        size=size,
        methods=methods,
        micrographs=table.rename_axis("name").reset_index(),
        presence=scales.presence,
        curves=scales.curves,
        profile=profile,
        aligned=axis.aligned,
        example=(workings[0], scales.candidates[0]),
        notes=notes,
    )
