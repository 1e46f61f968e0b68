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
from cryosnake.motion.workers import Workers

BLOCK_ROWS = 48
BLOCK_COLUMNS = 2048
SEGMENT = 32
CHUNK_FRAMES = 48
STRIP_ROWS = 32


def weighted_sums(movie: RawMovie, shift_at, factors: np.ndarray, team: Workers) -> torch.Tensor:
    """Sums of shifted, corrected frames, (R, H, W).

    Parameters
    ----------
    movie : all frames.
    shift_at : callable (y, x) in pixels, arrays that broadcast -> (F, ..., 2) shifts in pixels.
    factors : (F, R) weight of each frame in each sum.
    team : threads that take blocks.
    """
    height, width = movie.shape
    device = movie.gain.device
    sums = torch.empty(factors.shape[1], height, width, device=device)
    factors = torch.as_tensor(factors.T.copy(), dtype=torch.float32, device=device)
    # A GPU has no cache to fit into: it takes whole rows, for fewer and longer operations.
    side = BLOCK_COLUMNS if device.type == "cpu" else width
    blocks = [
        (slice(top, min(top + BLOCK_ROWS, height)), slice(left, min(left + side, width)))
        for top in range(0, height, BLOCK_ROWS)
        for left in range(0, width, side)
    ]

    def fill(some) -> None:
        scratch = _Scratch(device)
        for rows, columns in some:
            _fill_block(movie, shift_at, factors, rows, columns, sums[:, rows, columns], scratch)

    team.each(fill, [blocks[n :: team.count] for n in range(team.count)])
    return sums


def _fill_block(movie, shift_at, factors, rows: slice, columns: slice, target, scratch) -> None:
    """One block (R, h, w) of the sums."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    middles = columns.start + np.minimum(np.arange(0, width, SEGMENT) + SEGMENT / 2, width)
    shifts = shift_at(np.full(middles.shape, rows.start + height / 2), middles)
    base_y, weights_y = _taps(shifts[..., 0], width, target.device)
    base_x, weights_x = _taps(shifts[..., 1], width, target.device)
    window_shape = (height + weights_y.shape[1] - 1, width + weights_x.shape[1] - 1)
    for first in range(0, len(movie), CHUNK_FRAMES):
        last = min(first + CHUNK_FRAMES, len(movie))
        stack = scratch.view("stack", last - first, height, width)
        for f in range(first, last):
            window = scratch.view("window", *window_shape)
            movie.window(f, rows.start + base_y[f], columns.start + base_x[f], window)
            across = scratch.view("across", window_shape[0], width)
            _interpolate(window, weights_y[f], weights_x[f], across, stack[f - first])
        block = scratch.view("block", factors.shape[0], height * width)
        torch.mm(factors[:, first:last], stack.view(last - first, -1), out=block)
        block = block.view(-1, height, width)
        if first == 0:
            target.copy_(block)
        else:
            target.add_(block)


class _Scratch:
    """Buffers that are made once and grow when needed: fresh memory costs more than the sums."""

    def __init__(self, device):
        self._device = device
        self._buffers: dict[str, torch.Tensor] = {}

    def view(self, name: str, *shape: int) -> torch.Tensor:
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name] = torch.empty(size, device=self._device)
        return buffer[:size].view(shape)


def _taps(shifts: np.ndarray, columns: int, device) -> tuple[list[int], torch.Tensor]:
    """First source pixel relative to the target pixel for each frame, and weights (F, J, columns),
    for shifts (F, n) at segments along a row."""
    source = -shifts
    base = np.floor(source.min(axis=1)) - spline.SUPPORT + 1
    count = int((np.floor(source.max(axis=1)) - base).max()) + spline.SUPPORT + 1
    offsets = torch.as_tensor(base)[:, None, None] + torch.arange(count)[None, :, None]
    distance = (offsets - torch.as_tensor(source)[:, None, :]).float()
    table = spline.weights(distance).to(device)
    return base.astype(int).tolist(), table.repeat_interleave(SEGMENT, dim=2)[:, :, :columns]


def _interpolate(window, weights_y, weights_x, across, out) -> None:
    """Weighted sum of the shifted views of `window`, first along rows, then along columns."""
    rows, columns = out.shape
    torch.mul(window[:, :columns], weights_x[0], out=across)
    for tap in range(1, len(weights_x)):
        across.addcmul_(window[:, tap : tap + columns], weights_x[tap])
    torch.mul(across[:rows], weights_y[0], out=out)
    for tap in range(1, len(weights_y)):
        out.addcmul_(across[tap : tap + rows], weights_y[tap])


def combined(
    sums: torch.Tensor,
    frequency_factors: list[np.ndarray],
    *,
    shifts_px: np.ndarray,
    binning: int,
    team: Workers,
) -> list[torch.Tensor]:
    """Images that are sums over r of v_r(|k|) times the transform of `sums[r]`, binned by cropping.

    Parameters
    ----------
    sums : (R, H, W) from `weighted_sums`.
    frequency_factors : one (R, K) table for each image wanted, at K frequencies from 0 to the
        corner of the transform (`dose.radial_frequencies_per_angst`).
    shifts_px : (..., 2) (y, x) shifts that were applied, for the response of the interpolation.
    binning : 1 or 2.
    team : threads that take transforms and rows.

    Returns
    -------
    One (H // binning, W // binning) float32 image per table.
    """
    height, width = sums.shape[-2:]
    device = sums.device
    shape = (height // binning, width // binning)
    frequency_y = torch.fft.fftfreq(height, device=device)
    frequency_x = torch.fft.rfftfreq(width, device=device)[: shape[1] // 2 + 1]
    top = (shape[0] + 1) // 2
    kept = torch.cat([frequency_y[:top], frequency_y[height - (shape[0] - top) :]])
    transforms = team.each(
        lambda one: crop_half_plane(torch.fft.rfft2(one), (height, width), shape), sums
    )
    tables = torch.as_tensor(np.stack(frequency_factors), dtype=torch.float32, device=device)
    # Tables end at the corner of the transform, sqrt(0.5) cycles per pixel.
    scale = (tables.shape[2] - 1) / math.sqrt(0.5)
    response_y = spline.response(shifts_px[..., 0], kept)[:, None] * binning**2
    response_x = spline.response(shifts_px[..., 1], frequency_x)[None, :]
    totals = torch.empty(
        (len(tables), shape[0], frequency_x.numel()), dtype=torch.complex64, device=device
    )

    def combine(rows: slice) -> None:
        radius = torch.hypot(kept[rows, None], frequency_x[None, :])
        index = radius.mul_(scale).round_().long()
        response = response_y[rows] * response_x
        for total, table in zip(totals, tables, strict=True):
            part = transforms[0][rows] * table[0][index]
            for transform, values in zip(transforms[1:], table[1:], strict=True):
                part.addcmul_(transform[rows], values[index])
            torch.div(part, response, out=total[rows])

    team.each(combine, [slice(row, row + STRIP_ROWS) for row in range(0, shape[0], STRIP_ROWS)])
    return team.each(lambda total: torch.fft.irfft2(total, s=shape), totals)
