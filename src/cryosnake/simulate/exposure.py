"""Exposing a specimen, frame by frame: CTF, damage, the beam's stirring of the ice, and motion."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cryosnake.ctf import ctf, phase_aberration_rad, wavelength_angst
from cryosnake.fourier import frequencies
from cryosnake.simulate import ice
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.drift import LocalMotion
from cryosnake.simulate.scenarios import Conditions
from cryosnake.simulate.warp import bspline_prefilter, sample_bspline

_PLANE_STEP_ANGST = 150.0  # of defocus, between the planes that a tilted field is blended from
_PIXELS_AT_ONCE = 1 << 16  # stays in cache


def critical_exposure_e_per_angst2(
    frequency_per_angst: torch.Tensor, voltage_kv: float
) -> torch.Tensor:
    """Exposure at which a component has lost the factor e in power (Grant and Grigorieff 2015,
    eLife 4, equation 3), at 300 kV; 0.8 of it at 200 kV, in between linearly."""
    scale = 0.8 + 0.2 * min(max((voltage_kv - 200.0) / 100.0, 0.0), 1.0)
    k = frequency_per_angst.clamp_min(1e-4)
    return scale * (0.24499 * k**-1.6649 + 2.8141)


@dataclass(frozen=True)
class Specimen:
    """What is in the beam, on the padded grid, as half-plane transforms.

    Parameters
    ----------
    padded : (H, W) of the grid; margin_px : the micrograph's pixel (0, 0) is (margin, margin).
    particles : phase that the beam damages; undamaged : phase that it does not (film, crystals).
    absorption : relative change of transmission, not subject to the CTF.
    ice_amplitude : spectral amplitude of the ice's phase, for white noise of unit variance.
    """

    padded: tuple[int, int]
    margin_px: int
    particles: torch.Tensor
    undamaged: torch.Tensor | None
    absorption: torch.Tensor | None
    ice_amplitude: torch.Tensor | None

    def cut(self, full: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """The micrograph's part (a view) of a padded field."""
        m = self.margin_px
        return full[m : m + shape[0], m : m + shape[1]]


class Exposure:
    """The state of the specimen while the frames are taken, in order."""

    def __init__(
        self,
        config: SimulationConfig,
        state: Conditions,
        specimen: Specimen,
        displacement_px,
        local: LocalMotion | None,
        generator: torch.Generator,
    ):
        self.config, self.specimen, self.generator = config, specimen, generator
        self.displacement_px, self.local = displacement_px, local
        self.px = config.pixel_size_angst
        self.cycles_y, self.cycles_x = frequencies(specimen.padded)
        ky, kx = self.cycles_y / self.px, self.cycles_x / self.px
        k = torch.sqrt(ky**2 + kx**2)
        self.dose = config.dose_e_per_angst2_per_frame * state.dose_factor
        self.decay = torch.exp(
            -0.5 * self.dose / critical_exposure_e_per_angst2(k, config.voltage_kv)
        )
        self.signal = self.specimen.particles * torch.sqrt(self.decay)  # middle of frame 0
        self.planes = list(_planes(config, state, specimen, ky, kx, k))
        self.ice = None
        if self.specimen.ice_amplitude is not None:
            amplitude = self.specimen.ice_amplitude
            self.keep = ice.brownian_correlation(
                k, config.ice_motion_angst2_per_e_per_angst2 * self.dose
            )
            self.renew = torch.sqrt((1.0 - self.keep**2).clamp_min(0.0)) * amplitude
            self.ice = ice.white_spectrum(specimen.padded, generator) * amplitude

    def frame(self, index: int) -> torch.Tensor:
        """Relative intensity (H, W) of frame `index`; call in order from 0."""
        if index:
            self.signal *= self.decay
            if self.ice is not None:
                self.ice *= self.keep
                self.ice += ice.white_spectrum(self.specimen.padded, self.generator) * self.renew
        ramp = self._ramp(index)
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
            image = torch.fft.irfft2(spectrum, s=self.specimen.padded)
            if weight is not None:
                image *= weight
            total = image if total is None else total + image
        return self._sampled(total, index).add_(1.0).clamp_(min=0.01)

    def _ramp(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole-frame shift, the blur of moving during the frame, and the spline's filter, as
        factors along y and x. The blur is that of each axis, exact for motion along one."""
        nearest = slice(max(index - 1, 0), index + 2)
        window = self.displacement_px[nearest]
        speed = (window[-1] - window[0]) / max(len(window) - 1, 1)
        factors = []
        for axis, cycles in enumerate((self.cycles_y, self.cycles_x)):
            angle = -2.0 * math.pi * cycles * float(self.displacement_px[index, axis])
            size = torch.sinc(cycles * float(speed[axis]))
            if self.local is not None:
                size = size * bspline_prefilter(cycles)
            factors.append(torch.polar(torch.ones_like(angle), angle) * size)
        return factors[0], factors[1]

    def _sampled(self, image: torch.Tensor, index: int) -> torch.Tensor:
        local, margin = self.local, self.specimen.margin_px
        if local is None:
            return self.specimen.cut(image, self.config.shape).clone()
        height, width = self.config.shape
        result = torch.empty(height, width)
        rows = max(1, _PIXELS_AT_ONCE // width)
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
                image, y + margin - move[0], x + margin - move[1]
            )
        return result


def _planes(
    config: SimulationConfig,
    state: Conditions,
    specimen: Specimen,
    ky: torch.Tensor,
    kx: torch.Tensor,
    k: torch.Tensor,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """(2 CTF E, 2 CTF' E, weight or None) of each plane of defocus; one plane without tilt."""
    envelope = 2.0 * torch.exp(-0.25 * config.envelope_bfactor_angst2 * k**2)
    envelope *= torch.sinc(ky * config.pixel_size_angst) * torch.sinc(kx * config.pixel_size_angst)
    slab = torch.sinc(wavelength_angst(config.voltage_kv) * k**2 * float(state.ice_thickness_angst))
    for offset_angst, weight in _defocus_planes(config, specimen):
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


def _defocus_planes(
    config: SimulationConfig, specimen: Specimen
) -> Iterator[tuple[float, torch.Tensor | None]]:
    """Offsets of defocus and the weight (padded field) with which each plane is blended in."""
    if config.tilt_deg == 0:
        yield 0.0, None
        return
    height, width = specimen.padded
    y = torch.arange(height)[:, None] - specimen.margin_px - (config.height_px - 1) / 2
    x = torch.arange(width)[None, :] - specimen.margin_px - (config.width_px - 1) / 2
    axis = math.radians(config.tilt_axis_deg)
    across_angst = (y * math.cos(axis) - x * math.sin(axis)) * config.pixel_size_angst
    offset_angst = across_angst * math.tan(math.radians(config.tilt_deg))
    reach = math.ceil(float(offset_angst.abs().max()) / _PLANE_STEP_ANGST)
    for plane in range(-reach, reach + 1):
        position = offset_angst / _PLANE_STEP_ANGST - plane
        yield plane * _PLANE_STEP_ANGST, (1.0 - position.abs()).clamp_min(0.0)
