"""A map against itself, rotated: scores of rotations about any centre, axes, and whole groups."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize
from scipy.spatial.transform import Rotation

from cryosnake.validation.orientations import half_sphere_points
from cryosnake.validation.shells import shells, transform
from cryosnake.validation.symmetry_groups import generators, main_axis
from cryosnake.validation.volume_transform import VolumeTransform

_CHUNK_POINTS = 2_000_000
_DIRECTIONS = 900  # of the half sphere, 5 degrees apart
_PRIMES = (2, 3, 5, 7, 11)  # an axis of any order up to 12 is one of these
_AXES = 5  # kept of each
_APART_DEG = 15.0
_SPIN_DEG = 2.0


@dataclass(frozen=True)
class Placed:
    """Where a group lies in a map.

    Attributes
    ----------
    frame : (3, 3) rotation on (x, y, z) from the group's setting to the map.
    centre_px : (3,) (x, y, z) of the fixed point from the map's centre.
    score : mean correlation over the shells.
    """

    frame: np.ndarray
    centre_px: np.ndarray
    score: float


class SelfCorrelation:
    """Correlations of a map with itself, rotated about a point, in shells 1 to `last`.

    Each shell counts by its radius and for itself, whatever its power.

    Parameters
    ----------
    volume : (n, n, n), n even, zero away from the molecule.
    table : its transform.
    """

    def __init__(self, volume: np.ndarray, table: VolumeTransform, last: int):
        n = len(volume)
        where = shells(n)
        chosen = np.argwhere((where.index >= 1) & (where.index <= last))
        self.table, self.last = table, last
        self.shell = torch.as_tensor(where.index[tuple(chosen.T)].astype(np.int64))
        full = np.fft.fftfreq(n)
        k_zyx = np.stack([full[chosen[:, 0]], full[chosen[:, 1]], chosen[:, 2] / n], 1)
        self.k = torch.as_tensor(k_zyx[:, ::-1].copy(), dtype=torch.float32)
        values = transform(volume)[tuple(chosen.T)] * (1 - 2 * (chosen.sum(1) % 2))
        twice = where.weight[chosen[:, 2]]
        power = np.bincount(self.shell, np.abs(values) ** 2 * twice, minlength=last + 1)
        power = np.maximum(power, np.finfo(np.float32).tiny)
        self.target = torch.as_tensor(values.conj() * (twice / power[self.shell]))
        self.target = self.target.to(torch.complex64)
        radius = np.arange(last + 1)
        self.weights = torch.as_tensor(radius / radius.sum(), dtype=torch.float32)

    def _products(self, rotations: torch.Tensor, centre_px: torch.Tensor) -> torch.Tensor:
        """(M, P) real parts; their sums over a shell are correlations."""
        turned = torch.einsum("pc,mcd->mpd", self.k, rotations)
        angle = 2 * math.pi * ((turned - self.k) @ centre_px)
        values = self.table.at(turned) * torch.polar(torch.ones_like(angle), angle)
        return (self.target * values).real

    def curves(self, rotations: np.ndarray, centre_px: np.ndarray) -> np.ndarray:
        """(M, last + 1) correlation of each shell, for rotations (M, 3, 3) about a centre."""
        turns = torch.as_tensor(np.asarray(rotations), dtype=torch.float32)
        centre = torch.as_tensor(np.asarray(centre_px), dtype=torch.float32)
        found = []
        for part in torch.split(turns, max(1, _CHUNK_POINTS // len(self.k))):
            out = torch.zeros((len(part), self.last + 1))
            found.append(out.index_add_(1, self.shell, self._products(part, centre)))
        return torch.cat(found).numpy()

    def scores(self, rotations: np.ndarray, centre_px: np.ndarray) -> np.ndarray:
        """(M,) mean correlation over the shells."""
        return self.curves(rotations, centre_px) @ self.weights.numpy()

    def optimised(self, elements: np.ndarray, start: Placed) -> Placed:
        """The nearest place at which the rotations (M, 3, 3), given in the group's setting, fit
        best on average."""
        step = 0.5 * self.table.n / (math.pi * self.last)  # pixels: half a radian at the last shell
        turn_step = 4.0 * step / self.table.n
        given = torch.as_tensor(np.asarray(elements), dtype=torch.float32)
        frame = torch.as_tensor(np.asarray(start.frame), dtype=torch.float32)
        centre = torch.as_tensor(np.asarray(start.centre_px), dtype=torch.float32)
        weight = self.weights[self.shell] / len(given)

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            free = torch.tensor(x, dtype=torch.float32, requires_grad=True)
            here = torch.linalg.matrix_exp(_skew(free[:3] * turn_step)) @ frame
            products = self._products(here @ given @ here.T, centre + step * free[3:])
            score = -(products * weight).sum()
            score.backward()
            return float(score.detach()), free.grad.double().numpy()

        best = optimize.minimize(
            loss, np.zeros(6), jac=True, method="L-BFGS-B", options={"maxiter": 30, "ftol": 1e-5}
        )
        turned = Rotation.from_rotvec(best.x[:3] * turn_step).as_matrix() @ start.frame
        return Placed(turned, start.centre_px + step * best.x[3:], -float(best.fun))


def find_axes(low: SelfCorrelation, centre_px: np.ndarray) -> list[Placed]:
    """Axes of 2-, 3-, 5-, 7- and 11-fold rotations that fit best in a low band, as frames that
    bring z onto them."""
    directions = half_sphere_points(_DIRECTIONS)
    angles = 2.0 * math.pi / np.array(_PRIMES)
    vectors = directions[None] * angles[:, None, None]
    turns = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    scores = low.scores(turns, centre_px).reshape(len(_PRIMES), -1)
    found: list[Placed] = []
    for order, row in zip(_PRIMES, scores, strict=True):
        chosen: list[np.ndarray] = []
        for index in np.argsort(-row):
            direction = directions[index]
            if all(abs(direction @ other) < math.cos(math.radians(_APART_DEG)) for other in chosen):
                chosen.append(direction)
                start = Placed(_onto(direction), centre_px, float(row[index]))
                found.append(low.optimised(generators(f"C{order}"), start))
                if len(chosen) == _AXES:
                    break
    return _distinct(found)


def _distinct(axes: list[Placed]) -> list[Placed]:
    kept: list[Placed] = []
    for one in sorted(axes, key=lambda axis: -axis.score):
        near = math.cos(math.radians(0.5 * _APART_DEG))
        if all(abs(one.frame[:, 2] @ other.frame[:, 2]) < near for other in kept):
            kept.append(one)
    return kept


def place_group(group: str, axis: Placed, band: SelfCorrelation) -> Placed:
    """A group with its main axis on a known axis, turned about that as it fits best."""
    made_of = generators(group)
    own, order = main_axis(group)
    upright = axis.frame @ _onto(own).T  # the group's axis to z, z to the map's axis
    start = Placed(upright, axis.centre_px, axis.score)
    if len(made_of) > 1:
        spins_deg = np.arange(0.0, 360.0 / order, _SPIN_DEG)
        about = Rotation.from_rotvec(np.deg2rad(spins_deg)[:, None] * own).as_matrix()
        frames = upright @ about
        scores = band.scores(frames @ made_of[1] @ frames.transpose(0, 2, 1), axis.centre_px)
        start = Placed(frames[int(scores.argmax())], axis.centre_px, float(scores.max()))
    return band.optimised(made_of, start)


def _onto(direction: np.ndarray) -> np.ndarray:
    """(3, 3) a rotation that brings z onto a direction."""
    return Rotation.align_vectors(direction[None], [[0.0, 0.0, 1.0]])[0].as_matrix()


def _skew(vector: torch.Tensor) -> torch.Tensor:
    x, y, z = vector
    zero = torch.zeros(())
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
