"""Tilted specimens: a plane of defocus fitted to the spectra of all tiles together.

A tile alone shows its rings poorly; a plane has only three parameters. The agreement of every
tile with every defocus is tabulated by one matrix product, and the score of a plane is a sum of
one table entry per tile, as in the search for astigmatism.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from cryosnake.ctf_fit.profile import equiphase_frequency, local_defocus_angst
from cryosnake.ctf_fit.search import Candidate, Optics, ring_phase_rad
from cryosnake.ctf_fit.spectra import Tiles, band_mask, smooth_background

_TABLE_STEP_ANGST = 25.0
_TILTS_DEG = tuple(range(0, 66, 3))
_AXES = 36
_MEAN_RANGE_ANGST = 1500.0
_MEAN_STEP_ANGST = 100.0


@dataclass(frozen=True)
class Plane:
    """Defocus over the micrograph: a mean at its centre and slopes in angstrom per angstrom."""

    defocus_angst: float
    slope_y: float
    slope_x: float

    def offset_angst(self, y_angst, x_angst):
        """Defocus at a place relative to the micrograph's centre, less the mean."""
        return self.slope_y * y_angst + self.slope_x * x_angst

    @property
    def tilt_deg(self) -> float:
        """Tilt of the specimen, 0..90."""
        return math.degrees(math.atan(math.hypot(self.slope_y, self.slope_x)))

    @property
    def axis_deg(self) -> float:
        """Direction of the tilt axis from the x-axis, 0..360: the defocus grows to its left."""
        return (math.degrees(math.atan2(self.slope_y, self.slope_x)) - 90.0) % 360.0


def fit_plane(
    tiles: Tiles,
    power: torch.Tensor,
    fit: Candidate,
    optics: Optics,
    low_per_angst: float,
    high_per_angst: float,
    step_per_angst: float,
) -> Plane:
    """Fit mean defocus, tilt and axis to the spectra of all tiles, the astigmatism held.

    Every tile's power is divided by the smooth background of the average, reduced to a profile
    along lines of equal phase, and compared with the rings of every defocus. All tilts to 63
    degrees and axes are tried on a grid, and the best is refined by the simplex of Nelder and Mead.

    Parameters
    ----------
    power : (T, T // 2 + 1) average over the tiles.
    """
    profiles, weights, k = _tile_profiles(
        tiles, power, fit, optics, low_per_angst, high_per_angst, step_per_angst
    )
    y, x = tiles.centre_y_angst.numpy(), tiles.centre_x_angst.numpy()
    reach = math.tan(math.radians(_TILTS_DEG[-1])) * float(np.hypot(y, x).max())
    reach += _MEAN_RANGE_ANGST
    first = max(500.0, fit.defocus_angst - reach)
    count = int((fit.defocus_angst + reach - first) / _TABLE_STEP_ANGST) + 2
    defocus = first + _TABLE_STEP_ANGST * torch.arange(count, dtype=torch.float64, device=k.device)
    rings = -torch.cos(
        ring_phase_rad(k[:, None], defocus[None, :], optics, math.radians(fit.phase_shift_deg))
    )
    model = rings * torch.exp(-fit.decay_angst2 * k**2)[:, None]
    norm = (weights[:, None] * model**2).sum(0).sqrt()
    table = (((profiles * weights) @ model) / norm).cpu().numpy()
    tile = np.arange(len(y))

    def score(mean, slope_y, slope_x):
        """Sum over the tiles of the table at the plane's defocus; arguments broadcast."""
        z = np.asarray(mean)[..., None] + np.asarray(slope_y)[..., None] * y
        z = z + np.asarray(slope_x)[..., None] * x
        position = np.clip((z - first) / _TABLE_STEP_ANGST, 0.0, count - 1.001)
        index = position.astype(int)
        part = position - index
        found = table[tile, index] * (1.0 - part) + table[tile, index + 1] * part
        return found.sum(-1)

    slope = np.tan(np.radians(np.array(_TILTS_DEG, float)))[:, None, None]
    direction = 2.0 * np.pi * np.arange(_AXES)[None, :, None] / _AXES
    mean = fit.defocus_angst + np.arange(
        -_MEAN_RANGE_ANGST, _MEAN_RANGE_ANGST + 1.0, _MEAN_STEP_ANGST
    )
    scores = score(
        *np.broadcast_arrays(mean[None, None], slope * np.sin(direction), slope * np.cos(direction))
    )
    a, b, c = np.unravel_index(int(scores.argmax()), scores.shape)
    start = np.array(
        [
            mean[c] / 1000.0,
            slope[a, 0, 0] * np.sin(direction[0, b, 0]),
            slope[a, 0, 0] * np.cos(direction[0, b, 0]),
        ]
    )
    found = minimize(
        lambda p: -float(score(1000.0 * p[0], p[1], p[2])),
        start,
        method="Nelder-Mead",
        options={
            "initial_simplex": start + np.vstack([np.zeros(3), np.diag([0.1, 0.05, 0.05])]),
            "xatol": 1e-4,
            "fatol": 1e-6,
        },
    )
    return Plane(float(1000.0 * found.x[0]), float(found.x[1]), float(found.x[2]))


def _tile_profiles(tiles, power, fit, optics, low_per_angst, high_per_angst, step_per_angst):
    """Profiles of all tiles (N, K) along equal phase, the pixels in each bin (K,), radii (K,)."""
    mask = band_mask(tiles, low_per_angst, high_per_angst)
    ky, kx = (grid.expand(mask.shape)[mask].double() for grid in tiles.coordinates())
    k, theta = (ky**2 + kx**2).sqrt(), torch.atan2(ky, kx)
    background = smooth_background(power[mask].double().clamp_min(1e-20).log(), k, theta).exp()
    rest = tiles.power[:, mask].double() / background - 1.0
    rest = rest.clamp_max(10.0)  # a single periodogram is exponential: beyond this are spots
    position = equiphase_frequency(
        k, local_defocus_angst(theta, fit), torch.tensor(fit.defocus_angst), optics
    )
    index = (position / step_per_angst).long()
    index = index - index.min()
    bins = int(index.max()) + 1
    weights = torch.bincount(index, minlength=bins).double()
    radius = torch.bincount(index, weights=position, minlength=bins) / weights.clamp_min(1)
    total = torch.zeros(len(rest), bins, dtype=rest.dtype, device=rest.device)
    total.index_add_(1, index, rest)
    profiles = total / weights.clamp_min(1)
    # a smooth mismatch of a tile with the average background carries no rings
    x = torch.linspace(-1.0, 1.0, bins, dtype=torch.float64, device=rest.device)
    design = torch.stack([torch.ones_like(x), x, x**2], dim=1) * weights.sqrt()[:, None]
    basis, _ = torch.linalg.qr(design)
    weighted = profiles * weights.sqrt()
    weighted = weighted - (weighted @ basis) @ basis.T
    return weighted / weights.clamp_min(1).sqrt(), weights, radius


def level_spectrum(tiles: Tiles, plane: Plane, fit: Candidate, optics: Optics) -> torch.Tensor:
    """Average of the tiles' spectra, each stretched to the mean defocus: (T, T // 2 + 1).

    A pixel of the average takes its value from where the tile has the same phase (as Elferich et
    al. 2024, eLife 13, correct for tilt), so that the rings of all tiles fall on one another.
    """
    ky, kx = (grid.double() for grid in tiles.coordinates())
    k = (ky**2 + kx**2).sqrt().clamp_min(1e-9)
    theta = torch.atan2(ky.expand(k.shape), kx.expand(k.shape))
    local = local_defocus_angst(theta, fit)
    side, columns = k.shape
    row = torch.fft.fftfreq(side, d=1.0 / side, device=k.device).double()[:, None]
    column = torch.arange(columns, device=k.device, dtype=torch.float64)[None, :]
    total = torch.zeros_like(tiles.power[0])
    top = (side - 1) // 2  # highest positive row
    offsets = plane.offset_angst(tiles.centre_y_angst, tiles.centre_x_angst).tolist()
    for tile, offset in zip(tiles.power, offsets, strict=True):
        there = (local + offset).clamp_min(300.0)
        scale = equiphase_frequency(k, local, there, optics) / k
        y = (row * scale + (side - 1 - top)) / (side - 1) * 2.0 - 1.0
        x = (column * scale) / (columns - 1) * 2.0 - 1.0
        sorted_rows = torch.roll(tile, side - 1 - top, 0)
        grid = torch.stack([x, y], dim=-1).float()[None]
        total += torch.nn.functional.grid_sample(
            sorted_rows[None, None], grid, align_corners=True, padding_mode="border"
        )[0, 0]
    return total / len(tiles.power)
