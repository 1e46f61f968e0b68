"""Sampling an image at displaced positions with cubic B-splines."""

import torch
import torch.nn.functional as F


def bspline_prefilter(frequency: torch.Tensor) -> torch.Tensor:
    """Transform of the filter that turns an image into its cubic B-spline coefficients, along one
    axis, at frequencies in cycles per pixel (Unser 1999, IEEE Signal Process Mag 16)."""
    return 1.0 / (2.0 / 3.0 + torch.cos(2.0 * torch.pi * frequency) / 3.0)


def _two_taps(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    base = torch.floor(position)
    t = position - base
    s = 1.0 - t
    w0 = s * s * s / 6.0
    w3 = t * t * t / 6.0
    w1 = 2.0 / 3.0 - t * t * (1.0 - 0.5 * t)
    low = w0 + w1
    first = base - 1.0 + w1 / low
    second = base + 1.0 + w3 / (1.0 - low)
    return first, second, low


def sample_bspline(
    coefficients: torch.Tensor, y_px: torch.Tensor, x_px: torch.Tensor
) -> torch.Tensor:
    """Values (h, w) at the pixels y_px, x_px (h, w each) of the cubic spline with the B-spline
    coefficients (H, W); four bilinear look-ups (Sigg and Hadwiger 2005, GPU Gems 2, chapter 20).
    Beyond the edge the edge is repeated."""
    height, width = coefficients.shape
    y0, y1, wy = _two_taps(y_px)
    x0, x1, wx = _two_taps(x_px)

    grid = torch.empty(*y_px.shape, 2)

    def at(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        torch.sub(x * (2.0 / (width - 1)), 1.0, out=grid[..., 0])
        torch.sub(y * (2.0 / (height - 1)), 1.0, out=grid[..., 1])
        return F.grid_sample(
            coefficients[None, None],
            grid[None],
            mode="bilinear",
            align_corners=True,
            padding_mode="border",
        )[0, 0]

    lower = wx * at(y0, x0) + (1.0 - wx) * at(y0, x1)
    upper = wx * at(y1, x0) + (1.0 - wx) * at(y1, x1)
    return wy * lower + (1.0 - wy) * upper
