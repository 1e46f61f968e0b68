"""Point groups in RELION's setting.

C_n and D_n have their main axis on z, D_n a 2-fold axis on x; T has a 3-fold axis on z and a 2-fold
one in the plane of y and z; O has 4-fold axes on x, y and z; I has 2-fold axes on x, y and z and a
5-fold one in the plane of x and z (RELION's I, Heymann's I2).
"""

import math
import re
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

#: Rotation orders that are looked for.
ORDERS = tuple(range(2, 13))
_T_AXIS = np.array([0.0, math.sqrt(2.0 / 3.0), math.sqrt(1.0 / 3.0)])  # RELION's 2-fold axis of T


@lru_cache(maxsize=8)
def group_matrices(group: str) -> np.ndarray:
    """(G, 3, 3) rotations on (x, y, z) of a point group (C7, D2, T, O, I), the identity first.

    Raises
    ------
    ValueError : no such group.
    """
    if not re.fullmatch(r"[CD][1-9]\d?|[TOI]", group):
        raise ValueError(f"{group!r} is not a point group: C1, C7, D2, T, O, I, ...")
    found = Rotation.create_group(group)
    if group == "T":
        found = _turned(found, _tetrahedral())
    elif group == "I":
        found = _turned(found, Rotation.from_rotvec([0.0, 0.0, math.pi / 2.0]))
    return found[np.argsort(found.magnitude(), kind="stable")].as_matrix()


def main_axis(group: str) -> tuple[np.ndarray, int]:
    """(3,) an axis of the highest order, and that order."""
    vectors = Rotation.from_matrix(group_matrices(group)[1:]).as_rotvec()
    first = vectors[np.argmin(np.linalg.norm(vectors, axis=1))]
    angle = np.linalg.norm(first)
    return first / angle, round(2.0 * math.pi / angle)


def generators(group: str) -> np.ndarray:
    """(1 or 2, 3, 3) rotations that make the group: one about the main axis, and, but for C_n, the
    2-fold one that is farthest off it."""
    axis, order = main_axis(group)
    about = Rotation.from_rotvec(axis * 2.0 * math.pi / order).as_matrix()
    if group.startswith("C"):
        return about[None]
    rotations = Rotation.from_matrix(group_matrices(group))
    halves = [r.as_rotvec() for r in rotations if abs(r.magnitude() - math.pi) < 1e-6]
    off = [abs(axis @ half) / math.pi for half in halves]
    # with a 2-fold axis across the main one O would be D4: take one that lies between
    if group in "TOI":
        off = [value if 0.05 < value < 0.95 else 2.0 for value in off]
    second = halves[int(np.argmin(off))]
    return np.stack([about, Rotation.from_rotvec(second).as_matrix()])


def _turned(group: Rotation, turn: Rotation) -> Rotation:
    return turn * group * turn.inv()


def _tetrahedral() -> Rotation:
    """From 2-fold axes on x, y, z to a 3-fold one on z."""
    diagonal = np.ones(3) / math.sqrt(3.0)
    return Rotation.align_vectors([[0.0, 0.0, 1.0], _T_AXIS], [diagonal, [0.0, 0.0, 1.0]])[0]
