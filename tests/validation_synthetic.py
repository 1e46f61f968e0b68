"""Small maps with known truth for the tests of validation."""

import numpy as np
from scipy import fft, ndimage


def molecule(n: int = 48, *, seed: int = 1, radius: float = 0.28, atoms: int = 300) -> np.ndarray:
    """(n, n, n) float32 of unit variance: Gaussian blobs on a random walk, without symmetry."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1, (atoms, 3))
    walk = np.zeros(3)
    volume = np.zeros((n, n, n), np.float32)
    for step in steps:
        walk = walk + step * n / 24
        if np.linalg.norm(walk / [1.0, 0.75, 0.55]) > radius * n:
            walk = walk * 0.6
        volume[tuple(np.rint(walk + n // 2).astype(int))] += 1.0
    volume = ndimage.gaussian_filter(volume, 1.0)
    return volume / volume.std()


def noisy_halves(volume: np.ndarray, noise: float, *, seed: int = 1) -> list[np.ndarray]:
    """Two maps with independent white noise of that standard deviation."""
    rng = np.random.default_rng(seed)
    return [volume + noise * rng.standard_normal(volume.shape).astype(np.float32) for _ in range(2)]


def turned(volume: np.ndarray, degrees: float, axes: tuple[int, int]) -> np.ndarray:
    """A map turned about its centre n // 2."""
    n = len(volume)
    padded = np.pad(volume, ((0, 1),) * 3)  # odd: the centre of rotation is a voxel
    return ndimage.rotate(padded, degrees, axes=axes, reshape=False, order=3)[:n, :n, :n]


def without_cone(volume: np.ndarray, cone_deg: float) -> np.ndarray:
    """A map without the Fourier coefficients within a cone about z."""
    n = len(volume)
    full, half = np.fft.fftfreq(n), np.fft.rfftfreq(n)
    k = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2)
    along = np.abs(full)[:, None, None] * np.ones_like(k)
    missing = along > np.cos(np.deg2rad(cone_deg)) * np.maximum(k, 1e-9)
    return fft.irfftn(fft.rfftn(volume) * ~missing, s=volume.shape).astype(np.float32)
