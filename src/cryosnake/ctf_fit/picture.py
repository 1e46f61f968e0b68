"""The picture of a CTF fit: half data, half model, with the radial curve below."""

import io
import math

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from cryosnake.ctf_fit.fit import CtfFit
from cryosnake.ctf_fit.profile import equiphase_frequency
from cryosnake.ctf_fit.search import ring_phase_rad

_SMOOTHING_PX = 0.8
_GREYS = 12


def _grid(fit: CtfFit) -> tuple[np.ndarray, np.ndarray]:
    """Frequency (1/angstrom) and local defocus (angstrom) of the centred spectrum's pixels."""
    height, width = fit.spectrum.shape
    step_y, step_x = fit.spectrum_pixel_per_angst
    ky = (np.arange(height) - height // 2)[:, None] * step_y
    kx = (np.arange(width) - width // 2)[None, :] * step_x
    u, v = fit.defocus_u_angst, fit.defocus_v_angst
    turned = np.cos(2.0 * (np.arctan2(ky, kx) - math.radians(fit.defocus_angle_deg)))
    return np.hypot(ky, kx), 0.5 * (u + v + (u - v) * turned)


def model_rings(fit: CtfFit) -> tuple[np.ndarray, np.ndarray]:
    """CTF^2 (T, T) on the grid of the centred spectrum, and the frequencies in 1/angstrom."""
    k, defocus = _grid(fit)
    shift = math.radians(fit.phase_shift_deg)
    phase = ring_phase_rad(torch.from_numpy(k), torch.from_numpy(defocus), fit.optics, shift)
    return 0.5 * (1.0 - np.cos(phase.numpy())), k


def averaged_rings(fit: CtfFit) -> np.ndarray:
    """The radial profile of the data laid out again along lines of equal phase: (T, T)."""
    k, defocus = _grid(fit)
    mean = 0.5 * (fit.defocus_u_angst + fit.defocus_v_angst)
    position = equiphase_frequency(
        torch.from_numpy(k), torch.from_numpy(defocus), mean, fit.optics
    ).numpy()
    return np.interp(position, fit.frequency_per_angst, fit.radial_data)


def flat_rings(fit: CtfFit) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum (T, T) without its rotational background, in units of its local scatter and
    a little smoothed, and the frequencies in 1/angstrom."""
    k, _ = _grid(fit)
    step = fit.spectrum_pixel_per_angst[0]
    ring = (k / step).astype(int)
    count = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), fit.spectrum.ravel()) / np.maximum(count, 1)
    width = max(9, len(mean) // 12)
    padded = np.pad(mean, width, mode="edge")
    taper = np.hanning(2 * width + 1)
    smooth = np.convolve(padded, taper / taper.sum(), mode="valid")
    rest = fit.spectrum - smooth[ring]
    spread = np.sqrt(np.bincount(ring.ravel(), (rest**2).ravel()) / np.maximum(count, 1))
    padded = np.pad(spread, width, mode="edge")
    spread = np.convolve(padded, taper / taper.sum(), mode="valid")
    # a little smoothing: the eye sees rings in the speckle of few tiles
    return gaussian_filter(rest / np.maximum(spread[ring], 1e-6), _SMOOTHING_PX), k


def draw_ctf(fit: CtfFit, *, side_px: int = 512) -> np.ndarray:
    """The picture as (H, W, 3) uint8, row 0 at the bottom (`images.write_png` shows it upright).

    Above, the model in the left half up to the finest resolution fitted, and the spectrum in the
    right half: as it is, and, in the lower quarter, averaged along lines of equal phase. The
    circle is the fit resolution. Below, the radial curve of data and model with their correlation
    and the fit resolution.
    """
    rings, k = flat_rings(fit)
    model, _ = model_rings(fit)
    end = float(fit.frequency_per_angst[-1])
    shown = np.clip(0.5 + rings / 2.4, 0.0, 1.0)
    half = rings.shape[1] // 2
    fitted = k <= 1.0 / fit.resolution_high_angst
    shown[:half, half:] = averaged_rings(fit)[:half, half:]
    shown[:, :half] = np.where(fitted, model, 0.5)[:, :half]
    shown = np.where((k > end) | (k < 1.0 / fit.resolution_low_angst), 0.5, shown)
    shown = np.round(shown * _GREYS) / _GREYS  # speckle of all greys makes a large PNG
    step_y, step_x = fit.spectrum_pixel_per_angst
    extent_x, extent_y = half * step_x, (rings.shape[0] // 2) * step_y
    figure = Figure(figsize=(side_px / 100, 1.55 * side_px / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.3548, 1.0, 0.6452))
    axes.imshow(
        shown,
        cmap="gray",
        vmin=0,
        vmax=1,
        origin="lower",
        extent=(-extent_x, extent_x, -extent_y, extent_y),
    )
    mark = 1.0 / fit.max_resolution_angst
    angle = np.linspace(0, 2 * np.pi, 361)
    axes.plot(mark * np.cos(angle), mark * np.sin(angle), color="#e05a00", lw=0.9, ls="--")
    axes.set_axis_off()
    name = {"color": "white", "fontsize": 8, "transform": axes.transAxes}
    box = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "lw": 0}
    axes.text(0.01, 0.98, "model", va="top", bbox=box, **name)
    axes.text(0.99, 0.98, "data", va="top", ha="right", bbox=box, **name)
    axes.text(0.99, 0.06, "data, averaged", ha="right", bbox=box, **name)
    lines = (
        f"U {fit.defocus_u_angst:.0f}  V {fit.defocus_v_angst:.0f} A  "
        f"angle {fit.defocus_angle_deg:.0f} deg  fit to {fit.max_resolution_angst:.2f} A"
    )
    axes.text(0.5, 0.015, lines, ha="center", bbox=box, **name)
    curve = figure.add_axes((0.03, 0.075, 0.94, 0.265))
    frequency = fit.frequency_per_angst
    curve.plot(frequency, fit.radial_model, color="#e05a00", lw=0.8, label="model")
    curve.plot(frequency, np.clip(fit.radial_data, -0.3, 1.3), color="black", lw=0.8, label="data")
    curve.plot(frequency, fit.radial_correlation, color="#0072b2", lw=1.2, label="correlation")
    curve.axvline(mark, color="#e05a00", lw=0.9, ls="--")
    curve.set_xlim(frequency[0], frequency[-1])
    curve.set_ylim(-0.35, 1.35)
    curve.set_yticks([])
    ticks = [d for d in (20, 10, 7, 5, 4, 3.5, 3) if frequency[0] <= 1 / d <= frequency[-1]]
    curve.set_xticks([1 / d for d in ticks], [f"{d:g} A" for d in ticks], fontsize=7)
    curve.legend(loc="upper right", fontsize=6, ncols=3, framealpha=0.7)
    buffer = io.BytesIO()
    canvas.print_raw(buffer)
    width, height = canvas.get_width_height()
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(np.asarray(Image.fromarray(pixels[..., :3]))[::-1])
