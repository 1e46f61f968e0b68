"""A map in another box and at another pixel size."""

import numpy as np

from cryosnake.errors import BadInputError


def resized(
    volume: np.ndarray, pixel_size_angst: float, new_n: int, new_pixel_size_angst: float
) -> np.ndarray:
    """A cubic map (n, n, n) brought to a box of new_n pixels of another size, about its centre.

    Values between pixels are those of the map's own Fourier series, without what the new pixels
    cannot hold; outside of the old box they are 0. Grey values are kept.

    Returns
    -------
    (new_n, new_n, new_n) float32, the centre n // 2 at new_n // 2.

    Raises
    ------
    BadInputError : not a cube of finite values, or a pixel size that is not positive.
    """
    volume = np.asarray(volume)
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or not np.isfinite(volume).all():
        raise BadInputError(
            None, f"a map of shape {volume.shape}, or not finite", "a cube of finite values"
        )
    for value in (pixel_size_angst, new_pixel_size_angst):
        if not (np.isfinite(value) and value > 0):
            raise BadInputError(None, f"a pixel size of {value} A", "a positive number")
    matrix = _interpolation(len(volume), new_n, new_pixel_size_angst / pixel_size_angst)
    for _ in range(3):  # each turn puts the next axis first
        volume = np.tensordot(volume.astype(np.float32, copy=False), matrix, axes=(0, 1))
    return np.ascontiguousarray(volume)


def _interpolation(n: int, new_n: int, step: float) -> np.ndarray:
    """(new_n, n) float32 matrix from n samples to new_n samples that lie `step` old pixels apart.

    Its rows are sums of cosines up to the lower of both Nyquist frequencies (Dirichlet kernel).
    """
    place = (np.arange(new_n) - new_n // 2) * step + n // 2
    highest = min((n - 1) // 2, int(n / (2.0 * step)))
    wave = np.arange(1, highest + 1)
    away = place[:, None] - np.arange(n)
    angle = 2.0 * np.pi / n * away
    matrix = (1.0 + 2.0 * sum(np.cos(k * angle) for k in wave)) / n
    matrix[(place < -0.5) | (place > n - 0.5)] = 0.0
    return matrix.astype(np.float32)
