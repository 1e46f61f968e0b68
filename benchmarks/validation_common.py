"""What the benchmarks of maps share: volumes of structures, noise of maps, simulated averages.

Nothing here uses the code under test: projections are the simulator's.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from classes2d_common import VOLTAGE_KV, Structure
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from cryosnake.simulate.potential import species_phase
from cryosnake.simulate.projection import Projector, euler_matrix


def structure_volume(structure: Structure, box_px: int, pixel_size_angst: float) -> np.ndarray:
    """(n, n, n) float32 volume of unit variance of a structure."""
    cache = Path(tempfile.gettempdir()) / "cryosnake-potentials"
    found = species_phase(
        structure.source,
        pixel_size_angst=pixel_size_angst,
        voltage_kv=VOLTAGE_KV,
        cache_dir=cache,
    ).numpy()
    have = len(found)
    take = min(have, box_px)
    a, b = have // 2 - take // 2, box_px // 2 - take // 2
    volume = np.zeros((box_px,) * 3, np.float32)
    volume[(slice(b, b + take),) * 3] = found[(slice(a, a + take),) * 3]
    return volume / volume.std()


def gaussian_low_pass(volume: np.ndarray, pixel_size_angst: float, resolution_angst: float):
    """The volume with amplitudes at `resolution_angst` down to 1 / e."""
    n = len(volume)
    k = frequency_magnitude(n, pixel_size_angst)
    curve = np.exp(-((k * resolution_angst) ** 2))
    return fft.irfftn(fft.rfftn(volume) * curve, s=volume.shape).astype(np.float32)


def sharp_low_pass(volume: np.ndarray, pixel_size_angst: float, resolution_angst: float):
    """The volume without anything finer than `resolution_angst`."""
    keep = frequency_magnitude(len(volume), pixel_size_angst) <= 1.0 / resolution_angst
    return fft.irfftn(fft.rfftn(volume) * keep, s=volume.shape).astype(np.float32)


def frequency_magnitude(n: int, pixel_size_angst: float) -> np.ndarray:
    """(n, n, n // 2 + 1) in 1/angstrom."""
    full, half = np.fft.fftfreq(n, pixel_size_angst), np.fft.rfftfreq(n, pixel_size_angst)
    return np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)


def ball(n: int, radius_px: float, soft_px: float = 2.0) -> np.ndarray:
    """(n, n, n) a soft ball."""
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return 1.0 / (1.0 + np.exp((np.sqrt(x**2 + y**2 + z**2) - radius_px) / soft_px))


def noise_blob(
    like: np.ndarray, rng: np.random.Generator, pixel_size_angst: float, blur_angst: float
) -> np.ndarray:
    """A blob of noise as refinement makes it of nothing: the outline of a volume at 40 A, turned at
    random, full of noise of the volume's own amplitudes, sharpened."""
    n = len(like)
    outline = gaussian_low_pass(np.abs(like), pixel_size_angst, 40.0)
    outline = np.clip(outline / outline.max(), 0, None)
    outline = ndimage.rotate(outline, rng.uniform(0, 180), axes=(0, 2), reshape=False, order=1)
    noise = ndimage.gaussian_filter(rng.standard_normal(like.shape), blur_angst / pixel_size_angst)
    blob = outline * (1.0 + noise / noise.std())
    target = np.abs(fft.rfftn(like))
    spectrum = fft.rfftn(blob)
    k = np.rint(frequency_magnitude(n, 1.0) * n).astype(int)
    power = [
        np.bincount(k.ravel(), np.abs(f).ravel() ** 2) / np.bincount(k.ravel())
        for f in (target, spectrum)
    ]
    b_factor_angst2 = 200.0
    boost = np.sqrt(power[0] / power[1])[k] * np.exp(
        0.25 * b_factor_angst2 * frequency_magnitude(n, pixel_size_angst) ** 2
    )
    sharp = fft.irfftn(spectrum * boost, s=like.shape).astype(np.float32)
    return sharp / sharp.std()


def simulated_averages(
    volume: np.ndarray,
    number: int,
    rng: np.random.Generator,
    *,
    pixel_size_angst: float,
    particles: tuple[int, int] = (20, 200),
    snr: float = 0.05,
    view_deg: float = 6.0,
    psi_deg: float = 3.0,
    shift_px: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Class averages (number, n, n) as classification leaves them, and their populations: each the
    mean of noisy particles whose views, in-plane angles and centres scatter about the class's,
    off the centre by up to two pixels, then filtered ring by ring by the signal-to-noise ratio."""
    n = len(volume)
    projector = Projector(torch.as_tensor(volume))
    populations = np.exp(rng.uniform(*np.log(particles), number)).astype(int)
    ky, kx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)
    ring = np.rint(np.hypot(ky, kx) * n).astype(int)
    averages = np.empty((number, n, n), np.float32)
    for row, members in enumerate(populations):
        tilt, rot = np.rad2deg(np.arccos(rng.uniform(-1, 1))), rng.uniform(-180, 180)
        psi = rng.uniform(-180, 180)
        jitter = rng.normal(0, view_deg / np.sqrt(2), (2, members))
        matrices = euler_matrix(
            rot + jitter[0] / max(np.sin(np.deg2rad(tilt)), 0.1),
            tilt + jitter[1],
            psi + rng.normal(0, psi_deg, members),
        )
        spectra = projector.spectra(matrices).numpy()
        x, y = rng.normal(0, shift_px, (2, members)) + rng.uniform(-2, 2, (2, 1)) + n // 2
        ramp = np.exp(-2j * np.pi * (ky[None] * y[:, None, None] + kx * x[:, None, None]))
        mean = np.fft.irfft2((spectra * ramp).mean(0), s=(n, n))
        signal = np.fft.irfft2(spectra[0], s=(n, n)).std()
        noise = rng.standard_normal((n, n)) * signal / np.sqrt(snr * members)
        found = np.fft.rfft2(mean + noise)
        power = np.bincount(ring.ravel(), np.abs(found).ravel() ** 2) / np.bincount(ring.ravel())
        expected = n * n * (signal**2) / (snr * members)
        gain = np.clip(1.0 - expected / power, 0.0, 1.0)[ring]
        averages[row] = np.fft.irfft2(found * gain, s=(n, n))
    return averages, populations


def half_maps(
    volume: np.ndarray,
    views: np.ndarray,
    rng: np.random.Generator,
    *,
    pixel_size_angst: float,
    noise: float,
    b_factor_angst2: float = 0.0,
) -> list[np.ndarray]:
    """Two half maps as reconstruction from particles seen along views (N, 3) leaves them: noise in
    a direction and at a frequency goes with how few slices pass there (half of them in each
    map), and what no slice reaches is empty.

    `noise` is the ratio of the amplitudes of noise in one particle to a volume of unit variance;
    with a B-factor the signal decays as exp(-B / (4 d^2)).
    """
    n = len(volume)
    full, half = np.fft.fftfreq(n, 1.0 / n), np.arange(n // 2 + 1)
    k = np.stack(np.broadcast_arrays(half, full[:, None], full[:, None, None]), -1).astype(float)
    radius = np.linalg.norm(k, axis=-1)
    cells = _directions(1500)
    hits = np.zeros(len(cells))
    for start in range(0, len(views), 2000):
        hits += (np.abs(cells @ views[start : start + 2000].T) < np.sin(np.deg2rad(2.0))).sum(1)
    per_cell = hits / np.sin(np.deg2rad(2.0)) / 2.0  # slices of one voxel at radius 1, half of all
    cell = cKDTree(np.concatenate([cells, -cells])).query(k / np.maximum(radius, 1e-9)[..., None])[
        1
    ]
    slices = per_cell[cell % len(cells)] / np.maximum(radius, 0.5)
    decay = np.exp(-0.25 * b_factor_angst2 * (radius / (n * pixel_size_angst)) ** 2)
    signal = fft.rfftn(volume) * decay
    found = []
    for _ in range(2):
        white = fft.rfftn(rng.standard_normal(volume.shape))
        mean = signal * slices + noise * np.sqrt(slices) * white
        found.append(fft.irfftn(mean / (slices + 1.0), s=volume.shape).astype(np.float32))
    return found


def _directions(number: int) -> np.ndarray:
    at = np.arange(number)
    z = 1.0 - (at + 0.5) / number
    turn = at * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], 1)


def random_views(number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 3) evenly spread."""
    found = rng.standard_normal((number, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def views_near(axis, spread_deg: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 3) within about `spread_deg` of an axis."""
    found = np.asarray(axis) + rng.normal(0, np.deg2rad(spread_deg) / np.sqrt(2), (number, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)
