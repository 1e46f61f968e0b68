"""Grids of views and rotations, and RELION's Euler angles.

A view is the direction of the beam in the frame of the volume, a unit vector (x, y, z):
(sin tilt cos rot, sin tilt sin rot, cos tilt). Matrices A act on (x, y, z) of the volume and give
image coordinates: A = Rz(-psi) Ry(-tilt) Rz(-rot) (Heymann, Chagoyen and Belnap 2005).
"""

import math

import numpy as np
from scipy.spatial.transform import Rotation

_GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


def sphere_points(number: int) -> np.ndarray:
    """(number, 3) directions, each standing for an equal area of the sphere (Fibonacci lattice;
    Gonzalez 2010, Math Geosci 42)."""
    at = np.arange(number)
    z = 1.0 - (2.0 * at + 1.0) / number
    across = np.sqrt(1.0 - z**2)
    return np.stack(
        [across * np.cos(_GOLDEN_ANGLE * at), across * np.sin(_GOLDEN_ANGLE * at), z], 1
    )


def half_sphere_points(number: int) -> np.ndarray:
    """(number, 3) directions with z > 0, each standing for an equal area of the half sphere."""
    return sphere_points(2 * number)[:number]


def points_for_step(step_deg: float) -> int:
    """How many directions of the half sphere lie about `step_deg` apart."""
    return math.ceil(2.0 * math.pi / math.radians(step_deg) ** 2)


def views(rot_deg, tilt_deg) -> np.ndarray:
    """(..., 3) directions of the beam."""
    rot, tilt = np.deg2rad(np.asarray(rot_deg, float)), np.deg2rad(np.asarray(tilt_deg, float))
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], -1)


def view_angles(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rot, tilt) in degrees of directions (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(directions, float), -1, 0)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(np.hypot(x, y), z))


def euler_matrices(rot_deg, tilt_deg, psi_deg) -> np.ndarray:
    """(N, 3, 3) matrices A of RELION's angles (N,)."""
    angles = np.stack(np.broadcast_arrays(rot_deg, tilt_deg, psi_deg), -1).reshape(-1, 3)
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()


def rotation_grid(number: int) -> np.ndarray:
    """(number, 3, 3) rotations spread evenly (super-Fibonacci spirals; Alexa 2022, CVPR)."""
    at = np.arange(number) + 0.5
    inner, outer = np.sqrt(at / number), np.sqrt(1.0 - at / number)
    alpha = 2.0 * math.pi * at / math.sqrt(2.0)
    beta = 2.0 * math.pi * at / 1.533751168755204288118041
    quaternions = [
        inner * np.sin(alpha),
        inner * np.cos(alpha),
        outer * np.sin(beta),
        outer * np.cos(beta),
    ]
    return Rotation.from_quat(np.stack(quaternions, 1)).as_matrix()


def euler_angles(matrices: np.ndarray) -> np.ndarray:
    """(N, 3) rot, tilt, psi in degrees, tilt from 0 to 180, of matrices (N, 3, 3)."""
    a = np.asarray(matrices, float)
    across = np.hypot(a[:, 2, 0], a[:, 2, 1])
    polar = across < 1e-9  # all turning is in the plane: put it into psi
    rot = np.where(polar, 0.0, np.arctan2(a[:, 2, 1], a[:, 2, 0]))
    in_plane = np.arctan2(-a[:, 1, 0] * np.sign(a[:, 2, 2]), a[:, 1, 1])
    psi = np.where(polar, in_plane, np.arctan2(a[:, 1, 2], -a[:, 0, 2]))
    return np.rad2deg(np.stack([rot, np.arctan2(across, a[:, 2, 2]), psi], 1))
