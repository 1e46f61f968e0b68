"""Cheap figures of every particle, and the flags that follow from them.

Flags warn; they reject nothing. All figures come from the particle at a coarse pixel (a twelfth of
its diameter), where noise has averaged out and a pass over a million particles costs little.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree

from cryosnake.fourier import bin_image
from cryosnake.particles.normalise import normalised, squared_radius

_PIXELS_ACROSS = 12
_CORE = 0.4
_LONG_CORE = 0.7
"""Radii of discs: parts of the diameter, and of the radius of the long axis."""
_SEARCH = 0.5
"""The density's centre is looked for within this part of the diameter."""

_MAD_TO_SIGMA = 1.4826
_ENOUGH = 10
"""Fewer particles of a micrograph than this are compared with the whole batch."""


@dataclass(frozen=True)
class Metrics:
    """Figures of particles, (N,) each.

    Attributes
    ----------
    contrast : mean within 0.8 of the diameter above the background, in standard deviations of
        the background at the coarse pixel; white is positive.
    signal_ratio : standard deviation inside over that outside, at the coarse pixel.
    offset_angst : from the box's centre to where a disc about as large as the particle (0.8 of the
        diameter, or 0.7 of the long axis) covers most density, looked for within half a diameter.
    """

    contrast: np.ndarray
    signal_ratio: np.ndarray
    offset_angst: np.ndarray

    def __len__(self) -> int:
        return len(self.contrast)

    @staticmethod
    def joined(parts: Sequence["Metrics"]) -> "Metrics":
        """Metrics one after the other; none give none."""
        return Metrics(
            *(
                np.concatenate([np.empty(0), *(getattr(part, f.name) for part in parts)])
                for f in fields(Metrics)
            )
        )


@dataclass(frozen=True)
class FlagLimits:
    """From where on a particle is flagged.

    Attributes
    ----------
    empty_contrast : contrast below this part of the batch's typical one.
    off_centre_diameters : density farther from the centre than this part of the diameter (of the
        mean of diameter and long axis, where that is larger).
    abnormal_sigma : contrast or signal ratio away from the micrograph's typical one by more robust
        standard deviations of the batch.
    crowded_diameters : another particle's centre nearer than this many diameters.
    """

    empty_contrast: float = 0.35
    off_centre_diameters: float = 0.3
    abnormal_sigma: float = 5.0
    crowded_diameters: float = 1.0


def measure(
    white: torch.Tensor, pixel_size_angst: float, diameter_angst: float, radius_angst: float
) -> Metrics:
    """Figures of normalised particles (N, s, s), white on black; see `Metrics`."""
    side = white.shape[-1]
    box_angst = side * pixel_size_angst
    small = 2 * round(_PIXELS_ACROSS * box_angst / diameter_angst / 2)
    small = max(8, min(small, side))
    pixel = box_angst / small
    images = bin_image(white, (small, small)) if small < side else white
    radius_px = min(radius_angst / pixel, small / 2)
    images, _ = normalised(images, radius_px, ramp=False)
    squared = squared_radius(small, device=white.device)
    core = squared <= (_CORE * diameter_angst / pixel) ** 2
    # an elongated particle fits a disc of its mean size in many places along its axis
    disc_px = max(_CORE * diameter_angst, _LONG_CORE * radius_angst) / pixel
    disc = (squared <= disc_px**2).float()
    outside = squared > radius_px**2
    inside = squared <= min(radius_px, 0.5 * diameter_angst / pixel) ** 2
    # about pixel (0, 0) the transform of a disc is real
    kernel = torch.fft.rfft2(torch.fft.ifftshift(disc)).real
    sums = torch.fft.irfft2(torch.fft.rfft2(images) * kernel, s=(small, small))
    near = squared <= (_SEARCH * width_angst(diameter_angst, radius_angst) / pixel) ** 2
    best = torch.where(near, sums, -torch.inf).flatten(1).argmax(dim=1)
    offset = squared.flatten()[best].sqrt() * pixel
    centre = images[:, core].mean(dim=1)
    ratio = images[:, inside].std(dim=1) / images[:, outside].std(dim=1).clamp_min(1e-6)
    return Metrics(*(v.cpu().numpy().astype(float) for v in (centre, ratio, offset)))


def neighbour_distance_angst(coordinate_xy: np.ndarray, pixel_size_angst: float) -> np.ndarray:
    """(N,) distance to the nearest other particle of the micrograph; NaN where there is none."""
    if len(coordinate_xy) < 2:
        return np.full(len(coordinate_xy), np.nan)
    distance, _ = cKDTree(coordinate_xy).query(coordinate_xy, k=2)
    return distance[:, 1] * pixel_size_angst


def width_angst(diameter_angst: float, radius_angst: float) -> float:
    """Of a particle as its place can be told: between its mean diameter and its long axis."""
    return max(diameter_angst, 0.5 * diameter_angst + radius_angst)


def flags(
    table: pd.DataFrame,
    diameter_angst: float,
    radius_angst: float,
    limits: FlagLimits | None = None,
) -> pd.Series:
    """One text a particle: what is odd about it (`empty+crowded`), else `-`.

    What is typical is the median over the micrograph (over the batch, where the micrograph has
    fewer than 10 particles), since the contrast depends on the defocus; how far particles stray
    from it is pooled over the batch.

    Parameters
    ----------
    table : with `rlnMicrographName` and the columns of `metric_columns`.
    """
    limits = limits or FlagLimits()
    contrast = table["csnParticleContrast"].astype(float)
    typical = _typical(contrast, table["rlnMicrographName"])
    found = {
        "empty": contrast < limits.empty_contrast * typical.clip(lower=0.0),
        "off_centre": table["csnParticleOffset_angst"]
        > limits.off_centre_diameters * width_angst(diameter_angst, radius_angst),
        "abnormal": pd.Series(False, index=table.index),
        "crowded": table["csnNeighbourDistance_angst"] < limits.crowded_diameters * diameter_angst,
    }
    for name in ("csnParticleContrast", "csnParticleSignalRatio"):
        value = table[name].astype(float)
        rest = value - _typical(value, table["rlnMicrographName"])
        sigma = _MAD_TO_SIGMA * rest.abs().median()
        found["abnormal"] |= rest.abs() > limits.abnormal_sigma * sigma
    found["abnormal"] &= ~found["empty"]
    texts = np.full(len(table), "", dtype=object)
    for name, hit in found.items():
        texts = np.where(hit, np.where(texts == "", name, texts + f"+{name}"), texts)
    return pd.Series(np.where(texts == "", "-", texts), index=table.index, dtype=object)


def _typical(values: pd.Series, micrograph: pd.Series) -> pd.Series:
    groups = values.groupby(micrograph)
    own = groups.transform("median")
    return own.where(groups.transform("size") >= _ENOUGH, values.median())


def metric_columns(metrics: Metrics, neighbour_angst: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a particle table that hold its figures."""
    return {
        "csnParticleContrast": metrics.contrast,
        "csnParticleSignalRatio": metrics.signal_ratio,
        "csnParticleOffset_angst": metrics.offset_angst,
        "csnNeighbourDistance_angst": neighbour_angst,
    }
