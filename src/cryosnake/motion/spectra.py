"""Band-limited spectra of patches: all that the alignment sees of a frame."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.fourier import good_size

PATCH_OVERLAP = 0.12
TYPICAL_PATCH_ANGST = 400.0
MAX_PATCHES = 8
STRIP_ROWS = 32
AXIS_INDICES = 1  # Fourier rows and columns up to this index hold the detector's line patterns
LONGEST_PERIOD_ANGST = 150.0


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches lie on frames binned by an integer, and which frequencies are kept.

    Parameters
    ----------
    binning : box binning of the frame.
    binned_shape : (h, w) of the binned frame.
    side_px : (height, width) of a patch in binned pixels.
    starts_y, starts_x : first rows and columns of the patches.
    ky, kx : frequencies kept, (ny,) and (nx,), in cycles per binned pixel; kx is positive.
    pixel_size_angst : of a binned pixel.
    """

    binning: int
    binned_shape: tuple[int, int]
    side_px: tuple[int, int]
    starts_y: np.ndarray
    starts_x: np.ndarray
    ky: torch.Tensor
    kx: torch.Tensor
    pixel_size_angst: float

    @property
    def count(self) -> int:
        """Number of patches."""
        return self.starts_y.size * self.starts_x.size

    @property
    def centres(self) -> np.ndarray:
        """(P, 2) (y, x) centres of the patches as fractions of the frame."""
        y = (self.starts_y + self.side_px[0] / 2) / self.binned_shape[0]
        x = (self.starts_x + self.side_px[1] / 2) / self.binned_shape[1]
        return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)

    @property
    def radius_per_angst(self) -> torch.Tensor:
        """(ny, nx) frequencies in 1/angstrom."""
        return torch.hypot(self.ky[:, None], self.kx[None, :]) / self.pixel_size_angst

    def is_usable(self, ky: torch.Tensor, kx: torch.Tensor) -> torch.Tensor:
        """(ny, nx) True inside the circular band and off the axes."""
        radius = torch.hypot(ky[:, None], kx[None, :])
        lowest = self.pixel_size_angst / LONGEST_PERIOD_ANGST
        off_axis = ky.abs() > (AXIS_INDICES + 0.5) / self.side_px[0]
        return (radius <= ky.abs().max()) & (radius >= lowest) & off_axis[:, None]


def patch_counts(
    shape: tuple[int, int], pixel_size_angst: float, patches: tuple[int, int] | str
) -> tuple[int, int]:
    """Numbers of patches (rows, columns); `auto`: about 400 A wide, at most 8 in a direction, and
    only the whole frame where that would give fewer than 2."""
    if patches != "auto":
        return tuple(patches)
    counts = [
        min(MAX_PATCHES, round(side * pixel_size_angst / TYPICAL_PATCH_ANGST)) for side in shape
    ]
    return tuple(counts) if min(counts) >= 2 else (1, 1)


def make_grid(
    shape: tuple[int, int],
    pixel_size_angst: float,
    *,
    patches: tuple[int, int],
    max_resolution_angst: float,
    device,
) -> PatchGrid:
    """Lay patches over a frame of `shape` pixels.

    Raises
    ------
    ValueError : a patch is smaller than 32 binned pixels.
    """
    binning = max(1, math.floor(max_resolution_angst / (2.0 * pixel_size_angst) + 0.35))
    binned = tuple(side // binning for side in shape)
    sides, starts = [], []
    for length, count in zip(binned, patches, strict=True):
        side = good_size(int(length * (1 + PATCH_OVERLAP * (count > 1)) / count))
        if side < 32:
            raise ValueError(f"{patches = } on {binned = } pixels are smaller than 32 pixels")
        sides.append(side)
        starts.append(np.round(np.linspace(0, length - side, count)).astype(int))
    if patches[0] == 1:
        starts[0] = np.array([(binned[0] - sides[0]) // 2])
    if patches[1] == 1:
        starts[1] = np.array([(binned[1] - sides[1]) // 2])
    pixel = pixel_size_angst * binning
    limit = min(0.46, pixel / max_resolution_angst)
    rows, columns = (max(4, math.floor(limit * side)) for side in sides)
    ky = torch.arange(-rows, rows + 1, device=device, dtype=torch.float32) / sides[0]
    kx = torch.arange(AXIS_INDICES + 1, columns + 1, device=device, dtype=torch.float32) / sides[1]
    return PatchGrid(binning, binned, (sides[0], sides[1]), starts[0], starts[1], ky, kx, pixel)


def taper(length: int, device) -> torch.Tensor:
    """(length,) window that falls to 0 over the outer 12 % as a raised cosine."""
    edge = max(2, round(PATCH_OVERLAP * length))
    ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(edge, device=device) + 0.5) / edge)
    window = torch.ones(length, device=device)
    window[:edge] = ramp
    window[-edge:] = ramp.flip(0)
    return window


class SpectraMaker:
    """Turns corrected frames into patch spectra; its buffers are made once.

    Examples
    --------
    >>> mean = SpectraMaker(grid, device)(frame, factor, out=spectra[f])
    """

    def __init__(self, grid: PatchGrid, device):
        self.grid = grid
        height, width = grid.side_px
        window = taper(height, device)[:, None] * taper(width, device)[None, :]
        self._window = window / torch.linalg.vector_norm(window)
        self._share = window / window.sum()
        rows, columns = grid.binned_shape
        self._half = torch.empty(STRIP_ROWS, columns * grid.binning, device=device)
        self._binned = torch.empty(rows, columns, device=device)
        self._tiles = torch.empty(grid.count, height, width, device=device)
        self._transform = torch.empty(
            grid.count, height, width // 2 + 1, dtype=torch.complex64, device=device
        )

    def __call__(
        self, frame: torch.Tensor, factor: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """Fill `out`, (P, ny, nx) complex, with the spectra of the patches of a corrected (H, W)
        frame times `factor` (ny, nx), in units in which white noise of variance 1 per binned pixel
        has power 1; the patch's mean is removed. Returns the frame's mean."""
        grid = self.grid
        height, width = grid.side_px
        self._bin(frame)
        places = [(y, x) for y in grid.starts_y.tolist() for x in grid.starts_x.tolist()]
        for tile, (y, x) in zip(self._tiles, places, strict=True):
            part = self._binned[y : y + height, x : x + width]
            torch.sub(part, (part * self._share).sum(), out=tile)
            tile.mul_(self._window)
        torch.fft.rfft2(self._tiles, out=self._transform)
        rows = (grid.ky.numel() - 1) // 2
        kept = self._transform[:, :, AXIS_INDICES + 1 : AXIS_INDICES + 1 + grid.kx.numel()]
        torch.mul(kept[:, height - rows :], factor[:rows], out=out[:, :rows])
        torch.mul(kept[:, : rows + 1], factor[rows:], out=out[:, rows:])
        return self._binned.mean() / grid.binning**2

    def _bin(self, frame: torch.Tensor) -> None:
        """Sum over boxes of binning^2 pixels, by strips that stay in the cache."""
        size = self.grid.binning
        if size == 1:
            self._binned.copy_(frame)
            return
        rows, columns = self.grid.binned_shape
        for top in range(0, rows, STRIP_ROWS):
            count = min(STRIP_ROWS, rows - top)
            strip = frame[top * size : (top + count) * size, : columns * size]
            half, boxes = self._half[:count], self._binned[top : top + count]
            torch.add(strip[0::size], strip[1::size], out=half)
            for offset in range(2, size):
                half += strip[offset::size]
            torch.add(half[:, 0::size], half[:, 1::size], out=boxes)
            for offset in range(2, size):
                boxes += half[:, offset::size]
