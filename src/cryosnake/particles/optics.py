"""The contrast transfer function of single particles: defocus on a tilted plane, phase flipping."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.ctf import ctf, wavelength_angst
from cryosnake.fourier import frequencies


@dataclass(frozen=True)
class ParticleCtf:
    """CTF parameters of the particles of a micrograph.

    Attributes
    ----------
    defocus_u_angst, defocus_v_angst, defocus_angle_deg, phase_shift_deg : (N,) one a particle.
    voltage_kv, cs_mm, amplitude_contrast : of the microscope.
    """

    defocus_u_angst: np.ndarray
    defocus_v_angst: np.ndarray
    defocus_angle_deg: np.ndarray
    phase_shift_deg: np.ndarray
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float

    def subset(self, index: np.ndarray) -> "ParticleCtf":
        """The CTF of some of the particles."""
        return ParticleCtf(
            self.defocus_u_angst[index],
            self.defocus_v_angst[index],
            self.defocus_angle_deg[index],
            self.phase_shift_deg[index],
            self.voltage_kv,
            self.cs_mm,
            self.amplitude_contrast,
        )

    def known(self) -> bool:
        """Whether all values are numbers."""
        parts = (self.defocus_u_angst, self.defocus_v_angst, self.defocus_angle_deg)
        optics = (self.voltage_kv, self.cs_mm, self.amplitude_contrast)
        return bool(np.isfinite(optics).all() and all(np.isfinite(p).all() for p in parts))


def tilt_offset_angst(
    row: Mapping, centre_xy: np.ndarray, shape: tuple[int, int], pixel_size_angst: float
) -> np.ndarray:
    """Defocus at places of a micrograph, less that at its centre, from the fitted tilt.

    The defocus grows by tan(tilt) to the left of the tilt axis: along (-sin, cos) of
    `csnTiltAxis_deg` in (x, y). Zero where no tilt was fitted.

    Parameters
    ----------
    row : of the micrograph, with `csnTilt_deg` and `csnTiltAxis_deg` where they were fitted.
    centre_xy : (N, 2) in pixels.
    shape : (H, W) of the micrograph.
    """
    tilt = float(row.get("csnTilt_deg", math.nan))
    axis = math.radians(float(row.get("csnTiltAxis_deg", math.nan)))
    if not math.isfinite(tilt) or not math.isfinite(axis):
        return np.zeros(len(centre_xy))
    height, width = shape
    from_centre = (centre_xy - [(width - 1) / 2, (height - 1) / 2]) * pixel_size_angst
    return math.tan(math.radians(tilt)) * (from_centre @ [-math.sin(axis), math.cos(axis)])


def delocalisation_px(optics: ParticleCtf, pixel_size_angst: float, resolution_angst: float) -> int:
    """How far the CTF spreads a particle's signal: wavelength x defocus / resolution, in pixels
    (the spherical aberration, which acts against it, is left out)."""
    defocus = max(np.abs(optics.defocus_u_angst).max(), np.abs(optics.defocus_v_angst).max())
    spread = wavelength_angst(optics.voltage_kv) * float(defocus) / resolution_angst
    return math.ceil(spread / pixel_size_angst)


def phase_flipped(
    windows: torch.Tensor, optics: ParticleCtf, pixel_size_angst: float
) -> torch.Tensor:
    """Multiply the transforms of images (N, n, n) by the sign of their CTF.

    The sign is such that low frequencies keep theirs: dark particles stay dark.
    """
    side = windows.shape[-1]
    ky, kx = frequencies((side, side), pixel_size_angst, device=windows.device)
    values = np.stack(
        [
            optics.defocus_u_angst,
            optics.defocus_v_angst,
            optics.defocus_angle_deg,
            optics.phase_shift_deg,
        ]
    )
    if (values == values[:, :1]).all():  # no tilt: one CTF for all
        values = values[:, :1]
    u, v, angle, shift = (
        torch.as_tensor(row, dtype=torch.float32, device=windows.device)[:, None, None]
        for row in values
    )
    contrast = ctf(
        ky,
        kx,
        defocus_u_angst=u,
        defocus_v_angst=v,
        defocus_angle_deg=angle,
        voltage_kv=optics.voltage_kv,
        cs_mm=optics.cs_mm,
        amplitude_contrast=optics.amplitude_contrast,
        phase_shift_deg=shift,
    )
    sign = torch.where(contrast > 0, -1.0, 1.0)
    return torch.fft.irfft2(torch.fft.rfft2(windows) * sign, s=(side, side))
