"""Views, rotations and RELION's Euler angles.

A particle with angles (rot, tilt, psi) shows the volume turned by A = Rz(-psi) Ry(-tilt) Rz(-rot),
acting on (x, y, z) (Heymann, Chagoyen and Belnap 2005, J Struct Biol 151, 196); the beam runs along
z. The view is the beam's direction in the volume's frame, the third row of A: it depends on rot and
tilt alone, and psi turns the image.
"""

import math

import numpy as np
import torch


def matrices(rot_deg, tilt_deg, psi_deg) -> torch.Tensor:
    """(..., 3, 3) float32 matrices A of angles (...)."""
    a, b, g = (
        torch.deg2rad(torch.as_tensor(angle).double()) for angle in (rot_deg, tilt_deg, psi_deg)
    )
    ca, sa, cb, sb = torch.cos(a), torch.sin(a), torch.cos(b), torch.sin(b)
    cg, sg = torch.cos(g), torch.sin(g)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2).float()


def angles_of_views(views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rot, tilt) in degrees of views (..., 3)."""
    tilt = torch.atan2(torch.hypot(views[..., 0], views[..., 1]), views[..., 2])
    return torch.rad2deg(torch.atan2(views[..., 1], views[..., 0])), torch.rad2deg(tilt)


def random_rotation(rng: np.random.Generator) -> torch.Tensor:
    """(3, 3) a rotation drawn uniformly (Shoemake 1992, Graphics Gems III)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float32,
    )


def view_grid(step_deg: float, rotation: torch.Tensor | None = None) -> torch.Tensor:
    """(V, 3) views a step apart, evenly over the sphere (a Fibonacci lattice: Gonzalez 2010, Math
    Geosci 42, 49), turned by a rotation."""
    step = math.radians(step_deg)
    number = max(12, math.ceil(4 * math.pi / (math.sqrt(0.75) * step**2)))
    place = torch.arange(number, dtype=torch.float64)
    z = 1.0 - (2.0 * place + 1.0) / number
    turn = place * (math.pi * (3.0 - math.sqrt(5.0)))
    across = torch.sqrt(1.0 - z**2)
    views = torch.stack([across * torch.cos(turn), across * torch.sin(turn), z], 1).float()
    return views if rotation is None else views @ rotation.T


def view_matrices(views: torch.Tensor) -> torch.Tensor:
    """(V, 3, 3) matrices A of views (V, 3) with psi = 0."""
    rot, tilt = angles_of_views(views.cpu())
    return matrices(rot, tilt, torch.zeros_like(rot)).to(views.device)
