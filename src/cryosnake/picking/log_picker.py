"""Particles as blobs in scale space: the Laplacian of Gaussian at the size of the particle.

The Laplacian of a Gaussian of standard deviation d / (2 sqrt 2) answers most strongly to a disc of
diameter d (Lindeberg 1998, Int J Comput Vis 30, 79); picking by it from a size alone is the manner
of RELION (Zivanov et al. 2018, eLife 7, e42166). Here the scales follow the uncertainty of the
size, elongated particles are met by the same operator in a stretched frame, at several
orientations, and each scale is measured in units of its own noise, so that answers compare.
"""

import math

import numpy as np
import pandas as pd
import scipy.fft

from cryosnake.picking.coarse import (
    filtered,
    no_picks,
    picks_table,
    reflected_transform,
    robust_std,
)
from cryosnake.picking.mask import Mask
from cryosnake.picking.noise_peaks import detect
from cryosnake.picking.prepare import prepare
from cryosnake.picking.size_model import ParticleSize

#: Half the range of scales about the diameter, as a part of it: the uncertainty of the size, but
#: not less than the spread of the projections of one particle nor more than still means anything.
MIN_SPREAD, MAX_SPREAD = 0.08, 0.25
#: Orientations over 180 degrees of an elongated particle.
ORIENTATIONS = 12


def pick_log(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    *,
    mask: Mask | None = None,
) -> pd.DataFrame:
    """Pick particles by the Laplacian of Gaussian; the threshold follows from the micrograph.

    Parameters
    ----------
    image : (H, W) micrograph, particles dark; values that are not finite are background.
    pixel_size_angst : of the image.
    size : diameter with its uncertainty, or the axes of an elongated particle.
    mask : where particles can be, with the pixels of the micrograph along a side of its pixels,
        as `usable_mask` gives it; None for everywhere.

    Returns
    -------
    rlnCoordinateX, rlnCoordinateY in pixels of `image`; rlnAutopickFigureOfMerit in standard
    deviations of the filtered noise; best first. Empty where nothing is above the noise, in a
    constant image, and in one smaller than two particles.
    """
    ready = prepare(image, pixel_size_angst, size, mask)
    if ready is None:
        return no_picks()
    flat, grid_angst = ready.flat, pixel_size_angst * ready.factor
    margin_px = math.ceil(ready.long_px)
    transform, extended = reflected_transform(flat, margin_px)
    score = np.full(flat.shape, -np.inf, np.float32)
    mirrored = np.full(flat.shape, -np.inf, np.float32)
    for response in responses(extended, grid_angst, size):
        answer = filtered(transform, response, extended, flat.shape, margin_px)
        spread = robust_std(answer[ready.usable])
        if spread > 0:
            np.maximum(score, answer / spread, out=score)
            np.maximum(mirrored, -answer / spread, out=mirrored)
    found = detect(
        score,
        mirrored,
        min_distance_px=ready.min_distance_px,
        diameter_px=ready.long_px,
        usable=ready.usable,
    )
    picked = found.peaks.select(found.picked)
    return picks_table(picked.x, picked.y, picked.height, ready.factor)


def responses(shape: tuple[int, int], pixel_size_angst: float, size: ParticleSize):
    """The filters, one after the other, as real responses (h, w // 2 + 1) of the half-plane.

    Positive answers are dark blobs. With s = sqrt(a^2 u^2 + b^2 v^2) for the standard deviations a
    and b along and across the particle: -(2 pi s)^2 exp(-2 pi^2 s^2).
    """
    ky = scipy.fft.fftfreq(shape[0], d=pixel_size_angst)[:, None].astype(np.float32)
    kx = scipy.fft.rfftfreq(shape[1], d=pixel_size_angst)[None, :].astype(np.float32)
    part = float(np.clip(size.uncertainty_angst / size.diameter_angst, MIN_SPREAD, MAX_SPREAD))
    if not size.elongated:
        k_squared = ky**2 + kx**2
        for scale in (1 - part, 1.0, 1 + part):
            sigma_angst = size.diameter_angst * scale / (2 * math.sqrt(2))
            yield _laplacian_of_gaussian(sigma_angst**2 * k_squared)
        return
    along, across = (
        axis / (2 * math.sqrt(2)) for axis in (size.long_axis_angst, size.short_axis_angst)
    )
    for turn in np.arange(ORIENTATIONS) * math.pi / ORIENTATIONS:
        u = kx * math.cos(turn) + ky * math.sin(turn)
        v = ky * math.cos(turn) - kx * math.sin(turn)
        yield _laplacian_of_gaussian((along * u) ** 2 + (across * v) ** 2)


def _laplacian_of_gaussian(s_squared: np.ndarray) -> np.ndarray:
    return -(4 * math.pi**2) * s_squared * np.exp(-2 * math.pi**2 * s_squared)
