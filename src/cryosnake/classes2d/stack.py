"""Particle images, read in chunks, and what the classification keeps of them in memory.

An image is normalised by its background, masked by a soft circle, cut to the window that the circle
needs, and sampled at pixels just fine enough for the band that will be used: about a thousand
values of 16 bits, whatever the box.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch

from cryosnake.alignment.polar import Disc
from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image

_CHUNK_BYTES = 32 * 2**20
_PIXELS_PER_PERIOD = 2.2  # of the finest frequency
_EDGE_FRACTION = 0.06  # of the diameter, width of the mask's edge
_LEAST_EDGE_PX = 2.0


class ParticleStack:
    """Images (N, n, n), of an array or of MRC files, one after the other.

    Parameters
    ----------
    source : an array, or a path, or a list of pairs (path, indices from 0) as a particle table
        names them; files are mapped into memory and never read as a whole.

    Raises
    ------
    BadInputError : a file is missing or not MRC, boxes differ, or are not square.
    """

    def __init__(self, source):
        if isinstance(source, (np.ndarray, torch.Tensor)):
            data = np.asarray(source)
            self._blocks = [(None, data, np.arange(len(data)))]
        else:
            if isinstance(source, (str, Path)):
                source = [(source, None)]
            self._blocks = [self._opened(Path(path), chosen) for path, chosen in source]
        for path, data, _ in self._blocks:
            side = data.shape[-1]
            if data.ndim != 3 or data.shape[1] != side:
                raise BadInputError(path, f"is of shape {data.shape}", "a stack of square images")
            if side != self._blocks[0][1].shape[-1]:
                raise BadInputError(
                    path, f"has boxes of {side} px", f"{self._blocks[0][1].shape[-1]} px"
                )
        if not self._blocks:
            raise BadInputError(None, "no particle stack", "at least one")
        self._starts = np.cumsum([0] + [len(chosen) for _, _, chosen in self._blocks])

    @staticmethod
    def _opened(path: Path, chosen):
        try:
            data = mrcfile.mmap(path, mode="r", permissive=False).data
        except (OSError, ValueError) as error:
            raise BadInputError(path, f"cannot be read ({error})", "an MRC stack") from error
        if data.ndim == 2:
            data = data[None]
        chosen = np.arange(len(data)) if chosen is None else np.asarray(chosen, np.int64)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(data):
            raise BadInputError(
                path, f"holds {len(data)} images", f"at least {int(chosen.max()) + 1}"
            )
        return path, data, chosen

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def box_px(self) -> int:
        return self._blocks[0][1].shape[-1]

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Consecutive (start, (B, n, n) float32)."""
        step = max(1, _CHUNK_BYTES // (4 * self.box_px**2))
        for block, first in zip(self._blocks, self._starts, strict=False):
            _, data, chosen = block
            for start in range(0, len(chosen), step):
                rows = chosen[start : start + step]
                if rows[-1] - rows[0] == len(rows) - 1 and np.all(np.diff(rows) == 1):
                    part = data[rows[0] : rows[-1] + 1]
                else:
                    part = data[rows]
                yield int(first) + start, np.asarray(part, np.float32)


@dataclass(frozen=True)
class Window:
    """How boxes become small images.

    Parameters
    ----------
    box_px, window_px : sides of the box and of the part that is kept; both centred.
    side_px, pixel_size_angst : of the small images.
    mask : (window, window) soft circle, 1 inside; mask_px : its squared sum in small pixels.
    background : (box, box) bool, outside the circle.
    disc : the pixels of the small image that are kept.
    """

    box_px: int
    window_px: int
    side_px: int
    pixel_size_angst: float
    mask: torch.Tensor
    mask_px: float
    background: torch.Tensor
    disc: Disc


def circle(side_px: int, radius_px: float, edge_px: float) -> torch.Tensor:
    """(n, n) 1 within the radius, falling to 0 over the edge as a cosine."""
    axis = (torch.arange(side_px) - side_px // 2).float()
    distance = torch.hypot(axis[:, None], axis[None, :])
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius_px) / edge_px).clamp(0.0, 1.0))


def window_for(
    box_px: int, pixel_size_angst: float, diameter_angst: float, resolution_angst: float
) -> Window:
    """The window for particles of a diameter, good to a resolution (at best 2.1 pixels)."""
    radius_px = 0.5 * diameter_angst / pixel_size_angst
    edge_px = max(_LEAST_EDGE_PX, _EDGE_FRACTION * 2.0 * radius_px)
    edge_px = min(edge_px, 0.5 * box_px - radius_px)
    if edge_px < 1.0 or radius_px < 3:
        raise BadInputError(
            None,
            f"a diameter of {diameter_angst:g} A in a box of {box_px} px of {pixel_size_angst:g} A",
            "room for background around the particle, and at least 6 px across",
        )
    background = circle(box_px, radius_px, 1e-3) < 0.5
    window_px = min(2 * math.ceil(radius_px + edge_px + 1), box_px - box_px % 2)
    resolution_angst = max(resolution_angst, 2.1 * pixel_size_angst)
    side_px = math.ceil(_PIXELS_PER_PERIOD * window_px * pixel_size_angst / resolution_angst)
    side_px = min(side_px + side_px % 2, window_px)
    scale = window_px / side_px
    mask = circle(window_px, radius_px, edge_px)
    return Window(
        box_px=box_px,
        window_px=window_px,
        side_px=side_px,
        pixel_size_angst=pixel_size_angst * scale,
        mask=mask,
        mask_px=float(mask.square().sum()) / scale**2,
        background=background,
        disc=Disc(side_px, min((radius_px + edge_px) / scale + 1.0, side_px / 2 - 1)),
    )


@dataclass(frozen=True)
class PreparedStack:
    """All images as they are classified.

    Parameters
    ----------
    parts : (N, 2 P + 1) float16 of `Disc.split`, on the CPU.
    usable : (N,) bool; false for constant images and such that hold NaN or infinity.
    """

    window: Window
    parts: torch.Tensor
    usable: np.ndarray

    def __len__(self) -> int:
        return len(self.parts)


def prepare(
    stack: ParticleStack,
    pixel_size_angst: float,
    diameter_angst: float,
    resolution_angst: float,
    device: torch.device | str = "cpu",
) -> PreparedStack:
    """Read a stack once and keep what a classification to a resolution needs."""
    window = window_for(stack.box_px, pixel_size_angst, diameter_angst, resolution_angst)
    number = 2 * len(window.disc.half()) + 1
    parts = torch.empty((len(stack), number), dtype=torch.float16)
    usable = np.ones(len(stack), bool)
    for start, images in stack.chunks():
        small, good = prepared(torch.tensor(images).to(device), window)
        parts[start : start + len(images)] = small.to(torch.float16).cpu()
        usable[start : start + len(images)] = good.cpu().numpy()
    return PreparedStack(window, parts, usable)


def prepared(images: torch.Tensor, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
    """Split small images (B, 2 P + 1) of boxes (B, n, n), in units of the background's standard
    deviation, and whether each can be used (a bad one is all zeros)."""
    flat = images.flatten(1)
    background = window.background.flatten().to(images.device).float()
    background /= background.sum()
    mean = flat @ background
    centred = images - mean[:, None, None]
    deviation = torch.sqrt(centred.flatten(1).square() @ background)
    good = torch.isfinite(flat.sum(1)) & (deviation > 1e-5 * mean.abs().clamp_min(1e-20))
    centred *= (1.0 / deviation.clamp_min(1e-30))[:, None, None]
    parts = images_as_parts(torch.where(good[:, None, None], centred, 0.0), window)
    return parts.clamp(-6e4, 6e4), good


def images_as_parts(images: torch.Tensor, window: Window) -> torch.Tensor:
    """Split small images (B, 2 P + 1) of boxes (B, n, n), masked but on their own scale."""
    low = window.box_px // 2 - window.window_px // 2
    cut = slice(low, low + window.window_px)
    centred = images[:, cut, cut] * window.mask.to(images.device)
    side = (window.side_px, window.side_px)
    small = bin_image(centred, side) if side[0] < window.window_px else centred
    return window.disc.split(small)
