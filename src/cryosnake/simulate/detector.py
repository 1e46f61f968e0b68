"""The counting detector: sensitivity of its pixels, counts, and the gain reference."""

import math

import numpy as np
import torch

_INVERSE_BELOW = 12.0  # mean counts up to which inverting the distribution is the faster way
_BLOCK_PX = 1 << 16  # stays in cache


def pixel_sensitivity(
    rng: np.random.Generator, shape: tuple[int, int], *, rms: float, dead_columns: int
) -> np.ndarray:
    """Relative sensitivity (H, W), float32, mean 1 over live pixels, 0 in dead columns.

    Blocks of read-out channels, columns and single pixels share the variance 4 : 4 : 1, with a
    slow fall-off across the chip, as in the gain references of counting cameras.
    """
    height, width = shape
    rows, columns = 4, 8
    block_y = np.minimum(np.arange(height) * rows // height, rows - 1)
    block_x = np.minimum(np.arange(width) * columns // width, columns - 1)
    blocks = rng.normal(size=(rows, columns))[block_y[:, None], block_x[None, :]]
    column = rng.normal(size=width)[None, :]
    pixel = rng.normal(size=shape)
    slow = 2.0 * (np.linspace(-0.5, 0.5, height)[:, None] + np.linspace(-0.5, 0.5, width)[None, :])
    total = (2 * blocks + 2 * column + pixel + slow) / 3.0
    sensitivity = np.clip(1.0 + rms * total, 0.3, 2.0)
    sensitivity /= sensitivity.mean()
    dead = rng.choice(width, min(dead_columns, width), replace=False)
    sensitivity[:, dead] = 0.0
    return sensitivity.astype(np.float32)


def gain_reference(sensitivity: np.ndarray) -> np.ndarray:
    """The multiplicative gain: 1 / sensitivity, 0 where the pixel is dead."""
    live = sensitivity > 0
    return np.divide(1.0, sensitivity, out=np.zeros_like(sensitivity), where=live)


def poisson_counts(mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Poisson counts, float32, of the means given (any shape, not negative).

    Small means, as in counting cameras, go through the cumulative distribution term by term: a
    count is at least k where u e^m exceeds the sum of m^j / j! below k.
    """
    flat = mean.reshape(-1)
    counts = torch.empty_like(flat)
    for start in range(0, flat.numel(), _BLOCK_PX):
        block = flat[start : start + _BLOCK_PX]
        highest = float(block.max())
        if highest > _INVERSE_BELOW:
            counts[start : start + _BLOCK_PX] = torch.poisson(block, generator=generator)
            continue
        scaled = torch.rand(block.numel(), generator=generator).mul_(torch.exp(block))
        found = torch.zeros(block.numel(), dtype=torch.uint8)
        above = torch.empty(block.numel(), dtype=torch.bool)
        power = torch.ones_like(block)
        total = torch.ones_like(block)
        # Six standard deviations and four counts reach beyond the resolution of the draw.
        for k in range(1, int(highest + 6.0 * highest**0.5 + 4.0)):
            torch.gt(scaled, total, out=above)
            found += above.view(torch.uint8)
            power *= block
            total.add_(power, alpha=1.0 / math.factorial(k))
        counts[start : start + _BLOCK_PX] = found
    return counts.reshape(mean.shape)
