"""The ice-ring score: how far the rings of crystalline ice stand out of the spectrum."""

import math

import torch

from cryosnake.ctf_fit.spectra import ICE_RINGS_ANGST, Tiles, band_mask

_RING_HALF_WIDTH_PER_ANGST = 0.006
_BAND_ANGST = (4.35, 3.2)
_SECTORS = 36


def ice_ring_score(tiles: Tiles, power: torch.Tensor) -> float:
    """Height of the rings of hexagonal ice near 3.7 A above their surroundings.

    The power is averaged over rings one pixel wide between 4.35 and 3.2 A, and its logarithm
    taken. A parabola through the rings outside the three ice spacings (3.89, 3.66, 3.44 A) is the
    surroundings, their scatter about it the standard deviation. The same is done in sectors of
    ten degrees, of which the strongest at the ice spacings is compared with the strongest
    elsewhere, so that the spots of a few crystals count too. The larger of the two heights is
    the score: 1 to 4 where there is no crystalline ice, since it is the largest of many rings.
    NaN where the pixels are too large to show the ring's far side.
    """
    if tiles.finest_angst > 3.3:
        return math.nan
    low, high = 1.0 / _BAND_ANGST[0], min(1.0 / _BAND_ANGST[1], 1.0 / tiles.finest_angst)
    mask = band_mask(tiles, low, high)
    ky, kx = (grid.expand(mask.shape)[mask].double() for grid in tiles.coordinates())
    k = (ky**2 + kx**2).sqrt()
    value = power[mask].double()
    step = 1.0 / (tiles.side_px * tiles.pixel_size_y_angst)
    ring = ((k - low) / step).long()
    rings = int(ring.max()) + 1
    theta = torch.remainder(torch.atan2(ky, kx), math.pi)
    sector = (theta * (_SECTORS / 2 / math.pi)).long().clamp_max(_SECTORS // 2 - 1)
    centre = low + (torch.arange(rings, dtype=torch.float64, device=k.device) + 0.5) * step
    spacing = torch.tensor([1.0 / d for d in ICE_RINGS_ANGST], device=k.device)
    near = (centre[:, None] - spacing[None, :]).abs().amin(1) < _RING_HALF_WIDTH_PER_ANGST
    mean = _log_means(value, ring, rings)
    by_sector = _log_means(value, sector * rings + ring, rings * (_SECTORS // 2)).view(-1, rings)
    heights = _heights(mean[None], centre, near)
    ring_score = float(heights[0][near].max())
    heights = _heights(by_sector, centre, near)
    inside, outside = heights[:, near].max(), heights[:, ~near].max()
    spot_score = float(inside - outside)
    return max(ring_score, spot_score)


def _log_means(value: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    total = torch.bincount(index, weights=value, minlength=size)
    return (total / torch.bincount(index, minlength=size).clamp_min(1)).clamp_min(1e-20).log()


def _heights(rows: torch.Tensor, centre: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Rows (R, K) above a parabola through their points outside `near`, in their scatter."""
    x = (centre - centre.mean()) / (centre[-1] - centre[0])
    design = torch.stack([torch.ones_like(x), x, x**2], dim=1)
    outside = design[~near]
    coefficients = torch.linalg.lstsq(outside, rows[:, ~near].T).solution
    rest = rows - (design @ coefficients).T
    scatter = rest[:, ~near].std(dim=1, keepdim=True).clamp_min(1e-9)
    return rest / scatter
