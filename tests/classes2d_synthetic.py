"""Particles of a few flat objects with known poses, made apart from the code under test."""

import math
from dataclasses import replace

import numpy as np
from ctf_synthetic import ctf_on_grid

from cryosnake.classes2d import Optics

BOX, PIXEL, DIAMETER = 48, 4.0, 130.0


def objects(number: int, seed: int = 0) -> list[np.ndarray]:
    """(J, 4) Gaussians each: y, x and width in pixels, height; the mass is in the centre."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        place = rng.normal(0, 6.0, (9, 2)).clip(-11, 11)
        width, height = rng.uniform(1.2, 2.2, 9), rng.uniform(0.5, 1.0, 9)
        place -= np.average(place, axis=0, weights=height * width**2)
        found.append(np.column_stack([place, width, height]))
    return found


def drawn(blobs: np.ndarray, psi_deg: float = 0.0, origin_yx=(0.0, 0.0)) -> np.ndarray:
    """An object as a particle with RELION's psi and origin (pixels) shows it: the image point p
    shows the object at R(psi) (p + origin)."""
    axis = np.arange(BOX) - BOX // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    py, px = y + origin_yx[0], x + origin_yx[1]
    c, s = math.cos(math.radians(psi_deg)), math.sin(math.radians(psi_deg))
    rx, ry = c * px - s * py, s * px + c * py
    return sum(
        height * np.exp(-((ry - cy) ** 2 + (rx - cx) ** 2) / (2 * width**2))
        for cy, cx, width, height in blobs
    )


def some_optics(optics: Optics, rows: np.ndarray) -> Optics:
    """The CTF parameters of some particles."""
    chosen = {
        name: getattr(optics, name)[rows]
        for name in ("defocus_u_angst", "defocus_v_angst", "defocus_angle_deg")
    }
    return replace(optics, **chosen)


def particles(number, kinds, *, contrast=2.5, empty=0.0, seed=1):
    """Images (N, n, n) float32 with noise of unit variance, their optics, and the truth: kind (-1
    for pure noise), psi in degrees, origin (N, 2) as (y, x) in angstrom."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(kinds), number)
    kind[rng.random(number) < empty] = -1
    psi = rng.uniform(-180, 180, number)
    origin = rng.normal(0, 4.0, (number, 2)).clip(-10, 10)
    u = rng.uniform(9000, 20000, number)
    optics = Optics(u + 200, u - 200, rng.uniform(0, 180, number), 300.0, 2.7, 0.1)
    f = np.fft.fftfreq(BOX, PIXEL)
    ky, kx = f[:, None], f[None, :]
    images = rng.normal(0, 1, (number, BOX, BOX))
    for i in range(number):
        if kind[i] < 0:
            continue
        transfer = ctf_on_grid(
            ky,
            kx,
            u_angst=u[i] + 200,
            v_angst=u[i] - 200,
            angle_deg=optics.defocus_angle_deg[i],
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude=0.1,
        )
        clean = drawn(kinds[kind[i]], psi[i], origin[i] / PIXEL)
        images[i] += contrast * np.fft.ifft2(np.fft.fft2(clean) * transfer).real
    return images.astype(np.float32), optics, (kind, psi, origin)
