"""Micrographs of amorphous ice with a known CTF, made apart from the code under test."""

import math

import numpy as np


def ctf_on_grid(
    ky, kx, *, u_angst, v_angst, angle_deg, voltage_kv, cs_mm, amplitude, shift_deg=0.0
):
    """The CTF by the formula in RELION's `ctf.cpp` (K1, K2 and the astigmatic quadratic form),
    positive for white protein; frequencies in 1/angstrom."""
    volt = voltage_kv * 1e3
    wavelength = 12.2643247 / math.sqrt(volt * (1.0 + volt * 0.978466e-6))
    k1 = math.pi * wavelength
    k2 = math.pi / 2.0 * cs_mm * 1e7 * wavelength**3
    k3 = math.atan(amplitude / math.sqrt(1.0 - amplitude**2))
    angle = math.radians(angle_deg)
    along = kx * math.cos(angle) + ky * math.sin(angle)
    across = -kx * math.sin(angle) + ky * math.cos(angle)
    defocused = u_angst * along**2 + v_angst * across**2
    squared = kx**2 + ky**2
    return -np.sin(k2 * squared**2 - k1 * defocused - math.radians(shift_deg) - k3)


def micrograph(
    shape,
    *,
    pixel_size_angst,
    u_angst,
    v_angst,
    angle_deg,
    seed,
    voltage_kv=300.0,
    cs_mm=2.7,
    amplitude=0.1,
    shift_deg=0.0,
    dose_e_per_angst2=40.0,
    signal_to_noise=1.0,
    b_factor_angst2=80.0,
    slope_y=0.0,
    slope_x=0.0,
    low_frequency=1.0,
    ice_ring=0.0,
):
    """A sum of frames: ice with a flat spectrum under a CTF and an envelope, then Poisson counts.

    Parameters
    ----------
    signal_to_noise : power of the ice over that of the counting noise, before CTF and envelope.
    b_factor_angst2 : envelope exp(-B k^2 / 4) of the amplitude.
    slope_y, slope_x : growth of the defocus in angstrom per angstrom.
    low_frequency : strength of a 1/k background (thickness, particles) that carries no rings.
    ice_ring : power of a crystalline ring at 3.66 A over that of the counting noise.
    """
    rng = np.random.default_rng(seed)
    height, width = shape
    ky = np.fft.fftfreq(height, pixel_size_angst)[:, None].astype(np.float32)
    kx = np.fft.rfftfreq(width, pixel_size_angst)[None, :].astype(np.float32)
    k = np.sqrt(ky**2 + kx**2)
    counts = dose_e_per_angst2 * pixel_size_angst**2
    noise = 1.0 / math.sqrt(counts)
    ice = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    ice *= noise * math.sqrt(signal_to_noise) * np.exp(-b_factor_angst2 / 4.0 * k**2)
    common = {"angle_deg": angle_deg, "voltage_kv": voltage_kv, "cs_mm": cs_mm}
    common["amplitude"] = amplitude
    y = (np.arange(height) - height / 2)[:, None] * pixel_size_angst
    x = (np.arange(width) - width / 2)[None, :] * pixel_size_angst
    offset = slope_y * y + slope_x * x
    span = float(np.abs(offset).max())
    levels = np.linspace(-span, span, 2 * math.ceil(span / 100.0) + 1)
    contrast = np.zeros(shape, np.float32)
    for level in levels:
        transfer = ctf_on_grid(
            ky, kx, u_angst=u_angst + level, v_angst=v_angst + level, shift_deg=shift_deg, **common
        )
        layer = np.fft.irfft2(ice * transfer, s=shape)
        if span:  # between two levels the images are blended
            gap = levels[1] - levels[0]
            layer *= np.clip(1.0 - np.abs(offset - level) / gap, 0.0, None)
        contrast -= layer.astype(np.float32)
    smooth = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    smooth *= noise * low_frequency * 0.02 / np.maximum(k, 1.0 / (pixel_size_angst * height))
    contrast += np.fft.irfft2(smooth, s=shape).astype(np.float32)
    if ice_ring:
        ring = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
        ring *= noise * math.sqrt(ice_ring) * np.exp(-0.5 * ((k - 1 / 3.66) / 0.002) ** 2)
        contrast += np.fft.irfft2(ring, s=shape).astype(np.float32)
    return rng.poisson(np.clip(counts * (1.0 + contrast), 0.0, None)).astype(np.float32)
