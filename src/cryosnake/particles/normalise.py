"""Cleaning of micrographs from dust, and normalisation of particles by their background."""

import itertools

import numpy as np
import torch

_TILE_PX = 128
_NEAR_PX = 7
_CANDIDATES = 50_000
_FLAT = 1e-10
"""A background with a smaller relative spread than this is no image."""


def without_dust(image: np.ndarray, sigma: float, *, seed) -> tuple[np.ndarray, int]:
    """Replace the pixels that stand out of their surroundings by noise like these.

    A pixel is dust if it differs by more than `sigma` standard deviations from the median both of
    a tile of about 128 x 128 pixels and of the 15 x 15 pixels about it: hot pixels and hits of
    X-rays do, particles of strong contrast do not, and neither do edges of a film. The standard
    deviation is the larger one of the two, from quartiles, so that dust does not hide itself.

    Parameters
    ----------
    image : (H, W) float32, finite; it is not changed.
    sigma : more than 0.
    seed : of the noise (a number or a list of them).

    Returns
    -------
    (H, W) image, the same object where nothing was replaced; number of pixels replaced.
    """
    height, width = image.shape
    found = []
    for rows in _edges(height):
        for columns in _edges(width):
            tile = image[rows, columns]
            low, median, high = np.percentile(tile[::3, ::3], [25.0, 50.0, 75.0])
            spread = (high - low) / 1.349
            y, x = np.nonzero(np.abs(tile - median) > sigma * spread)
            if len(y) and spread > 0:
                found.append((y + rows.start, x + columns.start, np.full(len(y), spread)))
    if not found:
        return image, 0
    y, x, spread = (np.concatenate(parts) for parts in zip(*found, strict=True))
    near = [
        _near(image, y[part : part + _CANDIDATES], x[part : part + _CANDIDATES])
        for part in range(0, len(y), _CANDIDATES)
    ]
    median, near_spread = (np.concatenate(parts) for parts in zip(*near, strict=True))
    dust = np.abs(image[y, x] - median) > sigma * np.maximum(spread, near_spread)
    if not dust.any():
        return image, 0
    y, x, spread, median = y[dust], x[dust], spread[dust], median[dust]
    cleaned = image.copy()
    cleaned[y, x] = median + spread * np.random.default_rng(seed).standard_normal(len(y))
    return cleaned, len(y)


def _near(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and spread of every other pixel of the 15 x 15 about each place (at the border, the
    pixels there repeated)."""
    away = np.arange(-_NEAR_PX, _NEAR_PX + 1, 2)
    rows = np.clip(y[:, None] + away, 0, image.shape[0] - 1)
    columns = np.clip(x[:, None] + away, 0, image.shape[1] - 1)
    values = image[rows[:, :, None], columns[:, None, :]].reshape(len(y), -1)
    low, median, high = np.percentile(values, [25.0, 50.0, 75.0], axis=1)
    return median, (high - low) / 1.349


def _edges(length: int) -> list[slice]:
    count = max(1, round(length / _TILE_PX))
    edges = np.linspace(0, length, count + 1).astype(int)
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def squared_radius(side_px: int, *, device="cpu") -> torch.Tensor:
    """(side, side) squared distance in pixels from the centre, pixel side // 2."""
    line = torch.arange(side_px, device=device, dtype=torch.float32) - side_px // 2
    return line[:, None] ** 2 + line[None, :] ** 2


def normalised(
    stack: torch.Tensor, radius_px: float, *, ramp: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean 0 and standard deviation 1 of each image outside of a circle about the centre.

    Parameters
    ----------
    stack : (N, s, s) float32.
    radius_px : pixels farther from pixel s // 2 than this are background.
    ramp : first subtract the plane that fits the background best (least squares).

    Returns
    -------
    (N, s, s) normalised; (N,) standard deviation that was divided by, zero where the background
    is flat (that image is all zero).
    """
    count, side, _ = stack.shape
    outside = (squared_radius(side, device=stack.device) > radius_px**2).flatten()
    if int(outside.sum()) < 3:
        raise ValueError(f"{radius_px = } leaves no background in a box of {side} px")
    flat = stack.reshape(count, -1)
    line = torch.linspace(-1.0, 1.0, side, device=stack.device)
    plane = torch.stack(
        [
            torch.ones(side * side, device=stack.device),
            line.repeat_interleave(side),
            line.repeat(side),
        ]
    )[: 3 if ramp else 1]
    # In double precision: the mean of counts is far larger than their spread.
    design = (plane * outside).double()
    normal = design @ design.T
    first = flat[:, :1]
    coefficients = torch.linalg.solve(normal, design @ (flat - first).double().T).T
    rest = flat - first - coefficients.float() @ plane
    deviation = (rest.square() @ outside.float() / outside.sum()).sqrt()
    size = flat.abs().amax(dim=1)
    deviation = torch.where(deviation > _FLAT + 1e-6 * size, deviation, 0.0)
    scale = torch.where(deviation > 0, 1.0 / deviation.clamp_min(_FLAT), 0.0)
    return (rest * scale[:, None]).reshape(count, side, side), deviation
