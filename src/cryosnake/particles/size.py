"""The particle's size from its images, where there are no micrographs to measure it on.

The mean of the images, each corrected for its CTF, is the particle seen from everywhere; its radial
profile falls off where silhouettes end (`benchmarks/particles_size.py` says how well that works).
"""

from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.ctf import ctf
from cryosnake.fourier import frequencies
from cryosnake.particles.normalise import squared_radius
from cryosnake.particles.optics import ParticleCtf
from cryosnake.picking.size_model import ELONGATED_ABOVE, ParticleSize

#: Blur of the mean image, standard deviation in angstrom.
_BLUR_ANGST = 8.0
#: Of the Wiener filter: the power of an image whose CTF is 0.07 throughout.
_FLOOR = 0.005
#: Height of the profile at the edge of the silhouette, and where no view reaches any more.
_EDGE, _END = 0.2, 0.05
_PARTS = 4
#: Error of the method, relative.
_SYSTEMATIC = 0.08
_LEAST_HEIGHT = 5.0
_CHUNK = 200


@dataclass(frozen=True)
class MeasuredSize:
    """The size and what it rests on.

    Attributes
    ----------
    size : the result; not `sure` where the mean image shows no particle.
    radius_angst, profile : (n // 2,) the mean over rings, 1 in the middle, 0 outside.
    mean : (n, n) the mean image, blurred.
    dark : the particles are darker than their surroundings.
    """

    size: ParticleSize
    radius_angst: np.ndarray
    profile: np.ndarray
    mean: np.ndarray
    dark: bool


def measure_particles(
    images: np.ndarray, optics: ParticleCtf, pixel_size_angst: float, *, phase_flipped: bool = False
) -> MeasuredSize:
    """Measure centred particles.

    Parameters
    ----------
    images : (N, n, n), white particles; some hundreds.
    optics : their CTF, all known.
    """
    side = images.shape[-1]
    corrected, power = [], []
    for part in np.array_split(np.arange(len(images)), min(_PARTS, len(images))):
        one, two = _sums(images[part], optics.subset(part), pixel_size_angst, phase_flipped)
        corrected.append(one)
        power.append(two)
    means = [
        _mean(one, two, len(images) / len(corrected), side, pixel_size_angst)
        for one, two in zip(corrected, power, strict=True)
    ]
    whole = _mean(sum(corrected), sum(power), len(images), side, pixel_size_angst)
    centre, noise = _height(whole)
    dark = centre < 0
    radius_angst = np.arange(side // 2) * pixel_size_angst
    profile = _profile(-whole if dark else whole)
    diameter, long = _extents(profile, pixel_size_angst)
    parts = [_extents(_profile(-one if dark else one), pixel_size_angst)[0] for one in means]
    sure = abs(centre) > _LEAST_HEIGHT * noise and long < 0.98 * side * pixel_size_angst
    spread = float(np.std(parts)) / np.sqrt(len(parts))
    uncertainty = float(np.hypot(spread, _SYSTEMATIC * diameter))
    size = ParticleSize(
        diameter_angst=round(diameter, 1),
        uncertainty_angst=round(uncertainty if sure else max(uncertainty, diameter / 2), 1),
        long_axis_angst=round(long, 1),
        short_axis_angst=round(diameter, 1),
        elongated=long > ELONGATED_ABOVE * diameter,
        box_px=side + side % 2,
        sure=bool(sure),
    )
    return MeasuredSize(size, radius_angst, profile, whole, bool(dark))


def _sums(
    images: np.ndarray, optics: ParticleCtf, pixel_size_angst: float, phase_flipped: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the transforms times their CTF, and of its square; positive for white particles."""
    side = images.shape[-1]
    ky, kx = frequencies((side, side), pixel_size_angst)
    corrected, power = 0.0, 0.0
    for start in range(0, len(images), _CHUNK):
        part = np.arange(start, min(start + _CHUNK, len(images)))
        here = optics.subset(part)
        u, v, angle, shift = (
            torch.as_tensor(values, dtype=torch.float32)[:, None, None]
            for values in (
                here.defocus_u_angst,
                here.defocus_v_angst,
                here.defocus_angle_deg,
                here.phase_shift_deg,
            )
        )
        transfer = -ctf(
            ky,
            kx,
            defocus_u_angst=u,
            defocus_v_angst=v,
            defocus_angle_deg=angle,
            voltage_kv=here.voltage_kv,
            cs_mm=here.cs_mm,
            amplitude_contrast=here.amplitude_contrast,
            phase_shift_deg=shift,
        )
        transfer = transfer.abs() if phase_flipped else transfer
        transforms = torch.fft.rfft2(torch.from_numpy(np.asarray(images[part], np.float32)))
        corrected = corrected + (transforms * transfer).sum(0)
        power = power + transfer.square().sum(0)
    return corrected, power


def _mean(corrected, power, number: float, side: int, pixel_size_angst: float) -> np.ndarray:
    ky, kx = frequencies((side, side), pixel_size_angst)
    blur = torch.exp(-2 * np.pi**2 * _BLUR_ANGST**2 * (ky**2 + kx**2))
    return torch.fft.irfft2(corrected / (power + _FLOOR * number) * blur, s=(side, side)).numpy()


def _height(mean: np.ndarray) -> tuple[float, float]:
    """Middle of an image over its rim, and the standard deviation of the rim."""
    radius = squared_radius(mean.shape[-1]).sqrt().numpy()
    rim = mean[radius > 0.47 * mean.shape[-1]]
    return float(mean[radius < 3].mean() - rim.mean()), float(rim.std())


def _profile(mean: np.ndarray) -> np.ndarray:
    """Mean over rings, 1 where it is highest within three pixels of the middle, 0 at the rim."""
    side = mean.shape[-1]
    ring = squared_radius(side).sqrt().round().long().numpy()
    sums = np.bincount(ring.ravel(), mean.ravel())
    profile = (sums / np.bincount(ring.ravel()))[: side // 2]
    profile = profile - profile[-4:].mean()
    return profile / max(profile[:3].max(), 1e-12)


def _extents(profile: np.ndarray, pixel_size_angst: float) -> tuple[float, float]:
    """Diameter of the silhouette and extent of the longest views, in angstrom."""
    edge, end = (2 * pixel_size_angst * _falls_to(profile, level) for level in (_EDGE, _END))
    # where the profile ends few views still show something: the longest reach as far beyond
    return edge, end + (end - edge)


def _falls_to(profile: np.ndarray, level: float) -> float:
    """Radius in pixels at which a profile first falls to a level; the last one where it never
    does."""
    below = np.flatnonzero(profile < level)
    if not len(below) or below[0] == 0:
        return float(len(profile) - 1)
    at = int(below[0])
    return at - 1 + float((profile[at - 1] - level) / (profile[at - 1] - profile[at]))
