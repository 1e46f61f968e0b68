"""The noise of the specimen itself: amorphous ice, its motion, carbon, and crystalline ice.

Spectra are power spectral densities of the projected phase in rad^2 A^2: white noise of unit
variance per pixel times sqrt(density) / pixel size has that spectrum.
"""

import math

import numpy as np
import torch

from cryosnake.simulate.potential import (
    WATER_PER_ANGST3,
    phase_per_scattering_factor,
    scattering_factor_angst,
)

# d-spacings of hexagonal ice and their relative ring strength in micrographs (Dowell and Rinfret
# 1960, Nature 188; the 3.67 A reflection is shared with cubic ice).
ICE_SPACINGS_ANGST = ((3.90, 0.5), (3.67, 1.0), (3.44, 0.4), (2.25, 0.4), (1.92, 0.2))
INELASTIC_PATH_ANGST = 3950.0  # apparent mean free path at 300 kV (Rice 2018, J Struct Biol 204)


def transmission(thickness_angst: float) -> float:
    """Part of the beam that still counts after the objective aperture and the energy filter."""
    return math.exp(-thickness_angst / INELASTIC_PATH_ANGST)


def ice_structure_factor(frequency_per_angst: torch.Tensor) -> torch.Tensor:
    """Structure factor of amorphous ice: 0.06 at low frequency (compressibility), a peak of 1.9 at
    1/3.7 A, 1 beyond; a smooth stand-in for the measured one (Narten 1976, J Chem Phys 64)."""
    k = frequency_per_angst
    rise = 1.0 - 0.94 * torch.exp(-((k / 0.22) ** 4))
    return rise + 1.0 * torch.exp(-0.5 * ((k - 0.27) / 0.03) ** 2)


def amorphous_ice_density(
    frequency_per_angst: torch.Tensor, *, thickness_angst: float, voltage_kv: float
) -> torch.Tensor:
    """Spectral density of the phase of amorphous ice: n t |lambda gamma f|^2 S."""
    water = 2 * scattering_factor_angst("H", frequency_per_angst) + scattering_factor_angst(
        "O", frequency_per_angst
    )
    per_molecule = phase_per_scattering_factor(voltage_kv) * water
    return (
        WATER_PER_ANGST3
        * thickness_angst
        * per_molecule**2
        * ice_structure_factor(frequency_per_angst)
    )


def amorphous_carbon_density(
    frequency_per_angst: torch.Tensor, *, thickness_angst: float, voltage_kv: float
) -> torch.Tensor:
    """Spectral density of the phase of amorphous carbon (2.0 g/cm^3, 0.1 atoms/A^3), whose
    structure factor is taken as 0.3 below 1/2.1 A."""
    carbon = scattering_factor_angst("C", frequency_per_angst)
    per_atom = phase_per_scattering_factor(voltage_kv) * carbon
    return 0.1 * thickness_angst * per_atom**2 * 0.3


def brownian_correlation(frequency_per_angst: torch.Tensor, variance_angst2: float) -> torch.Tensor:
    """Correlation of the ice's transform from one frame to the next when every molecule moves by
    a Gaussian step of that variance along each axis: exp(-2 pi^2 k^2 variance). McMullan,
    Vinothkumar and Henderson 2015 (Ultramicroscopy 158) found 1 A root mean square per e/A^2."""
    return torch.exp(-2 * math.pi**2 * frequency_per_angst**2 * variance_angst2)


def white_spectrum(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Half-plane transform of white noise of unit variance per pixel, drawn in Fourier space."""
    height, width = shape
    noise = torch.randn(height, width // 2 + 1, 2, generator=generator)
    spectrum = torch.view_as_complex(noise).mul_(math.sqrt(height * width / 2))
    # Columns without a mirror image of their own must be Hermitian along y.
    for column in {0, width // 2} if width % 2 == 0 else {0}:
        values = spectrum[:, column]
        mirror = torch.roll(values.flip(0), 1).conj()
        spectrum[:, column] = (values + mirror) / math.sqrt(2)
    return spectrum


def crystalline_ring_density(
    frequency_per_angst: torch.Tensor, *, peak_rad2_angst2: float, width_per_angst: float = 0.004
) -> torch.Tensor:
    """Spectral density of fine-grained crystalline ice: rings at its d-spacings."""
    density = torch.zeros_like(frequency_per_angst)
    for spacing_angst, weight in ICE_SPACINGS_ANGST:
        offset = (frequency_per_angst - 1.0 / spacing_angst) / width_per_angst
        density += weight * torch.exp(-0.5 * offset**2)
    return peak_rad2_angst2 * density


def crystallites(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    pixel_size_angst: float,
    number: int,
    amplitude_rad: float,
) -> torch.Tensor:
    """Phase map (H, W) in radians of crystal domains, 100 to 500 A wide, each with one to three
    lattice fringes at the spacings of ice; these are the spots in a power spectrum."""
    height, width = shape
    phase = torch.zeros(height, width)
    nyquist = 0.5 / pixel_size_angst
    spacings = [s for s in ICE_SPACINGS_ANGST if 1.0 / s[0] < 0.95 * nyquist]
    for _ in range(number if spacings else 0):
        sigma_px = rng.uniform(100, 500) / 2 / pixel_size_angst
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        top, bottom = max(0, int(cy - 3 * sigma_px)), min(height, int(cy + 3 * sigma_px) + 1)
        left, right = max(0, int(cx - 3 * sigma_px)), min(width, int(cx + 3 * sigma_px) + 1)
        if bottom <= top or right <= left:
            continue
        y = (torch.arange(top, bottom) - cy)[:, None]
        x = (torch.arange(left, right) - cx)[None, :]
        window = torch.exp(-(y**2 + x**2) / (2 * sigma_px**2))
        for _ in range(int(rng.integers(1, 4))):
            spacing_angst, weight = spacings[int(rng.integers(len(spacings)))]
            k = pixel_size_angst / spacing_angst
            angle = rng.uniform(0, np.pi)
            offset = rng.uniform(0, 2 * np.pi)
            wave = torch.cos(2 * np.pi * k * (y * np.sin(angle) + x * np.cos(angle)) + offset)
            phase[top:bottom, left:right] += amplitude_rad * math.sqrt(weight) * window * wave
    return phase
