"""Small synthetic micrographs for the tests of curation: optics, shot noise, and what goes wrong.

Much simpler than `cryosnake.simulate` (no movie, no atoms), and independent of it.
"""

import numpy as np
import torch
from scipy import ndimage

from cryosnake.ctf import ctf

PIXEL_ANGST = 1.2


def _filtered(field: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.irfft2(np.fft.rfft2(field) * transfer, s=field.shape)


def micrograph(
    seed: int = 0,
    *,
    size: int = 1024,
    pixel_size_angst: float = PIXEL_ANGST,
    dose_e_per_angst2: float = 40.0,
    defocus_angst: float = 15000.0,
    astigmatism_angst: float = 0.0,
    particles: int | None = None,
    particle_angst: float = 130.0,
    contrast: float = 1.0,
    drift_angst: float = 0.0,
    film_fraction: float = 0.0,
    blobs: int = 0,
    blob_angst: float = 500.0,
    crack: bool = False,
    ice_ring: float = 0.0,
) -> np.ndarray:
    """A sum of frames in electrons per pixel, (size, size) float32.

    contrast 0 is an empty hole; drift_angst is a blur along x; film_fraction is the part of the
    view, from the left, that is carbon; ice_ring is the strength of spots near 3.7 A.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    ky = np.fft.fftfreq(size, pixel_size_angst)[:, None]
    kx = np.fft.rfftfreq(size, pixel_size_angst)[None, :]
    k = np.hypot(ky, kx)
    # phase of the exit wave in radians: structured ice, and particles as rough discs
    ice = _filtered(rng.standard_normal((size, size)), np.exp(-((k / 0.25) ** 2)))
    phase = 0.05 * ice / ice.std()
    count = (
        int(0.25 * (size * pixel_size_angst / particle_angst) ** 2)
        if particles is None
        else particles
    )
    points = np.zeros((size, size))
    spots = rng.integers(0, size, (count, 2))
    np.add.at(points, (spots[:, 0], spots[:, 1]), 1.0)
    disc = np.hypot(
        np.minimum(y, size - y) * pixel_size_angst, np.minimum(x, size - x) * pixel_size_angst
    )
    disc = (disc < particle_angst / 2) * (1 + 0.6 * rng.standard_normal((size, size)))
    phase = phase + 0.06 * _filtered(points, np.fft.rfft2(disc))
    amplitude = np.zeros((size, size))
    if film_fraction:
        edge = size * film_fraction + 0.02 * size * np.sin(y / size * 3)
        film = ndimage.gaussian_filter((x < edge).astype(float), 2)
        texture = _filtered(rng.standard_normal((size, size)), np.exp(-((k / 0.3) ** 2)))
        phase = phase * (1 - film) + film * (0.12 * texture / texture.std() + 0.8)
        amplitude -= 0.08 * film
    for _ in range(blobs):
        centre = rng.uniform(0.15, 0.85, 2) * size
        radius = blob_angst * rng.uniform(0.35, 0.6) / pixel_size_angst
        lump = np.hypot(y - centre[0], (x - centre[1]) * rng.uniform(0.7, 1.3)) < radius
        amplitude -= 0.3 * ndimage.gaussian_filter(lump.astype(float), 3)
    if crack:
        middle = size * (0.5 + 0.1 * np.sin(y / size * 7 + rng.uniform(0, 6)))
        gap = np.abs(x - middle) < rng.uniform(0.02, 0.05) * size
        amplitude += 0.25 * ndimage.gaussian_filter(gap.astype(float), 2)
    if ice_ring:
        waves = np.zeros((size, size // 2 + 1), complex)
        ring = np.argwhere(np.abs(1 / np.maximum(k, 1e-6) - 3.68) < 0.03)
        for row, column in ring[rng.integers(0, len(ring), 40)]:
            waves[row, column] = np.exp(1j * rng.uniform(0, 2 * np.pi)) * rng.exponential()
        crystals = np.fft.irfft2(waves, s=(size, size))
        phase = phase + ice_ring * crystals / crystals.std()
    transfer = ctf(
        torch.from_numpy(ky),
        torch.from_numpy(kx),
        defocus_u_angst=defocus_angst + astigmatism_angst / 2,
        defocus_v_angst=defocus_angst - astigmatism_angst / 2,
        defocus_angle_deg=30.0,
        voltage_kv=300,
        cs_mm=2.7,
        amplitude_contrast=0.1,
    ).numpy()
    transfer = 2 * transfer * np.exp(-40 * k**2 / 4)
    if drift_angst:
        transfer = transfer * np.sinc(kx * drift_angst)
    image = 1 + contrast * (_filtered(phase, transfer) + amplitude)
    mean = dose_e_per_angst2 * pixel_size_angst**2
    return rng.poisson(mean * np.clip(image, 0.02, None)).astype(np.float32)
