"""Band-limited spectra of patches: all that the alignment sees of a frame."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.fourier import good_size

PATCH_OVERLAP = 0.12
TYPICAL_PATCH_ANGST = 400.0
MAX_PATCHES = 8
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
    """Turns corrected frames into patch spectra.

    Examples
    --------
    >>> spectra = SpectraMaker(grid, device)(frame)     # (P, ny, nx) complex64
    """

    def __init__(self, grid: PatchGrid, device):
        self.grid = grid
        height, width = grid.side_px
        self._window = taper(height, device)[:, None] * taper(width, device)[None, :]
        self._window_sum = self._window.sum()

    def __call__(self, frame: torch.Tensor) -> torch.Tensor:
        """Spectra of the patches of a corrected (H, W) frame, in units in which white noise of
        variance 1 per binned pixel has power 1; the patch's mean is removed."""
        grid = self.grid
        binned = _box_binned(frame, grid.binning)
        height, width = grid.side_px
        tiles = torch.stack(
            [
                binned[y : y + height, x : x + width]
                for y in grid.starts_y.tolist()
                for x in grid.starts_x.tolist()
            ]
        )
        means = (tiles * self._window).sum((1, 2), keepdim=True) / self._window_sum
        transform = torch.fft.rfft2((tiles - means).mul_(self._window))
        rows = (grid.ky.numel() - 1) // 2
        first, last = AXIS_INDICES + 1, AXIS_INDICES + 1 + grid.kx.numel()
        kept = torch.cat(
            [transform[:, height - rows :, first:last], transform[:, : rows + 1, first:last]], dim=1
        )
        return kept.div_(torch.linalg.vector_norm(self._window))


def _box_binned(frame: torch.Tensor, binning: int) -> torch.Tensor:
    """Sum over boxes of `binning`^2 pixels; rows and columns left over are dropped."""
    if binning == 1:
        return frame
    height, width = (side // binning * binning for side in frame.shape)
    rows = frame[0:height:binning, :width].clone()
    for offset in range(1, binning):
        rows += frame[offset:height:binning, :width]
    boxes = rows[:, 0::binning].clone()
    for offset in range(1, binning):
        boxes += rows[:, offset::binning]
    return boxes
