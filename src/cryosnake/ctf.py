"""The contrast transfer function: formulas shared by the fit, the simulator and all that follows.

Units are angstrom, degrees, kilovolt and millimetre as the names say; defocus is positive for
underfocus; the astigmatism angle runs from the x-axis (columns) to the direction of DefocusU.
"""

import math

import torch


def wavelength_angst(voltage_kv: float) -> float:
    """Relativistic electron wavelength in angstrom (Kirkland 2010, Advanced Computing in Electron
    Microscopy, equation 2.5)."""
    volt = voltage_kv * 1e3
    return 12.2642596588 / math.sqrt(volt * (1.0 + 0.978466e-6 * volt))


def phase_aberration_rad(
    frequency_y_per_angst: torch.Tensor,
    frequency_x_per_angst: torch.Tensor,
    *,
    defocus_u_angst,
    defocus_v_angst,
    defocus_angle_deg,
    voltage_kv: float,
    cs_mm: float,
    phase_shift_deg=0.0,
) -> torch.Tensor:
    """The phase aberration chi in radians (Rohou and Grigorieff 2015, J Struct Biol 192, equations
    3 and 5, without the amplitude-contrast term), with an added phase-plate shift.

    chi(k) = pi lambda k^2 (dz(theta) - lambda^2 k^2 Cs / 2) + shift, where dz(theta) =
    (U + V + (U - V) cos(2 (theta - angle))) / 2. The CTF is -sin(chi + asin(amplitude contrast)).
    Parameters may be numbers or tensors that broadcast against the frequencies.
    """
    wavelength = wavelength_angst(voltage_kv)
    squared = frequency_x_per_angst**2 + frequency_y_per_angst**2
    theta = torch.atan2(frequency_y_per_angst, frequency_x_per_angst)
    angle = torch.deg2rad(
        torch.as_tensor(defocus_angle_deg, dtype=squared.dtype, device=squared.device)
    )
    defocus = 0.5 * (
        defocus_u_angst
        + defocus_v_angst
        + (defocus_u_angst - defocus_v_angst) * torch.cos(2.0 * (theta - angle))
    )
    shift = torch.deg2rad(
        torch.as_tensor(phase_shift_deg, dtype=squared.dtype, device=squared.device)
    )
    cs_angst = cs_mm * 1e7
    return (
        math.pi * wavelength * squared * (defocus - 0.5 * wavelength**2 * squared * cs_angst)
        + shift
    )


def ctf(
    frequency_y_per_angst: torch.Tensor,
    frequency_x_per_angst: torch.Tensor,
    *,
    defocus_u_angst,
    defocus_v_angst,
    defocus_angle_deg,
    voltage_kv: float,
    cs_mm: float,
    amplitude_contrast: float,
    phase_shift_deg=0.0,
) -> torch.Tensor:
    """The contrast transfer function, negative at low frequency for underfocus (protein is dark).

    CTF(k) = -sin(chi(k) + asin(A)) with A the amplitude contrast; see `phase_aberration_rad`.
    """
    chi = phase_aberration_rad(
        frequency_y_per_angst,
        frequency_x_per_angst,
        defocus_u_angst=defocus_u_angst,
        defocus_v_angst=defocus_v_angst,
        defocus_angle_deg=defocus_angle_deg,
        voltage_kv=voltage_kv,
        cs_mm=cs_mm,
        phase_shift_deg=phase_shift_deg,
    )
    return -torch.sin(chi + math.asin(amplitude_contrast))
