"""Buffers that are made once, and how much may pass through them at a time.

On a CPU the scores pass through memory several times: fresh allocations of megabytes are returned
to the kernel and faulted in again at every step, which costs more than the arithmetic. Buffers here
are taken by name and kept.
"""

import ctypes

import torch

#: Scores of a chunk that stay in the caches of a CPU core complex.
CPU_SCORES = 3_000_000
_BYTES_PER_SCORE = 16  # scores, their orders, their posterior and shares of the images


class Workspace:
    """Named float32 buffers on one device, grown when asked for more, never shrunk."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self._flat: dict[str, torch.Tensor] = {}
        if self.device.type == "cpu":
            keep_freed_memory()

    def get(self, name: str, *shape: int) -> torch.Tensor:
        """A contiguous view of `shape`, its content undefined; earlier views of that name are
        invalid."""
        need = 1
        for extent in shape:
            need *= extent
        flat = self._flat.get(name)
        if flat is None or flat.numel() < need:
            flat = torch.empty(need, dtype=torch.float32, device=self.device)
            self._flat[name] = flat
        return flat[:need].view(shape)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(4 * flat.numel() for flat in self._flat.values())


def keep_freed_memory() -> None:
    """Ask the C library to keep freed blocks of up to 1 GB instead of unmapping them (glibc; a
    no-op elsewhere)."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        return


def images_at_once(scores_per_image: int, budget_mb: float, device: torch.device) -> int:
    """How many images a chunk holds, at least 1.

    Parameters
    ----------
    scores_per_image : references times shifts times rotations.
    budget_mb : memory for the buffers; on a CPU the caches set a lower limit.
    """
    scores = int(budget_mb * 2**20 / _BYTES_PER_SCORE)
    if device.type == "cpu":
        scores = min(scores, CPU_SCORES)
    return max(1, scores // max(1, scores_per_image))
