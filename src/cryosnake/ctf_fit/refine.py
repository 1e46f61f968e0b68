"""Continuous refinement of the CTF against the two-dimensional spectrum."""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize

from cryosnake.ctf_fit.search import Candidate, Optics, astigmatism_restraint, ring_phase_rad
from cryosnake.ctf_fit.spectra import FlatSpectrum

_DEFOCUS_UNIT_ANGST = 100.0
_DECAY_UNIT_ANGST2 = 20.0
_DECAY_MAX_ANGST2 = 600.0


def score_parameters(
    spectrum: FlatSpectrum, optics: Optics, parameters: torch.Tensor
) -> torch.Tensor:
    """Normalised cross-correlation of the spectrum with the rings of a CTF, -1 to 1.

    As Rohou and Grigorieff (2015), equation 6, with the background's functions projected out of
    model and data alike, and rings that fade as exp(-decay k^2).

    Parameters
    ----------
    parameters : (5,) mean defocus, half astigmatism times cos and sin of twice its angle (in
        angstrom), phase shift (radian), decay (A^2).
    """
    defocus, even, odd, shift, decay = parameters
    local = (
        defocus
        + even * torch.cos(2.0 * spectrum.theta_rad)
        + odd * torch.sin(2.0 * spectrum.theta_rad)
    )
    rings = -torch.cos(ring_phase_rad(spectrum.k_per_angst, local, optics, shift))
    model = rings * torch.exp(-decay * spectrum.k_per_angst**2)
    absorbed = spectrum.background_basis.T @ model
    norm = ((model**2).sum() - (absorbed**2).sum()).clamp_min(1e-12).sqrt()
    return (spectrum.value * model).sum() / (norm * (spectrum.value**2).sum().sqrt())


def refine(
    spectrum: FlatSpectrum,
    optics: Optics,
    start: Candidate,
    *,
    defocus_min_angst: float,
    defocus_max_angst: float,
    astigmatism_max_angst: float,
    phase_plate: bool,
) -> Candidate:
    """Refine all parameters together by L-BFGS-B from a candidate of the search.

    Astigmatism is refined as a vector (cos and sin of twice the angle), which has no singular
    point where it vanishes. The phase shift is held where there is no phase plate.
    """
    doubled = 2.0 * math.radians(start.angle_deg)
    half = start.half_astigmatism_angst
    units = np.array([_DEFOCUS_UNIT_ANGST] * 3 + [1.0, _DECAY_UNIT_ANGST2])
    begin = np.array(
        [
            start.defocus_angst,
            half * math.cos(doubled),
            half * math.sin(doubled),
            math.radians(start.phase_shift_deg),
            max(start.decay_angst2, 1.0),
        ]
    )
    shift = begin[3]
    half_max = 0.5 * astigmatism_max_angst
    bounds = np.array(
        [
            [defocus_min_angst, defocus_max_angst],
            [-half_max, half_max],
            [-half_max, half_max],
            [shift - 0.5, shift + 0.5] if phase_plate else [shift, shift],
            [0.0, _DECAY_MAX_ANGST2],
        ]
    )

    restraint = astigmatism_restraint(spectrum)

    def cost(scaled):
        parameters = torch.tensor(
            scaled * units, dtype=torch.float64, device=spectrum.value.device, requires_grad=True
        )
        value = -score_parameters(spectrum, optics, parameters)
        # the smaller defocus stays in the searched range: a wall, flat inside
        length = (parameters[1] ** 2 + parameters[2] ** 2 + 1.0).sqrt()
        room = torch.minimum(parameters[0] - defocus_min_angst, defocus_max_angst - parameters[0])
        over = (length - room.clamp(20.0, half_max + 20.0)).clamp_min(0.0)
        value = value + (over / _DEFOCUS_UNIT_ANGST) ** 2 + restraint * length**2
        value.backward()
        return float(value.detach()), parameters.grad.cpu().numpy() * units

    found = minimize(
        cost,
        begin / units,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds / units[:, None],
        options={"maxiter": 60, "ftol": 1e-9},
    )
    defocus, even, odd, shift, decay = found.x * units
    half = math.hypot(even, odd)
    return replace(
        start,
        defocus_angst=float(defocus),
        half_astigmatism_angst=half,
        angle_deg=math.degrees(0.5 * math.atan2(odd, even)),
        phase_shift_deg=math.degrees(shift) % 180.0,
        decay_angst2=float(decay),
        score=_score(spectrum, optics, found.x * units),
    )


def _score(spectrum: FlatSpectrum, optics: Optics, parameters: np.ndarray) -> float:
    return float(
        score_parameters(
            spectrum, optics, torch.as_tensor(parameters, device=spectrum.value.device)
        )
    )
