"""One movie: specimen, microscope and detector put together, frame by frame.

    specimen = particles x damage + film + crystals         (static but for the damage)
    frame    = 1 + IFFT[ 2 CTF E specimen + 2 CTF' E ice ]   moved by drift and local motion
    counts   = Poisson(dose pixel^2 transmission beam sensitivity frame)

E is the envelope and the pixel's aperture; CTF' is the transfer of a slab of the ice's thickness.
The ice is noise that the beam stirs (`ice.brownian_correlation`). Fields are computed with a margin
that the motion needs and cut, so that nothing wraps around.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len

from cryosnake.ctf import ctf, phase_aberration_rad, wavelength_angst
from cryosnake.fourier import frequencies
from cryosnake.simulate import ice
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.detector import gain_reference, pixel_sensitivity, poisson_counts
from cryosnake.simulate.drift import LocalMotion, bad_drift, local_motion, whole_frame_drift
from cryosnake.simulate.potential import ice_phase_rad_per_angst, species_phase
from cryosnake.simulate.projection import Projector
from cryosnake.simulate.scenarios import Conditions, conditions
from cryosnake.simulate.specimen import (
    Particles,
    add_particles,
    carbon_film,
    contamination,
    crack_mask,
    crystallites,
    place_particles,
)
from cryosnake.simulate.truth import MovieTruth
from cryosnake.simulate.warp import bspline_prefilter, sample_bspline

_PLANE_STEP_ANGST = 150.0  # of defocus, between the planes that a tilted field is blended from
_ROWS_AT_ONCE_PX = 1 << 19


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, so that sums and transforms do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def critical_exposure_e_per_angst2(
    frequency_per_angst: torch.Tensor, voltage_kv: float
) -> torch.Tensor:
    """Exposure at which a component has lost the factor e in power (Grant and Grigorieff 2015,
    eLife 4, equation 3), at 300 kV; 0.8 of it at 200 kV, in between linearly."""
    scale = 0.8 + 0.2 * min(max((voltage_kv - 200.0) / 100.0, 0.0), 1.0)
    k = frequency_per_angst.clamp_min(1e-4)
    return scale * (0.24499 * k**-1.6649 + 2.8141)


@lru_cache(maxsize=4)
def _projector(structure: str, pixel_size_angst: float, voltage_kv: float, cache: str | None):
    volume = species_phase(
        structure,
        pixel_size_angst=pixel_size_angst,
        voltage_kv=voltage_kv,
        cache_dir=None if cache is None else Path(cache),
    )
    return Projector(volume)


@dataclass(frozen=True)
class Detector:
    """The camera of a session: sensitivity (H, W), gain (H, W; multiplicative, row 0 bottom), hot
    pixels (K, 2) as (y, x) and their extra counts per frame (K,)."""

    sensitivity: np.ndarray
    gain: np.ndarray
    hot_yx: np.ndarray
    hot_counts: np.ndarray


@lru_cache(maxsize=2)
def _detector(
    seed: int, shape: tuple[int, int], rms: float, dead: int, hot: int, dose_counts: float
) -> Detector:
    rng = np.random.default_rng([seed, 202])
    sensitivity = pixel_sensitivity(rng, shape, rms=rms, dead_columns=dead)
    return Detector(
        sensitivity=sensitivity,
        gain=gain_reference(sensitivity),
        hot_yx=np.stack([rng.integers(0, shape[0], hot), rng.integers(0, shape[1], hot)], 1),
        hot_counts=dose_counts * rng.uniform(8, 40, hot),
    )


def session_detector(config: SimulationConfig) -> Detector:
    """The camera: it depends on the seed and the shape, not on the movie."""
    counts = config.dose_e_per_angst2_per_frame * config.pixel_size_angst**2
    return _detector(
        config.seed,
        config.shape,
        config.gain_rms,
        config.dead_columns,
        config.hot_pixels,
        counts,
    )


@dataclass
class SimulatedMovie:
    """A movie that has not been exposed yet: `frames()` gives it, the same one every time.

    Attributes
    ----------
    config, truth, detector : what it is made from.
    dtype : type of the frames: uint8, or uint16 where counts may exceed 255.
    """

    config: SimulationConfig
    truth: MovieTruth
    detector: Detector
    _padded: tuple[int, int]
    _margin: int
    _specimen: "_Specimen" = field(repr=False)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.truth.mean_counts < 12 else np.uint16)

    @property
    def gain(self) -> np.ndarray:
        """Gain reference (H, W), multiplicative, row 0 bottom, 0 at dead pixels."""
        return self.detector.gain

    def particle_phase(self) -> np.ndarray:
        """Phase of the particles alone in radians, (H, W), undamaged, in the first frame: the
        clean micrograph, before the CTF."""
        with one_thread():
            full = torch.fft.irfft2(self._specimen.particles, s=self._padded)
        return self._cut(full).numpy()

    def expected_frames(self) -> Iterator[torch.Tensor]:
        """Expected relative intensity of each frame, (H, W) float32, mean about 1: what counts
        would follow without the detector and without noise."""
        generator = torch.Generator().manual_seed(_bulk_seed(self.config, self.truth.index, 2))
        with one_thread():
            state = _Exposure(self, generator)
        for index in range(self.config.frames):
            with one_thread():
                frame = state.frame(index)
            yield frame

    def frames(self) -> Iterator[np.ndarray]:
        """Raw frames (H, W) of `dtype`, row 0 bottom, before gain correction."""
        config = self.config
        generator = torch.Generator().manual_seed(_bulk_seed(config, self.truth.index, 3))
        height, width = config.shape
        slope = config.illumination_gradient
        beam = 1.0 + slope * (
            torch.linspace(0.5, -0.5, height)[:, None] + torch.linspace(0.5, -0.5, width)[None, :]
        )
        rate = self.truth.mean_counts * beam * torch.from_numpy(self.detector.sensitivity)
        hot_y, hot_x = self.detector.hot_yx.T
        hot = torch.from_numpy(self.detector.hot_counts).float() * self.truth.conditions.dose_factor
        highest = np.iinfo(self.dtype).max
        for expected in self.expected_frames():
            with one_thread():
                mean = expected.mul_(rate)
                mean[hot_y, hot_x] += hot
                counts = poisson_counts(mean, generator).clamp_(max=highest)
                frame = counts.numpy().astype(self.dtype)
            yield frame

    def _cut(self, full: torch.Tensor) -> torch.Tensor:
        m = self._margin
        return full[m : m + self.config.height_px, m : m + self.config.width_px]


@dataclass
class _Specimen:
    """Half-plane transforms on the padded grid: what the beam damages, what it does not, and the
    relative change of transmission (no CTF); the ice's spectral amplitude."""

    particles: torch.Tensor
    undamaged: torch.Tensor | None
    absorption: torch.Tensor | None
    ice_amplitude: torch.Tensor | None


def _bulk_seed(config: SimulationConfig, index: int, stream: int) -> int:
    return int(np.random.SeedSequence([config.seed, index, stream]).generate_state(1)[0])


def simulate_movie(
    config: SimulationConfig,
    index: int,
    *,
    scenario: str = "good",
    name: str | None = None,
    cache_dir: Path | None = None,
) -> SimulatedMovie:
    """The movie of number `index` (from 0); it depends on config, index and scenario only.

    Parameters
    ----------
    scenario : see `cryosnake.simulate.config.SCENARIOS`.
    name : name in the truth; `movie_00001` for index 0 unless given.
    cache_dir : folder that keeps the potential of the structures, else computed once a process.
    """
    rng = np.random.default_rng([config.seed, index, 1])
    state = conditions(config, scenario, index, rng)
    tracks, local = _motion(config, state, rng)
    truth_particles, specimen, padded, margin = _build(
        config, state, index, rng, tracks, local, cache_dir
    )
    counts = (
        config.dose_e_per_angst2_per_frame
        * state.dose_factor
        * config.pixel_size_angst**2
        * ice.transmission(state.ice_thickness_angst)
    )
    truth = MovieTruth(
        index=index,
        name=name or f"movie_{index + 1:05d}",
        conditions=state,
        particles=truth_particles,
        displacement_px=tracks / config.pixel_size_angst,
        local=local,
        pixel_size_angst=config.pixel_size_angst,
        voltage_kv=config.voltage_kv,
        cs_mm=config.cs_mm,
        amplitude_contrast=config.amplitude_contrast,
        dose_e_per_angst2_per_frame=config.dose_e_per_angst2_per_frame * state.dose_factor,
        mean_counts=counts,
        tilt_deg=config.tilt_deg,
        tilt_axis_deg=config.tilt_axis_deg,
    )
    return SimulatedMovie(config, truth, session_detector(config), padded, margin, specimen)


def _motion(
    config: SimulationConfig, state: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, LocalMotion | None]:
    dose = config.dose_e_per_angst2_per_frame * state.dose_factor
    direction = np.random.default_rng([config.seed, 303]).uniform(0, 2 * np.pi)
    if state.bad_drift:
        tracks = bad_drift(rng, config.frames, dose_e_per_angst2_per_frame=dose)
    else:
        tracks = whole_frame_drift(
            rng,
            config.frames,
            dose_e_per_angst2_per_frame=dose,
            direction_rad=direction,
            scale=config.drift_scale * (2.0 if state.crack else 1.0),
        )
    corner = config.local_motion_angst * (3.0 if state.crack else 1.0)
    if corner == 0:
        return tracks, None
    return tracks, local_motion(
        rng,
        config.frames,
        config.shape,
        dose_e_per_angst2_per_frame=dose,
        corner_rms_angst=corner,
    )


def _margin_px(config: SimulationConfig, tracks: np.ndarray, local: LocalMotion | None) -> int:
    reach = np.abs(tracks).max()
    if local is not None:
        ends = np.array([0, config.height_px - 1]), np.array([0, config.width_px - 1])
        corners = local.displacement_angst(len(tracks) - 1, ends[0][:, None], ends[1][None, :])
        reach += 2.0 * np.abs(corners).max()
    return math.ceil(reach / config.pixel_size_angst) + 8


def _build(
    config: SimulationConfig,
    state: Conditions,
    index: int,
    rng: np.random.Generator,
    tracks: np.ndarray,
    local: LocalMotion | None,
    cache_dir: Path | None,
) -> tuple[Particles, _Specimen, tuple[int, int], int]:
    px = config.pixel_size_angst
    margin = _margin_px(config, tracks, local)
    padded = tuple(2 * next_fast_len(math.ceil((n + 2 * margin) / 2)) for n in config.shape)
    generator = torch.Generator().manual_seed(_bulk_seed(config, index, 1))
    with one_thread():
        phase = torch.zeros(padded)
        through = torch.ones(padded)
        allowed = torch.ones(padded, dtype=torch.bool)
        static = False
        if state.film:
            film = carbon_film(
                rng, padded, generator, pixel_size_angst=px, voltage_kv=config.voltage_kv
            )
            phase += film.phase
            through *= 1.0 - film.cover * (1.0 - film.transmission)
            allowed &= film.cover < 0.5
            static = True
        if state.crack:
            gap = crack_mask(rng, padded, generator, pixel_size_angst=px)
            thickness = state.ice_thickness_angst
            phase -= gap * ice_phase_rad_per_angst(config.voltage_kv) * thickness
            through *= 1.0 + gap * (1.0 / ice.transmission(thickness) - 1.0)
            allowed &= gap < 0.5
            static = True
        if state.blobs:
            lumps = contamination(rng, padded, state.blobs, generator, pixel_size_angst=px)
            through *= lumps
            phase -= 0.3 * torch.log(lumps)
            allowed &= lumps > 0.8
            static = True
        if state.crystals or state.ring:
            phase += crystallites(
                rng,
                padded,
                pixel_size_angst=px,
                number=state.crystals,
                amplitude_rad=state.crystal_amplitude_rad,
            )
            static = True
        ky, kx = frequencies(padded, px)
        k = torch.sqrt(ky**2 + kx**2)
        if state.ring:
            total_dose = config.frames * config.dose_e_per_angst2_per_frame
            ring = ice.crystalline_ring_density(k, peak_rad2_angst2=state.ring / (4.0 * total_dose))
            noise = ice.white_spectrum(padded, generator) * (torch.sqrt(ring) / px)
            phase += torch.fft.irfft2(noise, s=padded)
        particles, field_rad = _particles(config, state, rng, padded, margin, allowed, cache_dir)
        field_rad *= through
        ice_amplitude = None
        if state.ice_thickness_angst > 0:
            ice_amplitude = (
                torch.sqrt(
                    ice.amorphous_ice_density(
                        k, thickness_angst=state.ice_thickness_angst, voltage_kv=config.voltage_kv
                    )
                )
                / px
            )
        specimen = _Specimen(
            particles=torch.fft.rfft2(field_rad),
            undamaged=torch.fft.rfft2(phase) if static else None,
            absorption=torch.fft.rfft2(through - 1.0) if bool((through != 1).any()) else None,
            ice_amplitude=ice_amplitude,
        )
    return particles, specimen, padded, margin


def _particles(
    config: SimulationConfig,
    state: Conditions,
    rng: np.random.Generator,
    padded: tuple[int, int],
    margin: int,
    allowed: torch.Tensor,
    cache_dir: Path | None,
) -> tuple[Particles, torch.Tensor]:
    """Place and project; particles whose centre is outside of the field are drawn, not listed."""
    px = config.pixel_size_angst
    height, width = config.shape
    field_rad = torch.zeros(padded)
    area_um2 = padded[0] * padded[1] * px**2 * 1e-8
    expected = config.particles_per_um2 * state.particle_factor * area_um2
    number = int(rng.poisson(expected)) if expected else 0
    inner = allowed[margin : margin + height, margin : margin + width].numpy()
    everywhere = place_particles(
        rng,
        config.shape,
        number,
        min_distance_px=config.min_distance_angst / px,
        margin_px=margin,
        weights=[s.weight for s in config.species],
        views=config.views,
        stage_tilt_deg=config.tilt_deg,
        tilt_axis_deg=config.tilt_axis_deg,
        allowed=inner,
        clumps=max(1, number // 15) if state.aggregated and number else 0,
    )
    if len(everywhere):
        projectors = [
            _projector(
                s.structure, px, config.voltage_kv, None if cache_dir is None else str(cache_dir)
            )
            for s in config.species
        ]
        add_particles(field_rad, everywhere, projectors, offset_px=margin)
        field_rad *= config.contrast_scale
    y, x = everywhere.y_px, everywhere.x_px
    seen = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    listed = Particles(
        **{name: getattr(everywhere, name)[seen] for name in Particles.__dataclass_fields__}
    )
    return listed, field_rad


class _Exposure:
    """The state of the specimen while the frames are taken, in order."""

    def __init__(self, movie: SimulatedMovie, generator: torch.Generator):
        config, truth = movie.config, movie.truth
        self.movie, self.generator = movie, generator
        self.specimen = movie._specimen
        self.px = config.pixel_size_angst
        self.cycles_y, self.cycles_x = frequencies(movie._padded)
        ky, kx = self.cycles_y / self.px, self.cycles_x / self.px
        k = torch.sqrt(ky**2 + kx**2)
        self.dose = truth.dose_e_per_angst2_per_frame
        self.decay = torch.exp(
            -0.5 * self.dose / critical_exposure_e_per_angst2(k, config.voltage_kv)
        )
        self.signal = self.specimen.particles * torch.sqrt(self.decay)  # middle of frame 0
        self.planes = list(_planes(movie, ky, kx, k))
        self.ice = None
        if self.specimen.ice_amplitude is not None:
            amplitude = self.specimen.ice_amplitude
            self.keep = ice.brownian_correlation(
                k, config.ice_motion_angst2_per_e_per_angst2 * self.dose
            )
            self.renew = torch.sqrt((1.0 - self.keep**2).clamp_min(0.0)) * amplitude
            self.ice = ice.white_spectrum(movie._padded, generator) * amplitude

    def frame(self, index: int) -> torch.Tensor:
        """Relative intensity (H, W) of frame `index`; call in order from 0."""
        if index:
            self.signal *= self.decay
            if self.ice is not None:
                self.ice *= self.keep
                self.ice += ice.white_spectrum(self.movie._padded, self.generator) * self.renew
        displacement = self.movie.truth.displacement_px
        ramp = self._ramp(displacement, index)
        total = None
        for transfer, ice_transfer, weight in self.planes:
            spectrum = self.signal * transfer
            if self.specimen.undamaged is not None:
                spectrum += self.specimen.undamaged * transfer
            if self.ice is not None:
                spectrum += self.ice * ice_transfer
            if self.specimen.absorption is not None:
                spectrum += self.specimen.absorption
            spectrum *= ramp[0]
            spectrum *= ramp[1]
            image = torch.fft.irfft2(spectrum, s=self.movie._padded)
            if weight is not None:
                image *= weight
            total = image if total is None else total + image
        return self._sampled(total, index).add_(1.0).clamp_(min=0.01)

    def _ramp(self, displacement_px: np.ndarray, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole-frame shift, the blur of moving during the frame, and the spline's filter, as
        factors along y and x. The blur is that of each axis, exact for motion along one."""
        nearest = slice(max(index - 1, 0), index + 2)
        window = displacement_px[nearest]
        speed = (window[-1] - window[0]) / max(len(window) - 1, 1)
        factors = []
        for axis, cycles in enumerate((self.cycles_y, self.cycles_x)):
            angle = -2.0 * math.pi * cycles * float(displacement_px[index, axis])
            size = torch.sinc(cycles * float(speed[axis]))
            if self.movie.truth.local is not None:
                size = size * bspline_prefilter(cycles)
            factors.append(torch.polar(torch.ones_like(angle), angle) * size)
        return factors[0], factors[1]

    def _sampled(self, image: torch.Tensor, index: int) -> torch.Tensor:
        movie = self.movie
        local = movie.truth.local
        if local is None:
            return movie._cut(image).clone()
        height, width = movie.config.shape
        result = torch.empty(height, width)
        rows = max(1, _ROWS_AT_ONCE_PX // width)
        x = torch.arange(width, dtype=torch.float32)[None, :]
        u = (x + 0.5) / width - 0.5
        scale = float(local.saturation[index]) / self.px
        c = (local.coefficients_angst * scale).tolist()
        for top in range(0, height, rows):
            y = torch.arange(top, min(top + rows, height), dtype=torch.float32)[:, None]
            v = (y + 0.5) / height - 0.5
            move = [
                a[0] * v + a[2] * (v * v - 1 / 12) + (a[1] + a[3] * v) * u + a[4] * (u * u - 1 / 12)
                for a in c
            ]
            result[top : top + rows] = sample_bspline(
                image, y + movie._margin - move[0], x + movie._margin - move[1]
            )
        return result


def _planes(movie: SimulatedMovie, ky: torch.Tensor, kx: torch.Tensor, k: torch.Tensor):
    """(2 CTF E, 2 CTF' E, weight or None) of each plane of defocus; one plane without tilt."""
    config, state = movie.config, movie.truth.conditions
    envelope = 2.0 * torch.exp(-0.25 * config.envelope_bfactor_angst2 * k**2)
    envelope *= torch.sinc(ky * config.pixel_size_angst) * torch.sinc(kx * config.pixel_size_angst)
    slab = torch.sinc(wavelength_angst(config.voltage_kv) * k**2 * float(state.ice_thickness_angst))
    for offset_angst, weight in _defocus_planes(movie):
        optics = {
            "defocus_u_angst": state.defocus_u_angst + offset_angst,
            "defocus_v_angst": state.defocus_v_angst + offset_angst,
            "defocus_angle_deg": state.defocus_angle_deg,
            "voltage_kv": config.voltage_kv,
            "cs_mm": config.cs_mm,
        }
        transfer = ctf(ky, kx, amplitude_contrast=config.amplitude_contrast, **optics)
        chi = phase_aberration_rad(ky, kx, **optics) + math.asin(config.amplitude_contrast)
        # Mean power of the CTF over the slab (Elferich 2024, eLife 13; Tichelaar 2020).
        ice_transfer = torch.sqrt((0.5 * (1.0 - slab * torch.cos(2.0 * chi))).clamp_min(0.0))
        yield transfer * envelope, ice_transfer * envelope, weight


def _defocus_planes(movie: SimulatedMovie):
    """Offsets of defocus and the weight (padded field) with which each plane is blended in."""
    config = movie.config
    if config.tilt_deg == 0:
        yield 0.0, None
        return
    height, width = movie._padded
    y = torch.arange(height)[:, None] - movie._margin - (config.height_px - 1) / 2
    x = torch.arange(width)[None, :] - movie._margin - (config.width_px - 1) / 2
    axis = math.radians(config.tilt_axis_deg)
    across_angst = (y * math.cos(axis) - x * math.sin(axis)) * config.pixel_size_angst
    offset_angst = across_angst * math.tan(math.radians(config.tilt_deg))
    reach = math.ceil(float(offset_angst.abs().max()) / _PLANE_STEP_ANGST)
    for plane in range(-reach, reach + 1):
        position = offset_angst / _PLANE_STEP_ANGST - plane
        yield plane * _PLANE_STEP_ANGST, (1.0 - position.abs()).clamp_min(0.0)
