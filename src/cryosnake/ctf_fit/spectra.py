"""Averaged periodograms of a micrograph, flattened for the CTF fit.

The micrograph is resampled so that the spectrum ends a little beyond what is fitted, cut into
overlapping tapered tiles, and the tiles' power is averaged (Welch 1967; for Thon rings Zhu et al.
1997, J Struct Biol 118). The logarithm of that average has the same noise everywhere, so that a
plain correlation weighs all pixels rightly; a smooth background is removed from it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image, good_size

ICE_RINGS_ANGST = (3.89, 3.66, 3.44)
"""Spacing of the first three rings of hexagonal ice (Dowell and Rinfret 1960, Nature 188)."""

FINEST_RING_ANGST = 3.15
"""The spectrum should reach this far, so that the ice rings have a far side."""

CORRELATED_PX = 3.8
"""Pixels of a spectrum under a Hann taper that carry one independent value: the squared
correlation (4/9 to the next pixel, 1/36 to the one after) summed over both directions."""

_CLIP_SIGMA = 6.0
_AXIS_PX = 1
_ANGULAR_TERMS = 4

RADIAL_TERMS = 6
"""Polynomials of the frequency in the background: slower than the rings of 5,000 A defocus."""
_OUTLIER_SIGMA = 6.0


@dataclass(frozen=True)
class Tiles:
    """Power spectra of the tiles of a micrograph.

    Attributes
    ----------
    power : (N, T, T // 2 + 1) half-plane power of each tile, normalised to mean 1 over the
        outer half of the spectrum.
    centre_y_angst, centre_x_angst : (N,) centres of the tiles relative to the micrograph's centre.
    pixel_size_y_angst, pixel_size_x_angst : of the resampled micrograph.
    """

    power: torch.Tensor
    centre_y_angst: torch.Tensor
    centre_x_angst: torch.Tensor
    pixel_size_y_angst: float
    pixel_size_x_angst: float

    @property
    def side_px(self) -> int:
        """Side of a tile in pixels of the resampled micrograph."""
        return self.power.shape[-2]

    @property
    def finest_angst(self) -> float:
        """The finest resolution of the spectra (Nyquist of the coarser axis)."""
        return 2.0 * max(self.pixel_size_y_angst, self.pixel_size_x_angst)

    def coordinates(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Frequencies ky (T, 1) and kx (1, T // 2 + 1) in 1/angstrom."""
        device = self.power.device
        ky = torch.fft.fftfreq(self.side_px, d=self.pixel_size_y_angst, device=device)
        kx = torch.fft.rfftfreq(self.side_px, d=self.pixel_size_x_angst, device=device)
        return ky[:, None], kx[None, :]


def usable_image(image, device, *, path=None) -> torch.Tensor:
    """The image as float32 on the device, outliers clipped and mean removed.

    Raises
    ------
    BadInputError : not two-dimensional, not finite, or constant.
    """
    array = np.asarray(image) if not isinstance(image, torch.Tensor) else image
    if array.ndim != 2:
        raise BadInputError(path, f"image has shape {tuple(array.shape)}", "a (H, W) image")
    if isinstance(array, np.ndarray):
        array = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    data = array.to(device=device, dtype=torch.float32)
    mean, deviation = float(data.mean()), float(data.std())
    if not math.isfinite(mean) or not math.isfinite(deviation):
        bad = int((~torch.isfinite(data)).sum())
        raise BadInputError(path, f"{bad} pixels are not finite", "finite grey values")
    if deviation <= 1e-6 * max(abs(mean), 1e-30):
        raise BadInputError(path, f"image is constant ({mean:g})", "an image with contrast")
    data = (data - mean) / deviation
    # a few hot or dead pixels may hold most of the variance: clip about the robust spread
    sample = data.flatten()[:: max(1, data.numel() // 100_000)]
    low, middle, high = torch.quantile(
        sample, torch.tensor([0.1587, 0.5, 0.8413], device=data.device)
    ).tolist()
    spread = 0.5 * (high - low)
    if spread > 0:
        data = (data.clamp(middle - _CLIP_SIGMA * spread, middle + _CLIP_SIGMA * spread)) - middle
        data = data / data.std()
    return data - data.mean()


def resample(
    image: torch.Tensor, pixel_size_angst: float, finest_angst: float
) -> tuple[torch.Tensor, float, float]:
    """Resample an image by cropping in Fourier space so that its Nyquist is `finest_angst`.

    Returns
    -------
    image, pixel size along y, pixel size along x (they differ by rounding to whole pixels).
    """
    height, width = (good_size(side) for side in image.shape)
    image = image[:height, :width]
    target = finest_angst / 2.0
    if pixel_size_angst >= 0.95 * target:
        return image, pixel_size_angst, pixel_size_angst
    new = tuple(2 * round(side * pixel_size_angst / target / 2) for side in (height, width))
    return (
        bin_image(image, new),
        pixel_size_angst * height / new[0],
        pixel_size_angst * width / new[1],
    )


def _starts(side: int, tile: int) -> list[int]:
    """Starts of tiles that overlap by about half and cover a side from end to end."""
    steps = max(0, math.ceil((side - tile) / (tile / 2)))
    return [round(i * (side - tile) / steps) for i in range(steps + 1)] if steps else [0]


def tile_spectra(
    image: torch.Tensor, pixel_size_y_angst: float, pixel_size_x_angst: float, tile_px: int
) -> Tiles:
    """Power spectra of overlapping tiles under a raised-cosine (Hann) taper."""
    height, width = image.shape
    ys, xs = _starts(height, tile_px), _starts(width, tile_px)
    device = image.device
    taper = torch.hann_window(tile_px, device=device)
    taper = taper[:, None] * taper[None, :]
    ky = torch.fft.fftfreq(tile_px, device=device)[:, None]
    kx = torch.fft.rfftfreq(tile_px, device=device)[None, :]
    outer = (ky**2 + kx**2).sqrt()
    outer = (outer > 0.25) & (outer < 0.5)
    rows = []
    for y in ys:  # a row of tiles at a time bounds the memory
        row = torch.stack([image[y : y + tile_px, x : x + tile_px] for x in xs])
        row = (row - row.mean(dim=(-2, -1), keepdim=True)) * taper
        transform = torch.fft.rfft2(row)
        power = transform.real**2 + transform.imag**2
        level = power[:, outer].mean(dim=1)[:, None, None]
        rows.append(power / level.clamp_min(1e-20))
    grid_y, grid_x = torch.meshgrid(
        torch.tensor(ys, dtype=torch.float64), torch.tensor(xs, dtype=torch.float64), indexing="ij"
    )
    centre_y = (grid_y.flatten() + tile_px / 2 - height / 2) * pixel_size_y_angst
    centre_x = (grid_x.flatten() + tile_px / 2 - width / 2) * pixel_size_x_angst
    return Tiles(torch.cat(rows), centre_y, centre_x, pixel_size_y_angst, pixel_size_x_angst)


@dataclass(frozen=True)
class FlatSpectrum:
    """The averaged spectrum as a list of pixels: its logarithm without the background.

    Attributes
    ----------
    value : (N,) log power minus background, noise of equal size everywhere.
    ky_per_angst, kx_per_angst, k_per_angst, theta_rad : (N,) where the pixels are.
    background_basis : (N, M) orthonormal functions that were projected out.
    """

    value: torch.Tensor
    ky_per_angst: torch.Tensor
    kx_per_angst: torch.Tensor
    k_per_angst: torch.Tensor
    theta_rad: torch.Tensor
    background_basis: torch.Tensor


def radial_basis(position: torch.Tensor, terms: int) -> torch.Tensor:
    """Chebyshev polynomials of a position in -1..1: (N, terms)."""
    columns = [torch.ones_like(position), position]
    for _ in range(terms - 2):
        columns.append(2.0 * position * columns[-1] - columns[-2])
    return torch.stack(columns[:terms], dim=1)


def background_basis(
    k_per_angst: torch.Tensor, theta_rad: torch.Tensor, radial_terms: int = RADIAL_TERMS
) -> torch.Tensor:
    """Orthonormal smooth functions of the spectrum's pixels: (N, M).

    Polynomials of the frequency, and slower ones that vary with azimuth as the second and fourth
    harmonics (drift, detector axes, compression).
    """
    low, high = k_per_angst.min(), k_per_angst.max()
    radial = radial_basis((2.0 * k_per_angst - low - high) / (high - low), radial_terms)
    angular = radial[:, :_ANGULAR_TERMS]
    parts = [radial]
    for order in (2.0, 4.0):
        parts += [angular * wave(order * theta_rad)[:, None] for wave in (torch.cos, torch.sin)]
    return torch.linalg.qr(torch.cat(parts, dim=1))[0]


def smooth_background(
    value: torch.Tensor, k_per_angst: torch.Tensor, theta_rad: torch.Tensor
) -> torch.Tensor:
    """The part of a spectrum's pixels that the background's functions explain: (N,)."""
    basis = background_basis(k_per_angst, theta_rad)
    return basis @ (basis.T @ value)


def band_mask(tiles: Tiles, low_per_angst: float, high_per_angst: float) -> torch.Tensor:
    """Pixels (T, T // 2 + 1) of a band of frequencies, without the axes, which are hot."""
    ky, kx = tiles.coordinates()
    k = (ky**2 + kx**2).sqrt()
    row = torch.arange(tiles.side_px, device=k.device)
    row = torch.minimum(row, tiles.side_px - row)[:, None]
    column = torch.arange(k.shape[1], device=k.device)[None, :]
    return (k >= low_per_angst) & (k <= high_per_angst) & (row > _AXIS_PX) & (column > _AXIS_PX)


def flatten_spectrum(
    tiles: Tiles,
    power: torch.Tensor,
    low_per_angst: float,
    high_per_angst: float,
) -> FlatSpectrum:
    """Take the logarithm of an averaged spectrum in a band and remove its background.

    The background is that of `background_basis`. What exceeds six standard deviations (crystal
    spots) is clipped.
    """
    mask = band_mask(tiles, low_per_angst, high_per_angst)
    ky, kx = (grid.expand(mask.shape)[mask].double() for grid in tiles.coordinates())
    k = (ky**2 + kx**2).sqrt()
    theta = torch.atan2(ky, kx)
    value = power[mask].double().clamp_min(1e-20).log()
    basis = background_basis(k, theta)
    value = value - basis @ (basis.T @ value)
    limit = _OUTLIER_SIGMA * value.std()
    value = value.clamp(-limit, limit)
    value = value - basis @ (basis.T @ value)
    return FlatSpectrum(value, ky, kx, k, theta, basis)
