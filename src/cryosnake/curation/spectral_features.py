"""What the Fourier space of a micrograph shows: structure, direction, ice, fixed patterns."""

import math
from dataclasses import dataclass

import torch

from cryosnake.fourier import frequencies

#: Reflections of hexagonal and cubic ice lie between these spacings (3.90, 3.67 and 3.44 A).
ICE_BAND_ANGST = (3.95, 3.40)
#: The strongest of them, common to both forms, and the band in which its ring is looked for.
ICE_RING_ANGST = (3.73, 3.61)
#: Between it and its neighbours: the baseline. So close by, the broad peak that amorphous ice has
#: at the same place rises over the baseline by a few per cent only.
ICE_BASELINE_ANGST = ((3.83, 3.75), (3.59, 3.51))
_TILE_PX = 512


@dataclass(frozen=True)
class TileSpectra:
    """Power spectra of half-overlapping windowed tiles.

    Parameters
    ----------
    mean : (T, T // 2 + 1), the average over the tiles, half-plane.
    tiles : (N, T, T // 2 + 1).
    k : (T, T // 2 + 1), spatial frequency in 1/angstrom.
    angle : (T, T // 2 + 1), direction in radians from the x-axis.
    """

    mean: torch.Tensor
    tiles: torch.Tensor
    k: torch.Tensor
    angle: torch.Tensor


def tile_spectra(image: torch.Tensor, pixel_size_angst: float) -> TileSpectra:
    """Power spectra of half-overlapping Hann-windowed square tiles of an (H, W) image.

    Tiles have 512 px, or 256 or 128 where the image is smaller than three half tiles.
    """
    side = _TILE_PX
    while side > 128 and min(image.shape) < side * 1.5:
        side //= 2
    if min(image.shape) < side:
        raise ValueError(f"{tuple(image.shape) = } is smaller than a tile of {side} px")
    tiles = image.unfold(0, side, side // 2).unfold(1, side, side // 2).reshape(-1, side, side)
    window = torch.hann_window(side, periodic=True, device=image.device)
    window = window[:, None] * window[None, :]
    power = torch.stack(
        [torch.fft.rfft2((tile - tile.mean()) * window).abs() ** 2 for tile in tiles]
    )
    ky, kx = frequencies((side, side), pixel_size_angst, device=image.device)
    return TileSpectra(
        mean=power.mean(dim=0),
        tiles=power,
        k=torch.hypot(ky, kx),
        angle=torch.atan2(ky, kx.expand(side, -1)),
    )


def _band(spectra: TileSpectra, low_angst: float, high_angst: float) -> torch.Tensor:
    """Mask of the frequencies between two resolutions (coarse, fine), off the axes."""
    ky_zero = torch.zeros_like(spectra.k, dtype=torch.bool)
    ky_zero[0] = True
    ky_zero[:, 0] = True  # fixed patterns of the detector lie on the axes
    return (spectra.k >= 1.0 / low_angst) & (spectra.k <= 1.0 / high_angst) & ~ky_zero


def structure_features(spectra: TileSpectra, pixel_size_angst: float) -> dict[str, float]:
    """How much more power there is at low than at high resolution, and its angular dependence."""
    nyquist_angst = 2.0 * pixel_size_angst
    floor = spectra.mean[_band(spectra, nyquist_angst / 0.75, nyquist_angst)].mean()
    coarse = spectra.mean[_band(spectra, 60.0, 20.0)].mean()
    medium = spectra.mean[_band(spectra, 20.0, max(8.0, 1.5 * nyquist_angst))].mean()
    return {
        "coarse_power_log10": math.log10(float(coarse / floor)),
        "medium_power_log10": math.log10(float(medium / floor)),
        "direction_asymmetry": _direction_asymmetry(spectra, nyquist_angst),
        "thon_visibility": _thon_visibility(spectra, nyquist_angst),
    }


def _direction_asymmetry(spectra: TileSpectra, nyquist_angst: float) -> float:
    """Amplitude of cos(2 theta) in the log spectrum, the same phase from 30 A to 6 A.

    Motion during a frame takes power away on both sides of one direction at all radii;
    astigmatism changes its sign from ring to ring and averages out.
    """
    band = _band(spectra, 30.0, max(6.0, 1.2 * nyquist_angst))
    bins, log_power, angle = _binned(spectra, band)
    count = torch.bincount(bins).clamp_min(1)
    mean = torch.bincount(bins, weights=log_power) / count
    residual = log_power - mean[bins]
    cosine = 2.0 * (residual * torch.cos(2 * angle)).mean()
    sine = 2.0 * (residual * torch.sin(2 * angle)).mean()
    return float(torch.hypot(cosine, sine))


def _binned(
    spectra: TileSpectra, band: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Radial bin, log power and direction of the frequencies in a band."""
    step = float(spectra.k[0, 1])
    bins = torch.round(spectra.k[band] / step).long()
    return bins, torch.log(spectra.mean[band] + 1e-30), spectra.angle[band]


def _thon_visibility(spectra: TileSpectra, nyquist_angst: float) -> float:
    """Oscillation of the radial log spectrum from 25 A to 5 A about its cubic trend, in units of
    the scatter that independent frequencies would give it."""
    band = _band(spectra, 25.0, max(5.0, 1.2 * nyquist_angst))
    bins, log_power, _ = _binned(spectra, band)
    first = int(bins.min())
    bins = bins - first
    count = torch.bincount(bins).double()
    profile = torch.bincount(bins, weights=log_power.double()) / count
    scatter = torch.sqrt(
        (torch.bincount(bins, weights=log_power.double() ** 2) / count - profile**2).clamp_min(0)
    )
    x = torch.linspace(-1, 1, len(profile), dtype=torch.float64, device=profile.device)
    basis = torch.stack([x**power for power in range(4)], dim=1)
    trend = basis @ torch.linalg.lstsq(basis.cpu(), profile.cpu()[:, None]).solution.to(basis)
    wave = (profile - trend[:, 0]).std()
    return float(wave / (scatter / torch.sqrt(count)).mean().clamp_min(1e-12))


def ice_features(spectra: TileSpectra, pixel_size_angst: float) -> dict[str, float]:
    """The ring of crystalline ice near 3.7 A, and its spots; NaN where pixels are too coarse.

    Needs the Nyquist frequency beyond 3.40 A, that is pixels below 1.70 A.
    """
    names = ("ice_ring_excess", "ice_ring_z", "ice_spot_ratio", "ice_spot_tiles")
    if 2.0 * pixel_size_angst > ICE_BAND_ANGST[1]:
        return dict.fromkeys(names, math.nan)
    band = _band(spectra, *ICE_BAND_ANGST)
    step = float(spectra.k[0, 1])
    bins = torch.round(spectra.k[band] / step).long()
    first = int(bins.min())
    bins = bins - first
    count = torch.bincount(bins).double()
    mean = torch.bincount(bins, weights=spectra.mean[band].double()) / count.clamp_min(1)
    k = (torch.arange(len(count), device=count.device) + first).double() * step
    base, ring = torch.zeros_like(k, dtype=torch.bool), _near(k, *ICE_RING_ANGST, step)
    for low, high in ICE_BASELINE_ANGST:
        base |= _near(k, low, high, step)
    slope, offset = _line(k[base], torch.log(mean[base]))
    excess = (torch.log(mean[ring]) - (slope * k[ring] + offset)).max()
    # the tiles overlap by half: about half of them count as independent looks
    looks = max(1.0, 0.5 * len(spectra.tiles))
    noise = math.sqrt(1.0 / (float(count[ring].mean()) * looks))
    # spots: in noise, power over its local average is exponentially distributed
    ratio = spectra.tiles[:, band] / mean.to(spectra.tiles.dtype)[bins]
    ratio = ratio / ratio.median() * math.log(2.0)  # the median of that distribution is ln 2
    expected = math.log(ratio.numel())
    highest = ratio.amax(dim=1)
    return {
        "ice_ring_excess": float(torch.expm1(excess)),
        "ice_ring_z": float(excess) / noise,
        "ice_spot_ratio": float(highest.max()) / expected,
        "ice_spot_tiles": float((highest > 1.5 * expected).double().mean()),
    }


def _near(k: torch.Tensor, low_angst: float, high_angst: float, step: float) -> torch.Tensor:
    """Bins between two resolutions, or the one nearest to their middle where none is."""
    middle = 0.5 * (1.0 / low_angst + 1.0 / high_angst)
    inside = (k >= 1.0 / low_angst) & (k <= 1.0 / high_angst)
    return inside if bool(inside.any()) else (k - middle).abs() <= 0.5 * step


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Slope and offset of the least-squares line."""
    centre = x.mean()
    slope = ((x - centre) * (y - y.mean())).sum() / ((x - centre) ** 2).sum()
    return float(slope), float(y.mean() - slope * centre)
