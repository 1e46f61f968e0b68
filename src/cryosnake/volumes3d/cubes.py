"""Cubes between the particles' box and the window in which they are searched."""

import math

import numpy as np
import torch

from cryosnake.classes2d.model import Geometry


def sphere(side_px: int, radius_px: float, edge_px: float) -> torch.Tensor:
    """(n, n, n) 1 within the radius, falling to 0 over the edge as a cosine."""
    axis = (torch.arange(side_px) - side_px // 2).float()
    distance = torch.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius_px) / edge_px).clamp(0.0, 1.0))


def in_window(volume: np.ndarray, geometry: Geometry) -> torch.Tensor:
    """(n, n, n) a volume of the particles' box in the window's small pixels."""
    window = geometry.window
    low = window.box_px // 2 - window.window_px // 2
    cut = slice(low, low + window.window_px)
    cube = torch.from_numpy(np.ascontiguousarray(volume[cut, cut, cut], np.float32))
    return resized(cube.to(geometry.device), window.side_px)


def in_box(volume: torch.Tensor, geometry: Geometry) -> np.ndarray:
    """(box, box, box) float32, the inverse of `in_window`, zero outside the window."""
    window = geometry.window
    box = np.zeros((window.box_px,) * 3, np.float32)
    low = window.box_px // 2 - window.window_px // 2
    cut = slice(low, low + window.window_px)
    box[cut, cut, cut] = resized(volume, window.window_px).cpu().numpy()
    return box


def resized(volume: torch.Tensor, side_px: int) -> torch.Tensor:
    """A cube resampled by cutting or padding its transform so that its projections, sums over
    voxels of the new size, keep their grey values: a projection of small pixels has the grey values
    of its larger fellows."""
    have = volume.shape[-1]
    if have == side_px:
        return volume
    spectrum = torch.fft.fftshift(torch.fft.fftn(volume))
    out = spectrum.new_zeros((side_px,) * 3)
    small = min(have, side_px)
    source = slice(have // 2 - small // 2, have // 2 - small // 2 + small)
    target = slice(side_px // 2 - small // 2, side_px // 2 - small // 2 + small)
    out[target, target, target] = spectrum[source, source, source]
    # grey values of a volume would keep with (side / have)^3; a projection sums side / have as
    # many voxels
    scale = (side_px / have) ** 2
    return torch.fft.ifftn(torch.fft.ifftshift(out)).real * scale
