"""The picture of docs/simulator.md: one micrograph of each scenario with its power spectrum.

python -m cryosnake.simulate.gallery docs/images/simulator_scenarios.png
"""

import math
import sys
from pathlib import Path

import matplotlib
import numpy as np
from scipy.ndimage import gaussian_filter

from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.movie import SimulatedMovie, simulate_movie

_SHOWN = (
    "good",
    "no_particles",
    "aggregation",
    "thick_ice",
    "ice_minor",
    "ice_major",
    "contamination",
    "film",
    "crack",
    "empty",
    "drift",
    "astigmatism",
)


def aligned_sum(movie: SimulatedMovie) -> np.ndarray:
    """Sum of the frames (H, W), gain applied, bad pixels filled with the median, every frame
    moved by the truth's whole-frame shift."""
    height, width = movie.config.shape
    ky = np.fft.fftfreq(height)[:, None]
    kx = np.fft.rfftfreq(width)[None, :]
    bad = movie.gain == 0
    bad[tuple(movie.detector.hot_yx.T)] = True
    spectrum = np.zeros((height, width // 2 + 1), complex)
    for frame, (dy, dx) in zip(movie.frames(), movie.truth.shift_px, strict=True):
        corrected = frame * movie.gain
        corrected[bad] = np.median(corrected)
        spectrum += np.fft.rfft2(corrected) * np.exp(-2j * np.pi * (ky * dy + kx * dx))
    return np.fft.irfft2(spectrum, s=movie.config.shape)


def log_spectrum(image: np.ndarray, tile_px: int = 256) -> np.ndarray:
    """Logarithm of the mean power spectrum of half-overlapping tiles, origin in the middle."""
    window = np.hanning(tile_px)[:, None] * np.hanning(tile_px)[None, :]
    power = [
        np.abs(np.fft.fftshift(np.fft.fft2((tile - tile.mean()) * window))) ** 2
        for top in range(0, image.shape[0] - tile_px + 1, tile_px // 2)
        for left in range(0, image.shape[1] - tile_px + 1, tile_px // 2)
        for tile in [image[top : top + tile_px, left : left + tile_px]]
    ]
    return gaussian_filter(np.log(np.mean(power, axis=0)), 1.0)


def draw(path: Path) -> None:
    """Simulate a movie of each scenario and draw the picture."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    config = SimulationConfig(
        height_px=768,
        width_px=768,
        dead_columns=0,
        defocus_min_angst=14000,
        defocus_max_angst=16000,
    )
    columns = 4
    rows = math.ceil(len(_SHOWN) / columns)
    figure, axes = plt.subplots(rows, 2 * columns, figsize=(4 * columns, 2.3 * rows))
    for place, scenario in enumerate(_SHOWN):
        image = aligned_sum(simulate_movie(config, place, scenario=scenario))
        shown, spectrum = gaussian_filter(image, 1.0), log_spectrum(image)
        left, right = axes[place // columns][2 * (place % columns) :][:2]
        low, high = np.percentile(shown, [0.5, 99.5])
        left.imshow(shown, cmap="gray", vmin=low, vmax=high, origin="lower")
        low, high = np.percentile(spectrum, [1, 99.6])
        right.imshow(spectrum, cmap="gray", vmin=low, vmax=high, origin="lower")
        left.set_title(scenario, fontsize=9, loc="left")
        for axis in (left, right):
            axis.set_axis_off()
    figure.tight_layout(pad=0.3, h_pad=0.8)
    figure.savefig(path, dpi=64, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
