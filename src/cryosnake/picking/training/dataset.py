"""Micrographs as the detector sees them, and what is known of every place on them.

A micrograph is reduced until the particle has the same diameter in pixels whatever the sample, and
its grey values are made comparable. Picks become labels of a coarse grid of places: near a pick
(positive, with the pick's probability), in its surroundings (not asked), or anything else
(unlabelled: mostly background, but also particles that no picker found).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree
from torch.nn import functional

from cryosnake.picking.mask import Mask
from cryosnake.picking.network_input import prepare

#: Distance of scores that training asks for, in pixels of the reduced micrograph.
STRIDE_PX = 4
#: Around a pick, in diameters: labelled positive within the first, not asked within the second.
POSITIVE_RADIUS, IGNORED_RADIUS = 0.2, 0.45


@dataclass(frozen=True)
class Reduced:
    """A micrograph as the detector sees it.

    Attributes
    ----------
    pixels : (h, w) float32, noise of mean 0 and standard deviation 1, particles dark.
    scale_px : pixels of the full-size micrograph in one of it; pixel (i, j) lies at
        (scale i, scale j).
    particle_px : diameter of the particle in it.
    """

    pixels: torch.Tensor
    scale_px: float
    particle_px: float


def reduce(
    image: np.ndarray,
    pixel_size_angst: float,
    diameter_angst: float,
    *,
    device: torch.device | str = "cpu",
) -> Reduced:
    """A micrograph as the detector sees it: `network_input.prepare`, with what to make of it.

    Parameters
    ----------
    image : (H, W) full-size micrograph, particles dark; values that are not finite are filled.
    diameter_angst : of the particle.

    Raises
    ------
    BadInputError : the micrograph is flat.
    """
    pixels, scale_px = prepare(image, pixel_size_angst, diameter_angst, device=device)
    return Reduced(pixels, scale_px, diameter_angst / (pixel_size_angst * scale_px))


@dataclass(frozen=True)
class Example:
    """One micrograph to learn from.

    Attributes
    ----------
    pixels : (h + 2 margin, w + 2 margin) reduced micrograph with mirrored borders.
    distance : (h, w) float32, distance of each pixel to the nearest pick in diameters.
    probability : (h, w) float32, probability of that pick to be a particle.
    """

    pixels: torch.Tensor
    distance: torch.Tensor
    probability: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.distance.shape)


def make_example(
    micrograph: Reduced, picks: pd.DataFrame, mask: Mask | None, margin_px: int
) -> Example:
    """Label every pixel of a reduced micrograph by its nearest pick.

    Parameters
    ----------
    picks : table of coordinates whose figure of merit is the probability that it is a particle;
        NaN: not asked.
    mask : where particles can be; elsewhere nothing is asked, since no picker looked there.
    margin_px : pixels that the detector sees beyond a place, on each side.
    """
    height, width = micrograph.pixels.shape
    distance = np.full((height, width), np.inf, np.float32)
    probability = np.zeros((height, width), np.float32)
    not_asked = 0.5 * (POSITIVE_RADIUS + IGNORED_RADIUS)
    if mask is not None:
        distance[~_usable(mask, (height, width), micrograph.scale_px)] = not_asked
    if len(picks):
        points = picks[["rlnCoordinateY", "rlnCoordinateX"]].to_numpy(float) / micrograph.scale_px
        known = picks["rlnAutopickFigureOfMerit"].to_numpy(np.float32)
        grid = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2)
        near, which = cKDTree(points).query(
            grid, distance_upper_bound=IGNORED_RADIUS * micrograph.particle_px
        )
        found = np.isfinite(near)
        meant = known[which[found]]
        asked = np.isfinite(meant)
        distance.reshape(-1)[found] = np.where(
            asked, near[found] / micrograph.particle_px, not_asked
        )
        probability.reshape(-1)[found] = np.where(asked, np.clip(meant, 0.0, 1.0), 0.0)
    padding = (margin_px,) * 4
    device = micrograph.pixels.device
    return Example(
        functional.pad(micrograph.pixels[None, None], padding, mode="reflect")[0, 0],
        torch.from_numpy(distance).to(device),
        torch.from_numpy(probability).to(device),
    )


def _usable(mask: Mask, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """The mask at the pixels of a reduced micrograph, (h, w)."""
    rows, columns = (
        np.minimum(((np.arange(side) * scale_px + 0.5) / mask.scale_px).astype(int), limit - 1)
        for side, limit in zip(shape, mask.usable.shape, strict=True)
    )
    return mask.usable[np.ix_(rows, columns)]


@dataclass(frozen=True)
class Batch:
    """Crops and their labels.

    Attributes
    ----------
    pixels : (N, 1, H, W); distance, probability : (N, 1, h, w) of each score of the crops.
    """

    pixels: torch.Tensor
    distance: torch.Tensor
    probability: torch.Tensor


def random_batch(
    examples: list[Example],
    rng: np.random.Generator,
    *,
    crops: int,
    scores: int,
    margin_px: int,
    stride_px: int = STRIDE_PX,
) -> Batch:
    """Crops at random places of random micrographs, randomly turned and mirrored.

    Parameters
    ----------
    crops : their number.
    scores : along each side of a crop, fewer where the smallest micrograph does not hold as many.
    margin_px : as given to `make_example`.
    """
    smallest = min(min(one.shape) for one in examples)
    scores = max(min(scores, (smallest - 1) // stride_px + 1), 1)
    span = (scores - 1) * stride_px + 1
    weights = np.array([float(np.prod(one.shape)) for one in examples])
    chosen = rng.choice(len(examples), size=crops, p=weights / weights.sum())
    parts = []
    for index in chosen:
        one = examples[index]
        top = int(rng.integers(0, one.shape[0] - span + 1))
        left = int(rng.integers(0, one.shape[1] - span + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        inside = slice(top, top + span, stride_px), slice(left, left + span, stride_px)
        side = span + 2 * margin_px
        crop = (
            one.pixels[top : top + side, left : left + side],
            one.distance[inside],
            one.probability[inside],
        )
        crop = (torch.rot90(part, turns) for part in crop)
        parts.append([part.flip(1) if mirrored else part for part in crop])
    return Batch(*(torch.stack(of_all)[:, None] for of_all in zip(*parts, strict=True)))
