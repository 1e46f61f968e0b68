"""CTF parameters of particles and the CTF on rings."""

from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.alignment.polar import PolarTransform
from cryosnake.ctf import ctf
from cryosnake.errors import BadInputError


@dataclass(frozen=True)
class Optics:
    """CTF parameters of N particles.

    Parameters
    ----------
    defocus_u_angst, defocus_v_angst, defocus_angle_deg : (N,), as in `cryosnake.ctf`.
    phase_shift_deg : (N,) or None.
    phase_flipped : the images were multiplied by the sign of their CTF.
    """

    defocus_u_angst: np.ndarray
    defocus_v_angst: np.ndarray
    defocus_angle_deg: np.ndarray
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float
    phase_shift_deg: np.ndarray | None = None
    phase_flipped: bool = False

    def __post_init__(self):
        number = len(self.defocus_u_angst)
        for name in ("defocus_u_angst", "defocus_v_angst", "defocus_angle_deg", "phase_shift_deg"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != number:
                raise BadInputError(None, f"{name} holds {len(values)} values", f"{number}")
            if not np.all(np.isfinite(np.asarray(values, float))):
                raise BadInputError(None, f"{name} is not finite everywhere", "numbers")

    def __len__(self) -> int:
        return len(self.defocus_u_angst)

    def on_rings(
        self, chosen: np.ndarray, transform: PolarTransform, pixel_size_angst: float
    ) -> torch.Tensor:
        """(H, R, B) CTF of some particles, positive at low frequency: particles are white."""

        def here(values):
            part = np.asarray(values)[chosen].astype(np.float32)
            return torch.from_numpy(part).to(transform.device)

        ky, kx = (part[..., None] / pixel_size_angst for part in transform.k_yx)
        shift = 0.0 if self.phase_shift_deg is None else here(self.phase_shift_deg)
        values = -ctf(
            ky,
            kx,
            defocus_u_angst=here(self.defocus_u_angst),
            defocus_v_angst=here(self.defocus_v_angst),
            defocus_angle_deg=here(self.defocus_angle_deg),
            voltage_kv=self.voltage_kv,
            cs_mm=self.cs_mm,
            amplitude_contrast=self.amplitude_contrast,
            phase_shift_deg=shift,
        )
        return values.abs() if self.phase_flipped else values
