"""Particle images, read in chunks, and what the classification keeps of them in memory.

An image is normalised by its background, masked by a soft circle, cut to the window that the circle
needs, and sampled at pixels just fine enough for the band that will be used: about a thousand
values of 16 bits, whatever the box.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch

from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.window import Window, window_for
from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image

__all__ = [
    "ParticleStack",
    "PreparedStack",
    "Window",
    "check_particles",
    "images_as_parts",
    "prepare",
    "prepared",
    "window_for",
]

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class _File:
    """Images in a file. It is mapped anew for every read: a stack of a thousand files needs no
    thousand descriptors, and pages that were read do not stay."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, int, int]
    offset: int

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        try:
            data = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise BadInputError(self.path, f"was changed while in use ({error})") from error
        return np.array(data[rows], np.float32)


class ParticleStack:
    """Images (N, n, n), of an array or of MRC files, one after the other.

    Parameters
    ----------
    source : an array, or a path, or a list of pairs (path, indices from 0) as a particle table
        names them; files are read in chunks, never as a whole.

    Raises
    ------
    BadInputError : a file is missing, damaged or not MRC, has no such image, boxes differ or are
        not square, or values are not real.
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
            if data.dtype.kind not in "iuf":
                raise BadInputError(path, f"holds values of type {data.dtype}", "real numbers")
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
            with mrcfile.mmap(path, mode="r", permissive=False) as mrc:
                found = mrc.data
                shape = found.shape if found.ndim > 2 else (1, *found.shape)
                data = _File(path, found.dtype, shape, found.offset)
                del found
        except (OSError, ValueError) as error:
            raise BadInputError(path, f"cannot be read ({error})", "an MRC stack") from error
        chosen = np.arange(len(data)) if chosen is None else np.asarray(chosen, np.int64)
        beyond = chosen[(chosen < 0) | (chosen >= len(data))]
        if len(beyond):
            raise BadInputError(
                path, f"has no image {beyond[0]}", f"0 to {len(data) - 1}, {len(data)} images"
            )
        return path, data, chosen

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def box_px(self) -> int:
        return self._blocks[0][1].shape[-1]

    @property
    def path(self) -> Path | None:
        """The file, or the first of them; None for an array."""
        return self._blocks[0][0]

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


def check_particles(stack: ParticleStack, optics: Optics) -> None:
    """That there are particles, with CTF parameters each.

    Raises
    ------
    BadInputError : otherwise.
    """
    if len(stack) == 0:
        raise BadInputError(stack.path, "no particles", "at least one")
    if len(stack) != len(optics):
        raise BadInputError(
            stack.path, f"{len(stack)} images but CTF parameters of {len(optics)}", "one an image"
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
    stack: ParticleStack, window: Window, device: torch.device | str = "cpu"
) -> PreparedStack:
    """Read a stack once and keep what a classification in a window needs."""
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
