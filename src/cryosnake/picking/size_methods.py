"""The estimators run over all micrographs of a sample."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cryosnake.picking import size_average, size_scale
from cryosnake.picking.size_image import Working, robust_deviation

_LONG_QUANTILE = 0.85  # of single outlines: views that show the length
_MOST_ELONGATED = 0.67
_MAX_CANDIDATES = 150  # of a micrograph, for the averages
_FEWEST_ALIGNED = 6
#: Share of the outlines that are solid, from which on single outlines tell the length as well.
_TRUSTED_SHARE = 0.8
_USABLE_SHARE = 0.6
#: Length over that of the average of all views, on the tuning samples.
_LENGTH_OF_ALL_VIEWS = 1.12
_WIDE = 1.5  # expected length over the diameter from scale space, where nothing tells it


@dataclass(frozen=True)
class Scales:
    """Scale space: the candidates of typical width of each micrograph, their curves (where there
    were enough), and how far they stand out of noise."""

    candidates: list[size_scale.Candidates]
    curves: list[size_scale.ScaleCurve]
    diameter_angst: float
    presence: float


@dataclass(frozen=True)
class Axes:
    """Length and width in angstrom, None where nothing told them, and the aligned average."""

    long_angst: float | None
    short_angst: float | None
    aligned: size_average.Aligned | None

    def scaled(self, factor: float) -> "Axes":
        """Length and width times a factor."""
        if self.long_angst is None or self.short_angst is None:
            return self
        return replace(
            self, long_angst=self.long_angst * factor, short_angst=self.short_angst * factor
        )


def from_scales(
    workings: list[Working], min_angst: float, max_angst: float, rng: np.random.Generator
) -> Scales:
    """Candidates and diameters from scale space.

    The presence is the candidates' median height over the height that a tenth of the blobs exceed
    in noise with the spectrum of the first micrographs.
    """
    widths = size_scale.widths(min_angst, max_angst)

    def blobs(working: Working) -> size_scale.Candidates:
        pixel = working.pixel_size_angst
        stack = size_scale.responses(size_scale.filled(working), pixel, widths)
        return size_scale.pursue(working.name, stack, pixel, widths)

    found = size_scale.likely([blobs(w) for w in workings])
    typical = size_scale.typical_width_angst(found)
    found = [size_scale.near_typical(c, typical) for c in found]
    noise = []
    for working in workings[:2]:
        values = size_scale.surrogate(working.values, rng)
        values /= robust_deviation(values)
        noise.append(blobs(Working("noise", values, working.pixel_size_angst)).height)
    heights = np.concatenate([c.height for c in found])
    noise = np.concatenate(noise)
    presence = float(np.median(heights) / np.percentile(noise, 90)) if len(heights) else 0.0
    curves = [c for c in (size_scale.curve(f, widths) for f in found) if c is not None]
    diameter = float(np.median([c.diameter_angst for c in curves])) if curves else float("nan")
    return Scales(found, curves, diameter, presence)


def from_averages(
    workings: list[Working], scales: Scales, rng: np.random.Generator
) -> tuple[size_average.Profile | None, dict[str, float]]:
    """Rotational average of all candidates, and the diameter from each micrograph's by name."""
    if not scales.diameter_angst > 0:
        return None, {}
    each, profiles = {}, []
    pixel = workings[0].pixel_size_angst
    for working, found in zip(workings, scales.candidates, strict=True):
        if len(found) < 3:
            continue
        chosen = rng.permutation(len(found))[:_MAX_CANDIDATES]
        values = size_average.centred_profiles(
            working, found.x_px[chosen], found.y_px[chosen], scales.diameter_angst
        )
        one = size_average.profile_of(
            values.mean(0), working.pixel_size_angst, scales.diameter_angst
        )
        each[working.name] = one.diameter_angst
        profiles.append(values)
    if not profiles:
        return None, {}
    shortest = min(p.shape[1] for p in profiles)
    together = np.concatenate([p[:, :shortest] for p in profiles]).mean(0)
    return size_average.profile_of(together, pixel, scales.diameter_angst), each


def axes(workings: list[Working], cut: pd.DataFrame, solid_share: float, scales: Scales) -> Axes:
    """Length and width from outlines (see `size_outline.particles`).

    The most elongated third of them is turned to lie along x and averaged. Where outlines are
    ragged with noise, single ones look too long, and the average alone gives the length; otherwise
    it is the geometric mean of both. Where they are mostly noise, candidates from scale space are
    averaged instead, all of them.
    """
    if solid_share < _USABLE_SHARE or len(cut) < _FEWEST_ALIGNED:
        return _axes_of_candidates(workings, scales)
    single = float(cut.long_angst.quantile(_LONG_QUANTILE))
    ratio = cut.long_angst / cut.short_angst
    most = cut[ratio >= ratio.quantile(_MOST_ELONGATED)]
    parts = []
    for working in workings:
        own = most[most.name == working.name].head(_MAX_CANDIDATES)
        if len(own):
            place = (own[c].to_numpy(float) for c in ("x_px", "y_px", "angle_rad"))
            parts.append((working, *place))
    aligned = size_average.aligned_average(parts, float(most.long_angst.median()))
    if aligned is None:
        return Axes(single, float(most.short_angst.median()), None)
    if solid_share < _TRUSTED_SHARE:
        return Axes(aligned.long_angst, aligned.short_angst, aligned)
    return Axes(float(np.sqrt(single * aligned.long_angst)), aligned.short_angst, aligned)


def _axes_of_candidates(workings: list[Working], scales: Scales) -> Axes:
    parts = []
    for working, found in zip(workings, scales.candidates, strict=True):
        if not len(found) or not scales.diameter_angst > 0:
            continue
        x, y = found.x_px[:_MAX_CANDIDATES], found.y_px[:_MAX_CANDIDATES]
        angles = size_average.moment_angles(working, x, y, scales.diameter_angst)
        parts.append((working, x, y, angles))
    if sum(len(p[1]) for p in parts) < _FEWEST_ALIGNED:
        return Axes(None, None, None)
    aligned = size_average.aligned_average(parts, _WIDE * scales.diameter_angst)
    if aligned is None:
        return Axes(None, None, None)
    return Axes(_LENGTH_OF_ALL_VIEWS * aligned.long_angst, aligned.short_angst, aligned)
