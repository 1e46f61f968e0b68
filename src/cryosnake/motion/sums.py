"""Summing the frames: shifts, exposure weights and binning with a handful of transforms.

The exposure-weighted sum over f of w_f(k) X_f(k) needs no transform of single frames: the weights
are a product of low rank, w_f(k) = sum over r of u_f,r v_r(k) (`dose.low_rank`), so that R = 5 to 7
sums of shifted frames, weighted by u, are made in real space and transformed instead. Frames are
interpolated in real space by a cubic B-spline whose prefilter is divided out at the end (`spline`).
All frames pass through one small block of the image after the other, which stays in the cache.
"""

import math

import numpy as np
import torch

from cryosnake.fourier import crop_half_plane
from cryosnake.motion import spline
from cryosnake.motion.correction import RawMovie

BLOCK_ROWS = 48
BLOCK_COLUMNS = 2048
SEGMENT = 32
CHUNK_FRAMES = 48


def weighted_sums(movie: RawMovie, shift_at, factors: np.ndarray) -> torch.Tensor:
    """Sums of shifted, corrected frames, (R, H, W).

    Parameters
    ----------
    movie : all frames.
    shift_at : callable (y, x) in pixels, arrays that broadcast -> (F, ..., 2) shifts in pixels.
    factors : (F, R) weight of each frame in each sum.
    """
    height, width = movie.shape
    device = movie.gain.device
    sums = torch.zeros(factors.shape[1], height, width, device=device)
    factors = torch.as_tensor(factors.T.copy(), dtype=torch.float32, device=device)
    for top in range(0, height, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, height - top)
        for left in range(0, width, BLOCK_COLUMNS):
            columns = min(BLOCK_COLUMNS, width - left)
            middles = left + np.minimum(np.arange(0, columns, SEGMENT) + SEGMENT / 2, columns)
            shifts = shift_at(np.full(middles.shape, top + rows / 2), middles)
            for first in range(0, len(movie), CHUNK_FRAMES):
                last = min(first + CHUNK_FRAMES, len(movie))
                stack = torch.empty(last - first, rows, columns, device=device)
                for f in range(first, last):
                    _shifted(movie, f, top, left, shifts[f], stack[f - first])
                block = factors[:, first:last] @ stack.view(last - first, -1)
                sums[:, top : top + rows, left : left + columns] += block.view(-1, rows, columns)
    return sums


def _taps(shift: np.ndarray, columns: int, device) -> tuple[int, torch.Tensor]:
    """First source pixel relative to the target pixel, and weights (J, columns)."""
    source = -shift
    base = math.floor(source.min()) - spline.SUPPORT + 1
    count = math.floor(source.max()) + spline.SUPPORT - base + 1
    offsets = torch.arange(base, base + count, dtype=torch.float32)
    distance = offsets[:, None] - torch.as_tensor(source, dtype=torch.float32)[None, :]
    table = spline.weights(distance).to(device)
    return base, table.repeat_interleave(SEGMENT, dim=1)[:, :columns]


def _shifted(movie: RawMovie, f: int, top: int, left: int, shift: np.ndarray, out) -> None:
    """Fill `out` with a block of frame f interpolated at target position minus shift."""
    rows, columns = out.shape
    base_y, weights_y = _taps(shift[:, 0], columns, out.device)
    base_x, weights_x = _taps(shift[:, 1], columns, out.device)
    taps_y, taps_x = len(weights_y), len(weights_x)
    window = torch.empty(rows + taps_y - 1, columns + taps_x - 1, device=out.device)
    movie.window(f, top + base_y, left + base_x, window)
    across = window[:, :columns] * weights_x[0]
    for tap in range(1, taps_x):
        across.addcmul_(window[:, tap : tap + columns], weights_x[tap])
    torch.mul(across[:rows], weights_y[0], out=out)
    for tap in range(1, taps_y):
        out.addcmul_(across[tap : tap + rows], weights_y[tap])


def combined(
    sums: torch.Tensor,
    frequency_factors: list[np.ndarray],
    *,
    shifts_px: np.ndarray,
    binning: int,
) -> list[torch.Tensor]:
    """Images that are sums over r of v_r(|k|) times the transform of `sums[r]`, binned by cropping.

    Parameters
    ----------
    sums : (R, H, W) from `weighted_sums`.
    frequency_factors : one (R, K) table for each image wanted, at K frequencies from 0 to the
        corner of the transform (`dose.radial_frequencies_per_angst`).
    shifts_px : (..., 2) (y, x) shifts that were applied, for the response of the interpolation.
    binning : 1 or 2.

    Returns
    -------
    One (H // binning, W // binning) float32 image per table.
    """
    height, width = sums.shape[-2:]
    device = sums.device
    shape = (height // binning, width // binning)
    ky = torch.fft.fftfreq(height, device=device)
    kx = torch.fft.rfftfreq(width, device=device)
    tables = [torch.as_tensor(t, dtype=torch.float32, device=device) for t in frequency_factors]
    scale = (tables[0].shape[1] - 1) / math.sqrt(0.5)
    # The corner's frequency of an image is sqrt(0.5) cycles per pixel in both directions.
    index = (torch.hypot(ky[:, None], kx[None, :]) * scale).round_().long()
    cropped_index = crop_half_plane(index, (height, width), shape)
    totals = None
    for r in range(sums.shape[0]):
        transform = crop_half_plane(torch.fft.rfft2(sums[r]), (height, width), shape)
        if totals is None:
            totals = [torch.zeros_like(transform) for _ in tables]
        for total, table in zip(totals, tables, strict=True):
            total.addcmul_(transform, table[r][cropped_index])
    response_y = spline.response(shifts_px[..., 0], ky)[:, None]
    response_x = spline.response(shifts_px[..., 1], kx)[None, :]
    response_y = crop_half_plane(response_y.expand(-1, 1), (height, 1), (shape[0], 1))
    response_x = response_x[:, : shape[1] // 2 + 1]
    images = []
    for total in totals:
        total.div_(response_y).div_(response_x).mul_(1.0 / binning**2)
        images.append(torch.fft.irfft2(total, s=shape))
    return images
