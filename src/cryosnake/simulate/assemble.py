"""Putting a movie's specimen together from its conditions."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len

from cryosnake.fourier import frequencies
from cryosnake.simulate import ice
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.drift import LocalMotion, bad_drift, local_motion, whole_frame_drift
from cryosnake.simulate.exposure import Specimen
from cryosnake.simulate.potential import ice_phase_rad_per_angst, species_phase
from cryosnake.simulate.projection import Projector
from cryosnake.simulate.scenarios import Conditions
from cryosnake.simulate.specimen import (
    Particles,
    add_particles,
    carbon_film,
    contamination,
    crack_mask,
    place_particles,
    smooth_noise,
)


@lru_cache(maxsize=4)
def _projector(
    structure: str, pixel_size_angst: float, voltage_kv: float, cache: str | None
) -> Projector:
    volume = species_phase(
        structure,
        pixel_size_angst=pixel_size_angst,
        voltage_kv=voltage_kv,
        cache_dir=None if cache is None else Path(cache),
    )
    return Projector(volume)


def draw_motion(
    config: SimulationConfig, state: Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, LocalMotion | None]:
    """Whole-frame displacements (F, 2) in angstrom and the local motion on top."""
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


def assemble(
    config: SimulationConfig,
    state: Conditions,
    rng: np.random.Generator,
    generator: torch.Generator,
    tracks_angst: np.ndarray,
    local: LocalMotion | None,
    cache_dir: Path | None,
) -> tuple[Particles, Specimen]:
    """The particles in the field and the specimen, on a grid with the margin that motion needs."""
    px = config.pixel_size_angst
    margin = _margin_px(config, tracks_angst, local)
    padded = tuple(2 * next_fast_len(math.ceil((n + 2 * margin) / 2)) for n in config.shape)
    ky, kx = frequencies(padded, px)
    k = torch.sqrt(ky**2 + kx**2)
    phase, through, allowed = _fields(config, state, rng, generator, k, padded)
    particles, field_rad = _particles(config, state, rng, padded, margin, allowed, cache_dir)
    field_rad *= through
    ice_amplitude = None
    if state.ice_thickness_angst > 0:
        density = ice.amorphous_ice_density(
            k, thickness_angst=state.ice_thickness_angst, voltage_kv=config.voltage_kv
        )
        ice_amplitude = torch.sqrt(density) / px
    return particles, Specimen(
        padded=padded,
        margin_px=margin,
        particles=torch.fft.rfft2(field_rad),
        undamaged=torch.fft.rfft2(phase) if bool((phase != 0).any()) else None,
        absorption=torch.fft.rfft2(through - 1.0) if bool((through != 1).any()) else None,
        ice_amplitude=ice_amplitude,
    )


def _fields(
    config: SimulationConfig,
    state: Conditions,
    rng: np.random.Generator,
    generator: torch.Generator,
    k: torch.Tensor,
    padded: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is there besides particles and ice: phase in radians, relative transmission, and where
    particles can be, each on the padded grid."""
    px = config.pixel_size_angst
    phase = torch.zeros(padded)
    through = torch.ones(padded)
    allowed = torch.ones(padded, dtype=torch.bool)
    if state.film:
        film = carbon_film(
            rng, padded, generator, pixel_size_angst=px, voltage_kv=config.voltage_kv
        )
        phase += film.phase
        through *= 1.0 - film.cover * (1.0 - film.transmission)
        allowed &= film.cover < 0.5
    if state.crack:
        gap = crack_mask(rng, padded, generator, pixel_size_angst=px)
        thickness = state.ice_thickness_angst
        phase -= gap * ice_phase_rad_per_angst(config.voltage_kv) * thickness
        through *= 1.0 + gap * (1.0 / ice.transmission(thickness) - 1.0)
        allowed &= gap < 0.5
    if state.blobs:
        lumps = contamination(rng, padded, state.blobs, generator, pixel_size_angst=px)
        through *= lumps
        phase -= 0.3 * torch.log(lumps)
        allowed &= lumps > 0.8
    if state.texture:
        through *= 1.0 + state.texture * smooth_noise(padded, 60.0 / px, generator)
    if state.crystals:
        phase += ice.crystallites(
            rng,
            padded,
            pixel_size_angst=px,
            number=state.crystals,
            amplitude_rad=state.crystal_amplitude_rad,
        )
    if state.ring:
        total_dose = config.frames * config.dose_e_per_angst2_per_frame
        ring = ice.crystalline_ring_density(k, peak_rad2_angst2=state.ring / (4.0 * total_dose))
        noise = ice.white_spectrum(padded, generator) * (torch.sqrt(ring) / px)
        phase += torch.fft.irfft2(noise, s=padded)
    return phase, through, allowed


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
    around_px = margin + config.min_distance_angst / 2 / px
    area_um2 = (height + 2 * around_px) * (width + 2 * around_px) * px**2 * 1e-8
    expected = config.particles_per_um2 * state.particle_factor * area_um2
    number = int(rng.poisson(expected)) if expected else 0
    inner = allowed[margin : margin + height, margin : margin + width].numpy()
    everywhere = place_particles(
        rng,
        config.shape,
        number,
        min_distance_px=config.min_distance_angst / px,
        margin_px=around_px,
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
