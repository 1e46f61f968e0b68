"""Volumes that come from outside."""

import numpy as np
import torch

from cryosnake.classes2d.window import Window
from cryosnake.errors import BadInputError


def checked(volume: np.ndarray, window: Window) -> np.ndarray:
    """The volume, if it can be a reference for the particles of a window.

    Raises
    ------
    BadInputError : not a cube of the particles' box, not finite, or constant.
    """
    volume = np.asarray(volume)
    if volume.shape != (window.box_px,) * 3:
        raise BadInputError(
            None,
            f"a reference of shape {volume.shape}",
            f"a cube of {window.box_px} px, the particles' box",
        )
    if not np.all(np.isfinite(volume)) or np.ptp(volume) == 0:
        raise BadInputError(None, "a reference that is constant or not finite", "a volume")
    return volume


def low_passed(volume: torch.Tensor, limit_per_px: float) -> torch.Tensor:
    """A volume (n, n, n) without what lies beyond a frequency."""
    side = volume.shape[-1]
    full = torch.fft.fftfreq(side, device=volume.device)
    half = torch.fft.rfftfreq(side, device=volume.device)
    radius = torch.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    return torch.fft.irfftn(torch.fft.rfftn(volume) * (radius < limit_per_px), s=(side,) * 3)
