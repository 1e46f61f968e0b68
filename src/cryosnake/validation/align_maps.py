"""Two maps brought onto each other: rotation, translation and hand.

Every rotation of a grid and every shift of a coarse grid are scored by one product over the
coefficients of the lowest shells; what scores best is optimised at rising resolution. Both maps are
whitened shell by shell, so that neither the envelope nor sharpening decides.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from cryosnake.errors import BadInputError
from cryosnake.validation.orientations import rotation_grid
from cryosnake.validation.shells import check_maps, shells, transform
from cryosnake.validation.volume_transform import VolumeTransform, resampled

_COARSE_SHELLS = 7  # below 15 degrees of the grid
_MIDDLE_SHELLS = 12
_ROTATIONS = 4608
_CHUNK = 512
_CANDIDATES = 16
_FINALISTS = 3
_APART_DEG = 20.0
_PIXELS_PER_PERIOD = 2.5  # of the finest detail that is used
_MIRROR = np.diag([-1.0, 1.0, 1.0])
_HAND_MARGIN = 0.03
_Scored = tuple[float, np.ndarray, np.ndarray]  # score, matrix, shift in pixels
_SAME = 0.5  # mean correlation over the shells, as at FSC = 0.5


@dataclass(frozen=True)
class Pose:
    """Where a map lies on another: x_reference = R M x + shift about the centres, M the mirror
    x -> -x where `mirrored`.

    Attributes
    ----------
    rotation : (3, 3) R, on (x, y, z).
    shift_angst : (3,) (x, y, z).
    correlation : of the two, mean over the shells, weighted by the shell's radius.
    """

    rotation: np.ndarray
    shift_angst: np.ndarray
    mirrored: bool
    correlation: float


@dataclass(frozen=True)
class MapAlignment:
    """The best pose of a map on a reference as it is, and mirrored."""

    as_is: Pose
    mirrored: Pose

    @property
    def best(self) -> Pose:
        return max(self.as_is, self.mirrored, key=lambda pose: pose.correlation)

    @property
    def hand(self) -> str:
        """`same`, `mirrored`, `unsure` where both correlate alike (no handed detail at this
        resolution), or `different` where neither map is the other (below 0.5)."""
        if self.best.correlation < _SAME:
            return "different"
        if abs(self.as_is.correlation - self.mirrored.correlation) < _HAND_MARGIN:
            return "unsure"
        return "mirrored" if self.best.mirrored else "same"


def align_maps(
    reference: np.ndarray,
    moving: np.ndarray,
    pixel_size_angst: float,
    resolution_angst: float,
    *,
    max_shift_angst: float | None = None,
) -> MapAlignment:
    """The best rotation and shift of `moving` onto `reference`, for both hands.

    Parameters
    ----------
    resolution_angst : what is finer is not used; of both maps the coarser is a good choice.
    max_shift_angst : along each axis; an eighth of the box unless given.

    Raises
    ------
    BadInputError : maps of different or odd sides, or a resolution that leaves less than 4 shells.
    """
    n = check_maps(reference, moving)
    last = int(min(n * pixel_size_angst / resolution_angst, n // 2 - 1))
    if last < 4:
        raise BadInputError(None, f"{resolution_angst} A in a box of {n} pixels", "4 shells")
    small = 2 * math.ceil(0.5 * _PIXELS_PER_PERIOD * last)
    if small < n:
        reference, moving = resampled(reference, small), resampled(moving, small)
        n, pixel_size_angst = small, pixel_size_angst * n / small
    reach_px = n / 8 if max_shift_angst is None else max_shift_angst / pixel_size_angst
    table = VolumeTransform(moving)
    power = _shell_power(moving)
    stages = [
        _Scorer(reference, table, power, min(last, top))
        for top in (_COARSE_SHELLS, _MIDDLE_SHELLS, last)
    ]
    found = {}
    for flip in (False, True):
        poses = _search(stages[0], flip, reach_px)
        for scorer, kept in zip(stages, (_CANDIDATES, _FINALISTS, 1), strict=True):
            poses = [scorer.optimised(*pose[1:]) for pose in poses[:kept]]
            poses.sort(key=lambda pose: -pose[0])
        score, matrix, shift_px = poses[0]
        rotation = matrix @ _MIRROR if flip else matrix
        found[flip] = Pose(rotation, shift_px * pixel_size_angst, flip, score)
    return MapAlignment(as_is=found[False], mirrored=found[True])


def moved(volume: np.ndarray, pose: Pose, pixel_size_angst: float) -> np.ndarray:
    """(n, n, n) float32 map in that pose (cubic spline interpolation; zero from outside)."""
    matrix = pose.rotation @ _MIRROR if pose.mirrored else pose.rotation
    back = matrix.T[::-1, ::-1]  # on (z, y, x)
    centre = np.full(3, len(volume) // 2)
    offset = centre - back @ (centre + pose.shift_angst[::-1] / pixel_size_angst)
    return ndimage.affine_transform(
        np.asarray(volume, np.float32), back, offset, order=3, output=np.float32
    )


def mirrored(volume: np.ndarray) -> np.ndarray:
    """The other hand of a map: x -> -x about the centre n // 2."""
    return np.roll(volume[:, :, ::-1], 1, axis=2)


def _shell_power(volume: np.ndarray) -> np.ndarray:
    """(n // 2 + 1,) mean square of the transform."""
    where = shells(len(volume))
    power = np.abs(transform(volume)) ** 2
    return where.sums(power) / where.sums(np.ones_like(power))


class _Scorer:
    """Scores poses over shells 1 to `last` of a reference."""

    def __init__(self, reference: np.ndarray, table: VolumeTransform, power: np.ndarray, last: int):
        n = len(reference)
        where = shells(n)
        self.table = table
        chosen = np.argwhere((where.index >= 1) & (where.index <= last))
        index = where.index[tuple(chosen.T)]
        full = np.fft.fftfreq(n)
        k_zyx = np.stack([full[chosen[:, 0]], full[chosen[:, 1]], chosen[:, 2] / n], 1)
        self.k = torch.as_tensor(k_zyx[:, ::-1].copy(), dtype=torch.float32)
        # the transform about the centre n // 2
        centred = transform(reference)[tuple(chosen.T)] * (1 - 2 * (chosen.sum(1) % 2))
        count = where.sums(np.ones(where.index.shape, np.float32))
        both = np.sqrt(np.maximum(_shell_power(reference) * power, np.finfo(float).tiny))
        radius = np.arange(len(count))
        per_shell = radius / (both * np.maximum(count, 1) * radius[1 : last + 1].sum())
        weight = per_shell[index] * where.weight[chosen[:, 2]]
        self.target = torch.as_tensor(centred * weight, dtype=torch.complex64)
        self.last = last

    def all_scores(self, matrices: np.ndarray, shifts_px: np.ndarray) -> torch.Tensor:
        """(N, T) scores of matrices (N, 3, 3) and shifts (T, 3) as (x, y, z)."""
        angle = 2 * np.pi * (self.k @ torch.as_tensor(shifts_px, dtype=torch.float32).T)
        shifted = self.target.conj()[:, None] * torch.polar(torch.ones_like(angle), -angle)
        columns = torch.cat([shifted.real, -shifted.imag])
        found = []
        for start in range(0, len(matrices), _CHUNK):
            turn = torch.as_tensor(matrices[start : start + _CHUNK], dtype=torch.float32)
            values = self.table.at(torch.einsum("pc,ncd->npd", self.k, turn))
            found.append(torch.cat([values.real, values.imag], 1) @ columns)
        return torch.cat(found)

    def optimised(self, matrix: np.ndarray, shift_px: np.ndarray) -> _Scored:
        """(score, matrix, shift) at the local maximum of the score next to a pose."""
        step = 1.0 / (2 * np.pi * self.last / (2 * self.table.n))  # parameters of similar effect
        start = torch.as_tensor(matrix, dtype=torch.float32)
        base = torch.as_tensor(shift_px, dtype=torch.float32)

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            free = torch.tensor(x, dtype=torch.float32, requires_grad=True)
            turn = torch.linalg.matrix_exp(_skew(free[:3] * (4 * step / self.table.n))) @ start
            values = self.table.at(self.k @ turn)
            angle = 2 * np.pi * (self.k @ (base + step * free[3:]))
            moved_there = values * torch.polar(torch.ones_like(angle), -angle)
            score = -(self.target.conj() * moved_there).real.sum()
            score.backward()
            return float(score.detach()), free.grad.double().numpy()

        best = optimize.minimize(
            loss, np.zeros(6), jac=True, method="L-BFGS-B", options={"maxiter": 40, "ftol": 1e-6}
        )
        turned = Rotation.from_rotvec(best.x[:3] * (4 * step / self.table.n)).as_matrix() @ matrix
        return -float(best.fun), turned, shift_px + step * best.x[3:]


def _skew(vector: torch.Tensor) -> torch.Tensor:
    x, y, z = vector
    zero = torch.zeros(())
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)


def _search(scorer: _Scorer, flip: bool, reach_px: float) -> list[_Scored]:
    """The best coarse poses (score, matrix, shift), at least 20 degrees apart, best first."""
    step = scorer.table.n / scorer.last / 3.0
    axis = np.arange(-np.floor(reach_px / step), np.floor(reach_px / step) + 1) * step
    shifts = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    shifts = shifts[np.linalg.norm(shifts, axis=1) <= reach_px + 1e-6]
    rotations = rotation_grid(_ROTATIONS)
    matrices = rotations @ _MIRROR if flip else rotations
    scores, at = scorer.all_scores(matrices, shifts).max(1)
    poses: list[_Scored] = []
    for index in torch.argsort(scores, descending=True).tolist():
        matrix = matrices[index]
        traces = [np.trace(matrix @ other.T) for _, other, _ in poses]
        if all(trace < 1 + 2 * np.cos(np.deg2rad(_APART_DEG)) for trace in traces):
            poses.append((float(scores[index]), matrix, shifts[int(at[index])]))
            if len(poses) == _CANDIDATES:
                break
    return poses
