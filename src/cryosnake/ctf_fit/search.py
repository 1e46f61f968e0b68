"""Exhaustive search of defocus, astigmatism and phase shift.

The flattened spectrum is reduced to sectors of azimuth. One matrix product gives the agreement of
every sector with every defocus; the score of an astigmatic candidate is then a sum of one table
entry per sector, at the defocus that the astigmatism gives it. So all combinations of mean
defocus, astigmatism and angle are scored without computing a single spectrum for them.
"""

import math
from dataclasses import dataclass

import torch

from cryosnake.ctf import wavelength_angst
from cryosnake.ctf_fit.spectra import CORRELATED_PX, RADIAL_TERMS, FlatSpectrum, radial_basis

SECTORS = 18
DECAYS_ANGST2 = (0.0, 20.0, 60.0, 150.0)
"""Fall-off exp(-decay k^2) of the rings' height, tried in turn."""

_PHASE_SHIFT_STEP_DEG = 10.0
_TOLERATED_HALF_ASTIGMATISM_ANGST = 500.0
_WEAK_SCORE = 0.04


@dataclass(frozen=True)
class Optics:
    """What is known of the microscope: voltage, spherical aberration, amplitude contrast."""

    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float

    @property
    def wavelength_angst(self) -> float:
        """Electron wavelength."""
        return wavelength_angst(self.voltage_kv)


@dataclass(frozen=True)
class Candidate:
    """A point of the search: mean defocus, half astigmatism (U - V) / 2 with its angle, phase
    shift, fall-off of the rings and score (correlation, 0 to 1)."""

    defocus_angst: float
    half_astigmatism_angst: float
    angle_deg: float
    phase_shift_deg: float
    decay_angst2: float
    score: float


def ring_phase_rad(
    k_per_angst: torch.Tensor, defocus_angst: torch.Tensor, optics: Optics, phase_shift_rad=0.0
) -> torch.Tensor:
    """Twice the phase of the CTF, 2 (chi + asin A): CTF^2 = (1 - cos of it) / 2."""
    squared = k_per_angst**2
    wavelength = optics.wavelength_angst
    chi = (
        math.pi
        * wavelength
        * squared
        * (defocus_angst - 0.5 * wavelength**2 * squared * optics.cs_mm * 1e7)
    )
    return 2.0 * (chi + phase_shift_rad + math.asin(optics.amplitude_contrast))


def astigmatism_restraint(spectrum: FlatSpectrum) -> float:
    """What the score must gain per square angstrom of half astigmatism.

    A Gaussian prior of 500 A on the half astigmatism, as in CTFFIND (Mindell and Grigorieff 2003, J
    Struct Biol 142), next to the likelihood of a correlation just above noise: it decides
    where the rings are weak, and is lost beside strong ones.
    """
    independent = len(spectrum.value) / CORRELATED_PX
    return 1.0 / (2.0 * _TOLERATED_HALF_ASTIGMATISM_ANGST**2 * independent * _WEAK_SCORE)


def _sector_profiles(spectrum: FlatSpectrum, step_per_angst: float):
    """Mean and number of pixels by sector and radius: (SECTORS, K), (SECTORS, K), radii (K,)."""
    first = int(float(spectrum.k_per_angst.min()) / step_per_angst)
    radius = (spectrum.k_per_angst / step_per_angst).long() - first
    count_k = int(radius.max()) + 1
    turned = torch.remainder(spectrum.theta_rad, math.pi)
    sector = (turned * (SECTORS / math.pi)).long().clamp_max(SECTORS - 1)
    index = sector * count_k + radius
    size = SECTORS * count_k
    count = torch.bincount(index, minlength=size)
    total = torch.bincount(index, weights=spectrum.value, minlength=size)
    sums_k = torch.bincount(radius, weights=spectrum.k_per_angst, minlength=count_k)
    radii = sums_k / torch.bincount(radius, minlength=count_k).clamp_min(1)
    mean = total / count.clamp_min(1)
    return mean.view(SECTORS, count_k), count.view(SECTORS, count_k).double(), radii


def search(
    spectrum: FlatSpectrum,
    optics: Optics,
    *,
    step_per_angst: float,
    defocus_min_angst: float,
    defocus_max_angst: float,
    astigmatism_max_angst: float,
    phase_plate: bool,
) -> Candidate:
    """Find the best candidate on a grid fine enough that refinement starts on the right peak.

    The defocus step turns the ring phase by an eighth of a turn at the end of the band.
    """
    mean, count, k = _sector_profiles(spectrum, step_per_angst)
    device = k.device
    high = float(k[-1])
    step = 0.125 / (optics.wavelength_angst * high**2)
    half_max = 0.5 * astigmatism_max_angst
    margin = math.ceil(half_max / step)
    inner = max(2, math.ceil((defocus_max_angst - defocus_min_angst) / step) + 1)
    defocus = defocus_min_angst + step * torch.arange(
        -margin, inner + margin, device=device, dtype=torch.float64
    )
    offsets, astigmatism, angles = _astigmatic_offsets(half_max, step, device)
    weights = count.sum(0)
    position = (2.0 * k - k[0] - k[-1]) / (k[-1] - k[0])
    basis, _ = torch.linalg.qr(radial_basis(position, RADIAL_TERMS) * weights.sqrt()[:, None])
    norm_data = float((spectrum.value**2).sum().sqrt())
    shifts = (
        torch.arange(0.0, 180.0, _PHASE_SHIFT_STEP_DEG, dtype=torch.float64).tolist()
        if phase_plate
        else [0.0]
    )
    centre = margin + torch.arange(inner, device=device)
    # both defoci stay within the range that is searched
    half = torch.tensor(astigmatism, device=device, dtype=torch.float64)[:, None]
    cost = half**2 * astigmatism_restraint(spectrum)
    inside = torch.minimum(defocus[centre] - defocus_min_angst, defocus_max_angst - defocus[centre])
    allowed = half <= inside.clamp_min(0.0)[None, :]
    best = None
    for shift in shifts:
        rings = -torch.cos(
            ring_phase_rad(k[:, None], defocus[None, :], optics, math.radians(shift))
        )
        for decay in DECAYS_ANGST2:
            model = rings * torch.exp(-decay * k**2)[:, None]
            full = (weights[:, None] * model**2).sum(0)
            absorbed = ((basis.T @ (weights.sqrt()[:, None] * model)) ** 2).sum(0)
            norm = (full - absorbed).clamp_min(0.2 * full + 1e-30).sqrt()
            table = ((mean * count) @ model) / (norm * norm_data)
            scores = torch.where(allowed, _lookup(table, centre, offsets) - cost, -1.0)
            value, where = scores.max(dim=1)
            a = int(value.argmax())
            if best is None or float(value[a]) > best.score:
                best = Candidate(
                    float(defocus[centre[where[a]]]),
                    astigmatism[a],
                    angles[a],
                    shift,
                    decay,
                    float(value[a]),
                )
    return best


def _astigmatic_offsets(half_max: float, step: float, device):
    """Grid of astigmatisms: offset of every sector in steps of defocus (A, SECTORS), and the
    half astigmatism and angle of each."""
    theta = (torch.arange(SECTORS, dtype=torch.float64) + 0.5) * (math.pi / SECTORS)
    halves, angles, rows = [0.0], [0.0], [torch.zeros(SECTORS, dtype=torch.long)]
    count = int(half_max / (2.0 * step))
    for i in range(1, count + 1):
        half = half_max * i / count
        for j in range(SECTORS):
            angle = math.pi * j / SECTORS
            rows.append(torch.round(half / step * torch.cos(2.0 * (theta - angle))).long())
            halves.append(half)
            angles.append(math.degrees(angle))
    return torch.stack(rows).to(device), halves, angles


def _lookup(table: torch.Tensor, centre: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Scores (A, Z): the sum over sectors of the table at each sector's defocus."""
    scores = torch.zeros(len(offsets), len(centre), dtype=table.dtype, device=table.device)
    for sector in range(table.shape[0]):
        scores += table[sector][centre[None, :] + offsets[:, sector : sector + 1]]
    return scores
