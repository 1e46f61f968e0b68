"""Particles by correlation with templates that nobody made, under local normalisation.

The micrograph is whitened and correlated with discs, balls and rings of the particle's size, and
divided by its own local standard deviation: the fast local correlation of Roseman (2003,
Ultramicroscopy 94, 225), with templates as of a particle averaged over all rotations, in the manner
of Gautomatch. Local normalisation makes thick and thin ice comparable, and keeps strong features
that are not particles from winning. Where enough particles have been found, their own rotational
average takes the place of the templates, once: it has in it what the transfer function of the
microscope made of the particle, which no disc has.
"""

import math

import numpy as np
import pandas as pd
import scipy.fft
import scipy.ndimage as ndi
import scipy.special

from cryosnake.picking.coarse import (
    filtered,
    no_picks,
    picks_table,
    reflected_transform,
    robust_std,
    smoothed,
)
from cryosnake.picking.mask import Mask
from cryosnake.picking.noise_peaks import Detected, detect, mean_profile
from cryosnake.picking.prepare import Prepared, prepare
from cryosnake.picking.size_model import ParticleSize

SIZES = (0.7, 0.85, 1.0, 1.15)
#: Orientations over 180 degrees of an elongated particle.
ORIENTATIONS = 12
#: The local standard deviation is of a Gaussian window of this many diameters: wide enough that
#: one particle does not lower its own score.
WINDOW_DIAMETERS = 2.0
#: Particles, by expectation, from which an average of them is a better template than a disc.
MIN_FOR_AVERAGE = 25.0
#: Finest detail used, in cycles over the diameter of the particle.
BAND_PER_DIAMETER = 3.0
#: The amplitude spectrum is not whitened below this part of its largest value in the band of the
#: particle: there is nothing but what a denoiser or a detector left over.
WHITENING_FLOOR = 0.1


def pick_correlation(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    *,
    mask: Mask | None = None,
) -> pd.DataFrame:
    """Pick particles by local correlation; the threshold follows from the micrograph.

    Parameters
    ----------
    image : (H, W) micrograph, particles dark; values that are not finite are background.
    pixel_size_angst : of the image.
    size : diameter, or the axes of an elongated particle.
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
    white = _Whitened(ready)
    if size.elongated:
        found = white.found(rods(white.extended, ready.short_px, ready.long_px))
    else:
        found = white.found(generic_templates(white.extended, ready.short_px))
        if found.probability.sum() >= MIN_FOR_AVERAGE:
            found = white.found([white.average(found)])
    picked = found.peaks.select(found.picked)
    return picks_table(picked.x, picked.y, picked.height, ready.factor)


class _Whitened:
    """A prepared micrograph, whitened, with its local standard deviation."""

    def __init__(self, ready: Prepared):
        self.ready = ready
        self.margin_px = math.ceil(1.5 * ready.long_px)
        transform, self.extended = reflected_transform(ready.flat, self.margin_px)
        self.transform = transform * band(self.extended, ready.short_px)
        self.transform /= amplitude_spectrum(transform, self.extended, ready.short_px)
        image = self._filtered(1.0)
        local = np.sqrt(np.maximum(smoothed(image**2, WINDOW_DIAMETERS * ready.long_px), 0))
        # without a floor, an area without any signal would be raised to the level of the rest
        self.local = np.maximum(local, 0.5 * float(np.median(local)))

    def _filtered(self, response) -> np.ndarray:
        return filtered(
            self.transform, response, self.extended, self.ready.flat.shape, self.margin_px
        )

    def found(self, templates) -> Detected:
        """Peaks of the best of several templates, each in units of its own noise."""
        score = np.full(self.ready.flat.shape, -np.inf, np.float32)
        mirrored = np.full(self.ready.flat.shape, -np.inf, np.float32)
        for template in templates:
            answer = self._filtered(template) / self.local
            spread = robust_std(answer[self.ready.usable])
            if spread > 0:
                np.maximum(score, answer / spread, out=score)
                np.maximum(mirrored, -answer / spread, out=mirrored)
        return detect(
            score,
            mirrored,
            min_distance_px=self.ready.min_distance_px,
            diameter_px=self.ready.long_px,
            usable=self.ready.usable,
        )

    def average(self, found: Detected) -> np.ndarray:
        """Response of the rotational average of the particles found, each by its probability."""
        reach = math.ceil(1.2 * self.ready.long_px)
        likely = np.where(found.probability > 0.5, found.probability, 0.0)
        profile = mean_profile(self.ready.flat, found.peaks, likely, reach)
        distance = np.arange(reach + 1)
        edge = np.clip((reach - distance) / (0.3 * reach), 0.0, 1.0)
        profile = (profile - profile[int(0.8 * reach) :].mean()) * edge**2 * (3 - 2 * edge)
        template = np.interp(_radius(self.extended), distance, profile, right=0.0)
        return scipy.fft.rfft2(template.astype(np.float32)).real


def band(shape: tuple[int, int], diameter_px: float) -> np.ndarray:
    """1 up to `BAND_PER_DIAMETER`, falling to 0 over a quarter of it: finer detail of a particle
    differs from view to view, and a template that has it answers beside the particle as well."""
    ratio = _frequency(shape) * diameter_px / BAND_PER_DIAMETER
    return np.clip((1.25 - ratio) / 0.25, 0.0, 1.0).astype(np.float32)


def amplitude_spectrum(
    transform: np.ndarray, shape: tuple[int, int], diameter_px: float
) -> np.ndarray:
    """Smooth rotational mean amplitude (h, w // 2 + 1) of a half-plane transform of (h, w) images,
    by which to divide it; never below a floor."""
    k = _frequency(shape)
    bins = min(shape) // 2
    index = np.minimum((k * 2 * bins).astype(int), 2 * bins - 1)
    power = np.bincount(index.ravel(), (np.abs(transform) ** 2).ravel())
    number = np.bincount(index.ravel())
    mean = np.where(number > 0, power, 1.0) / np.maximum(number, 1)
    mean[number == 0] = mean[number > 0][-1]
    smooth = np.exp(0.5 * ndi.gaussian_filter1d(np.log(np.maximum(mean, 1e-20)), 2.0))
    centres = (np.arange(len(smooth)) + 0.5) / (2 * bins)
    band = (centres > 0.3 / diameter_px) & (centres < 2.0 / diameter_px)
    top = smooth[band].max() if band.any() else smooth.max()
    return np.interp(k, centres, np.maximum(smooth, WHITENING_FLOOR * top)).astype(np.float32)


def generic_templates(shape: tuple[int, int], diameter_px: float):
    """Responses of disc, ball (soft disc) and ring, each dark, at a few sizes, less the mean over a
    disc of 1.5 diameters, so that a constant has no answer."""
    k = _frequency(shape)
    for scale in SIZES:
        q = 2 * math.pi * k * (0.5 * scale * diameter_px)
        around = _disc(1.5 * q)
        ring = (_disc(q) - 0.36 * _disc(0.6 * q)) / (1 - 0.36)
        for shape_of_particle in (_disc(q), _ball(q), ring):
            yield around - shape_of_particle


def rods(shape: tuple[int, int], short_px: float, long_px: float):
    """Responses of dark, soft-edged ellipses with the axes of the particle, in all orientations,
    less the mean over a disc of 1.5 long axes."""
    ky = scipy.fft.fftfreq(shape[0])[:, None].astype(np.float32)
    kx = scipy.fft.rfftfreq(shape[1])[None, :].astype(np.float32)
    around = _disc(2 * math.pi * np.hypot(ky, kx) * 0.75 * long_px)
    for turn in np.arange(ORIENTATIONS) * math.pi / ORIENTATIONS:
        u = (kx * math.cos(turn) + ky * math.sin(turn)) * long_px
        v = (ky * math.cos(turn) - kx * math.sin(turn)) * short_px
        yield around - _ball(math.pi * np.hypot(u, v))


def _disc(q: np.ndarray) -> np.ndarray:
    """Transform of a disc of unit integral at q = 2 pi k radius: 2 J1(q) / q."""
    safe = np.maximum(q, 1e-6)
    return 2 * scipy.special.j1(safe) / safe


def _ball(q: np.ndarray) -> np.ndarray:
    """Transform of the projection of a ball of unit integral: 3 (sin q - q cos q) / q^3."""
    safe = np.maximum(q, 1e-2)
    return np.where(q < 1e-2, 1.0, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


def _frequency(shape: tuple[int, int]) -> np.ndarray:
    """|k| in cycles per pixel on the half-plane (h, w // 2 + 1)."""
    ky = scipy.fft.fftfreq(shape[0])[:, None].astype(np.float32)
    kx = scipy.fft.rfftfreq(shape[1])[None, :].astype(np.float32)
    return np.hypot(ky, kx)


def _radius(shape: tuple[int, int]) -> np.ndarray:
    """Distance (h, w) in pixels from the corner [0, 0], which wraps around."""
    y = scipy.fft.fftfreq(shape[0], d=1 / shape[0])[:, None]
    x = scipy.fft.fftfreq(shape[1], d=1 / shape[1])[None, :]
    return np.hypot(y, x)
