"""Small simulated movies with known motion, for the tests and benchmarks of motion correction.

Random globular particles of atoms, phase contrast with a CTF, radiation damage, smooth global and
local motion, Poisson counts.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import map_coordinates, spline_filter

from cryosnake.ctf import ctf
from cryosnake.motion.dose import exposure_amplitudes

PHASE_PER_ATOM_RAD_ANGST2 = 0.08
SOLVENT_CONTRAST = 0.4  # what is left of the atoms' mean after the water that they replace


@dataclass(frozen=True)
class SimulatedMovie:
    """Frames (F, H, W) uint8, and displacement in pixels as a function of frame and place."""

    frames: np.ndarray
    whole: np.ndarray  # (F, 2) displacement (y, x)
    local: np.ndarray  # (5, 2) coefficients of x, x^2 - 1/12, y, y^2 - 1/12, x y at full time
    course: np.ndarray  # (F,) local motion's profile in time, 0 at frame 0
    pixel_size_angst: float
    voltage_kv: float
    dose_e_per_angst2_per_frame: float
    clean: np.ndarray  # (H, W) image without noise, damage and motion (place of frame 0)

    def displacement(self, y, x) -> np.ndarray:
        """(F, ..., 2) at positions in pixels."""
        height, width = self.frames.shape[1:]
        y = np.asarray(y, float) / height - 0.5
        x = np.asarray(x, float) / width - 0.5
        terms = np.stack(np.broadcast_arrays(x, x * x - 1 / 12, y, y * y - 1 / 12, x * y), axis=-1)
        field = terms @ self.local
        extra = (1,) * (field.ndim - 1)
        return self.whole.reshape(-1, *extra, 2) + self.course.reshape(-1, *extra, 1) * field

    def true_shifts(self, y, x) -> np.ndarray:
        """(F, ..., 2) shifts (minus displacement) against frame 0 at positions in pixels."""
        displacement = self.displacement(y, x)
        return displacement[:1] - displacement


def drift_path(frames: int, rng, *, amplitude_px=8.0, jitter_px=0.12) -> np.ndarray:
    """(F, 2) displacement: fast at first, then slower, with a little random walk."""
    t = np.arange(frames) / max(1, frames - 1)
    course = 0.6 * (1 - np.exp(-6 * t)) + 0.4 * t
    angle = rng.uniform(0, 2 * math.pi)
    path = amplitude_px * course[:, None] * np.array([math.sin(angle), math.cos(angle)])
    walk = np.cumsum(rng.normal(0, jitter_px, (frames, 2)), axis=0)
    path = path + walk
    return path - path[0]


def specimen_phase(shape, pixel_size_angst, rng, *, particles_per_um2=5000.0, atoms=20000):
    """(H, W) phase shift in radian of globular particles of point atoms."""
    height, width = shape
    area_um2 = height * width * (pixel_size_angst * 1e-4) ** 2
    count = max(1, round(particles_per_um2 * area_um2))
    radius = 55.0 / pixel_size_angst
    image = np.zeros(shape)
    for centre in rng.uniform((0, 0), shape, (count, 2)):
        # Eight lobes give a particle structure at all resolutions, as domains do.
        lobes = rng.normal(0, radius / 2, (8, 2))
        place = lobes[rng.integers(0, 8, atoms)] + rng.normal(0, radius / 4, (atoms, 2))
        y, x = np.rint(centre + place).astype(int).T
        np.add.at(image, (y % height, x % width), 1.0)
    image *= PHASE_PER_ATOM_RAD_ANGST2 / pixel_size_angst**2
    transform = np.fft.rfft2(image)
    ky = np.fft.fftfreq(height, pixel_size_angst)[:, None]
    kx = np.fft.rfftfreq(width, pixel_size_angst)[None]
    k2 = ky**2 + kx**2
    solvent = (1 - SOLVENT_CONTRAST) * np.exp(-k2 * 15.0**2)
    return np.fft.irfft2(transform * (1 - solvent) * np.exp(-80.0 * k2 / 4), s=shape)


def simulate_movie(
    shape=(512, 512),
    frames=20,
    *,
    dose=1.0,
    pixel_size_angst=1.0,
    voltage_kv=300.0,
    drift_px=8.0,
    local_px=2.0,
    defocus_angst=15000.0,
    seed=1,
    gain=None,
    contrast=1.0,
    whole=None,
) -> SimulatedMovie:
    """Simulate a movie; `local_px` is the typical local displacement at the edges."""
    rng = np.random.default_rng(seed)
    phase = specimen_phase(shape, pixel_size_angst, rng) * contrast
    ky = np.fft.fftfreq(shape[0], pixel_size_angst)[:, None]
    kx = np.fft.rfftfreq(shape[1], pixel_size_angst)[None]
    transfer = ctf(
        torch.as_tensor(ky),
        torch.as_tensor(kx),
        defocus_u_angst=defocus_angst,
        defocus_v_angst=defocus_angst - 300,
        defocus_angle_deg=30.0,
        voltage_kv=voltage_kv,
        cs_mm=2.7,
        amplitude_contrast=0.1,
    ).numpy()
    transform = np.fft.rfft2(phase) * 2 * transfer
    if whole is None:
        whole = drift_path(frames, rng, amplitude_px=drift_px)
    t = np.arange(frames) / max(1, frames - 1)
    course = 0.5 * (1 - np.exp(-4 * t)) / (1 - math.exp(-4)) + 0.5 * t
    local = rng.normal(0, 1, (5, 2)) * np.array([1, 2, 1, 2, 2])[:, None] * local_px
    radius = np.hypot(ky, kx)
    clean = np.fft.irfft2(transform, s=shape)
    movie = SimulatedMovie(
        np.zeros((frames, *shape), np.uint8), whole, local, course,
        pixel_size_angst, voltage_kv, dose, clean,
    )  # fmt: skip
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    step = 16
    for f in range(frames):
        table = np.linspace(0, radius.max(), 1000)
        damage = exposure_amplitudes(table, np.array([dose * (f + 0.5)]), voltage_kv)[0]
        image = np.fft.irfft2(transform * np.interp(radius, table, damage), s=shape)
        coarse_y, coarse_x = y[::step, ::step], x[::step, ::step]
        moved = movie.displacement(coarse_y, coarse_x)[f]
        fine = [
            map_coordinates(moved[..., a], [y / step, x / step], order=1, mode="nearest")
            for a in (0, 1)
        ]
        image = map_coordinates(
            spline_filter(image, 5, mode="grid-wrap"),
            [y - fine[0], x - fine[1]],
            order=5,
            mode="grid-wrap",
            prefilter=False,
        )
        expected = np.maximum(1 + image, 0.0) * dose * pixel_size_angst**2
        if gain is not None:
            expected = expected / gain
        movie.frames[f] = np.minimum(rng.poisson(expected), 255)
    return movie


def rms_errors(movie: SimulatedMovie, estimate, points=7) -> tuple[float, float]:
    """RMS per axis in pixels of (whole-frame shifts, shifts at a grid of places).

    Parameters
    ----------
    estimate : callable (y, x) -> (F, n, 2) shifts; the whole-frame shift is its mean over places.

    Notes
    -----
    The mean over frames is taken off each track first: a displacement that all frames share moves
    the sum and blurs nothing.
    """
    height, width = movie.frames.shape[1:]
    edges = (np.arange(points) + 0.5) / points
    y, x = (v.ravel() for v in np.meshgrid(edges * height, edges * width, indexing="ij"))
    error = estimate(y, x) - movie.true_shifts(y, x)
    whole = error.mean(axis=1)
    whole = whole - whole.mean(axis=0)
    error = error - error.mean(axis=0)
    return float(np.sqrt((whole**2).mean())), float(np.sqrt((error**2).mean()))
