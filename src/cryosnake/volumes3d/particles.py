"""Particles on rings, with what is known of each so far."""

import numpy as np
import torch

from cryosnake.alignment.likelihood import Images
from cryosnake.alignment.polar import PolarTransform
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.stack import PreparedStack
from cryosnake.volumes3d.result import VolumePoses


class Particles:
    """A prepared stack with its CTFs and poses.

    Attributes
    ----------
    poses : the best pose of each particle so far.
    views : (N, K, 3) and origins_px : (N, K, 2) as (y, x): the best view and origin of each
        particle in each of K volumes.
    seen : (N,) bool, whether it has been searched.
    """

    def __init__(
        self,
        stack: PreparedStack,
        optics: Optics,
        volumes: int,
        half: np.ndarray,
        device: torch.device,
    ):
        self.stack, self.optics, self.device = stack, optics, device
        self.pixel = stack.window.pixel_size_angst
        self.poses = VolumePoses.empty(half)
        self.views = torch.zeros((len(stack), volumes, 3), device=device)
        self.views[..., 2] = 1.0
        self.origins_px = torch.zeros((len(stack), volumes, 2), device=device)
        self.seen = np.zeros(len(stack), bool)
        self.usable = np.flatnonzero(stack.usable)

    def __len__(self) -> int:
        return len(self.stack)

    def half(self, which: int, chosen: np.ndarray | None = None) -> np.ndarray:
        """The usable particles, or those of the chosen, of one half set."""
        chosen = self.usable if chosen is None else chosen
        return chosen[self.poses.half[chosen] == which]

    def forget(self) -> None:
        """Start anew: no poses, all contrasts 1. Half sets stay."""
        self.poses = VolumePoses.empty(self.poses.half)
        self.views.zero_()
        self.views[..., 2] = 1.0
        self.origins_px.zero_()
        self.seen[:] = False

    def level_contrast(self) -> None:
        """Bring the mean contrast of the particles that have been searched to 1: regularised
        volumes are a little too weak, and contrasts would make up for it without end."""
        contrast = self.poses.contrast
        shown = self.seen & (self.poses.class_index >= 0)
        shown &= self.poses.class_index < self.views.shape[1]
        if shown.any():
            contrast[self.seen] /= contrast[shown].mean()

    def load(self, chosen: np.ndarray, transform: PolarTransform) -> tuple[Images, torch.Tensor]:
        """Particles on rings times CTF, and the mean power on their rings (R, B) without it."""
        parts = self.stack.parts[torch.from_numpy(chosen)].to(self.device).float()
        real, imaginary = transform.rings_of(parts)
        power = (real.square() + imaginary.square()).mean(0)
        ctf = self.optics.on_rings(chosen, transform, self.pixel)
        contrast = torch.from_numpy(self.poses.contrast[chosen]).to(self.device)
        real *= ctf
        imaginary *= ctf
        return Images(real, imaginary, ctf.square_().mean(0), contrast), power
