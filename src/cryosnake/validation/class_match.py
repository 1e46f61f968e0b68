"""Class averages against the projections of a volume: the best match of each.

All in-plane rotations are scored by products over the angular orders of Fourier rings (see
`cryosnake.alignment.polar`). Views cover half the sphere, each with its mirror image: that is the
whole sphere, and both hands of the volume, since the projections of one hand are the mirror images
of those of the other.

Projections are given the power spectrum of the averages, ring by ring: neither sharpening nor a
B-factor makes a volume better or worse. Rings beyond the volume's own resolution are empty.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from cryosnake.errors import BadInputError
from cryosnake.validation.average_set import AverageSet, mean_square
from cryosnake.validation.orientations import (
    euler_angles,
    euler_matrices,
    half_sphere_points,
    points_for_step,
    view_angles,
)
from cryosnake.validation.shells import check_maps
from cryosnake.validation.volume_transform import VolumeTransform, resampled

_WHITENING = 0.5
_MAX_STEP_DEG = 12.0
_MIN_STEP_DEG = 5.0
_SHIFT_STEP = 0.4  # of the resolution, at first
_REFINED = 2  # views of an average that are refined
_FLIP = np.diag([-1.0, 1.0, -1.0])  # the view from behind: x -> -x in the image


@dataclass(frozen=True)
class Matches:
    """The best projection of a volume for each of K averages.

    Attributes
    ----------
    correlation : (K,) over the band, -1 to 1.
    angles_deg : (K, 3) RELION's rot, tilt, psi: the volume seen so looks as the average does.
    shift_angst : (K, 2) (x, y) by which the projection is moved onto the average.
    """

    correlation: np.ndarray
    angles_deg: np.ndarray
    shift_angst: np.ndarray


@dataclass(frozen=True)
class _Pose:
    score: float
    matrix: np.ndarray
    shift_px: np.ndarray


class Projections:
    """Projections of one volume, comparable with a set of averages.

    Parameters
    ----------
    volume : (n, n, n), n even, in a box of the same side in angstrom as the averages.
    resolution_angst : of the volume.

    Raises
    ------
    BadInputError : not a cube of even side, or another side in angstrom.
    """

    def __init__(
        self,
        averages: AverageSet,
        volume: np.ndarray,
        pixel_size_angst: float,
        resolution_angst: float,
    ):
        n = check_maps(volume)
        side_angst = n * pixel_size_angst
        if abs(side_angst / averages.side_angst - 1.0) > 0.01 or n < averages.n:
            raise BadInputError(
                None,
                f"a volume of {n} voxels, {side_angst:.1f} A wide",
                f"{averages.side_angst:.1f} A as the averages, at least {averages.n} voxels",
            )
        self.averages = averages
        self.table = VolumeTransform(resampled(volume, averages.n) if n > averages.n else volume)
        band = averages.polar.band
        frequency = band.radii_per_px() / averages.pixel_size_angst
        self.step_deg = self._step_deg()
        directions = half_sphere_points(points_for_step(self.step_deg))
        self.grid = euler_matrices(*view_angles(directions), 0.0)
        rings = self._raw_rings(self.grid)
        own = mean_square(rings).mean(1)
        known = (frequency <= 1.0 / resolution_angst) & (own > 1e-9 * own.max())
        known[: band.first] = False
        scale = torch.where(known, own.clamp_min(1e-30).rsqrt(), 0.0)
        self._scale = scale[:, None]
        weight = band.areas() * averages.power ** (1.0 - _WHITENING)
        weight[: band.first] = 0.0
        self._weight = weight[:, None]
        self._average_scale = averages.power.clamp_min(1e-30).rsqrt()[:, None]
        self._grid_orders, self._grid_norm = self._comparable(rings)

    def _step_deg(self) -> float:
        radius_px = self.averages.polar.disc.radius_px * self.averages.pixel_size_angst
        step = math.degrees(self.averages.resolution_angst / radius_px)
        return min(max(step, _MIN_STEP_DEG), _MAX_STEP_DEG)

    def _raw_rings(self, matrices: np.ndarray) -> torch.Tensor:
        return self.averages.rings_of(self.averages.prepared(self.table.projections(matrices)))

    def _comparable(self, rings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(O, R, V) weighted orders, and (V,) norms, of projections' rings."""
        flat = rings * self._scale
        norm = (mean_square(flat) * self._weight).sum(0).sqrt()
        return self.averages.orders_of(flat) * self._weight, norm

    def match(self, index: int) -> _Pose:
        """The best pose for one average."""
        step_px = _SHIFT_STEP * self.averages.resolution_angst / self.averages.pixel_size_angst
        count = math.ceil(self.averages.reach_px / step_px)
        image = self.averages.rings(index) * self._average_scale
        shifts_px = _square(count) * step_px
        near = np.hypot(*shifts_px.T) <= self.averages.reach_px + 0.5 * step_px
        poses = self._coarse(image, shifts_px[near])
        spread_deg = self.step_deg
        for kept in (_REFINED, 1, 1):
            spread_deg, step_px = 0.5 * spread_deg, 0.5 * step_px
            poses = [self._finer(image, pose, spread_deg, step_px) for pose in poses[:kept]]
            poses.sort(key=lambda pose: -pose.score)
        return poses[0]

    def _coarse(self, image: torch.Tensor, shifts_px: np.ndarray) -> list[_Pose]:
        """The best pose of each view and mirror image on the grid, best first."""
        both = torch.cat([self._grid_orders, self._grid_orders.conj()], 2)
        matrices = np.concatenate([self.grid, _FLIP @ self.grid])
        turns = 2 * self.averages.polar.band.orders
        return self._best(image, shifts_px, matrices, both, self._grid_norm.repeat(2), turns)

    def _finer(self, image: torch.Tensor, pose: _Pose, spread_deg: float, step_px: float) -> _Pose:
        """The best pose among seven views and nine shifts about one."""
        angle = np.arange(6) * (math.pi / 3)
        axes = np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], 1)
        about = Rotation.from_rotvec(np.vstack([np.zeros(3), axes * math.radians(spread_deg)]))
        matrices = about.as_matrix() @ pose.matrix
        orders, norm = self._comparable(self._raw_rings(matrices))
        shifts_px = pose.shift_px + _square(1) * step_px
        turns = self.averages.polar.band.rotations
        return self._best(image, shifts_px, matrices, orders, norm, turns)[0]

    def _best(
        self,
        image: torch.Tensor,
        shifts_px: np.ndarray,
        matrices: np.ndarray,
        orders: torch.Tensor,
        norm: torch.Tensor,
        turns: int,
    ) -> list[_Pose]:
        """The best rotation, of `turns`, and shift (T, 2) of the best few of V views, in order."""
        moved = self.averages.moved_back(image, shifts_px)  # (H, R, T)
        length = (mean_square(image) * self._weight).sum().sqrt()
        products = torch.einsum("ort,orv->otv", self.averages.orders_of(moved).conj(), orders)
        half = turns // 2
        even = _series(products[0::2], range(0, len(products), 2), turns)
        odd = _series(products[1::2], range(1, len(products), 2), turns)
        # half a turn on, the odd orders change sign
        best, at = (even + odd.abs()).flatten(0, 1).max(0)
        signs = odd.flatten(0, 1).gather(0, at[None])[0]
        best = best / (length * norm).clamp_min(1e-30)
        poses = []
        for view in torch.argsort(best, descending=True)[:_REFINED].tolist():
            turn, shift = divmod(int(at[view]), len(shifts_px))
            turn += half if signs[view] < 0 else 0
            psi_deg = 360.0 * turn / turns
            in_plane = euler_matrices(0.0, 0.0, psi_deg)[0]
            poses.append(_Pose(float(best[view]), in_plane @ matrices[view], shifts_px[shift]))
        return poses


def _series(products: torch.Tensor, orders: range, turns: int) -> torch.Tensor:
    """(turns // 2, T, V) sums of the orders' products (O, T, V) at the first half of the in-plane
    angles; matrix products, at this length faster than transforms."""
    angle = torch.arange(turns // 2)[:, None] * torch.tensor(list(orders)) * (2 * math.pi / turns)
    weight = torch.where(torch.tensor(list(orders)) == 0, 1.0, 2.0)
    flat = products.flatten(1)
    found = (weight * torch.cos(angle)) @ flat.real - (weight * torch.sin(angle)) @ flat.imag
    return found.view(turns // 2, *products.shape[1:])


def _square(count: int) -> np.ndarray:
    """(T, 2) whole numbers from -count to count."""
    axis = np.arange(-count, count + 1, dtype=float)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def match_averages(
    averages: AverageSet, volume: np.ndarray, pixel_size_angst: float, resolution_angst: float
) -> Matches:
    """The best match of every average among the projections of a volume: all views, in-plane
    angles, shifts up to a tenth of the diameter, and both hands."""
    projections = Projections(averages, volume, pixel_size_angst, resolution_angst)
    poses = [projections.match(index) for index in range(len(averages))]
    return Matches(
        correlation=np.array([pose.score for pose in poses]),
        angles_deg=euler_angles(np.stack([pose.matrix for pose in poses])),
        shift_angst=np.stack([pose.shift_px for pose in poses]) * averages.pixel_size_angst,
    )


def matched_projections(
    averages: AverageSet, volume: np.ndarray, pixel_size_angst: float, matches: Matches
) -> np.ndarray:
    """(K, m, m) float32 the projections that matched, turned and shifted onto the averages, cropped
    and masked as `averages.images` are: what a report shows beside them."""
    small = resampled(volume, averages.n) if len(volume) > averages.n else volume
    images = VolumeTransform(small).projections(euler_matrices(*matches.angles_deg.T))
    frequency_y = torch.fft.fftfreq(averages.n)[:, None]
    frequency_x = torch.fft.rfftfreq(averages.n)
    shift = torch.as_tensor(matches.shift_angst / averages.pixel_size_angst, dtype=torch.float32)
    angle = shift[:, 0, None, None] * frequency_x + shift[:, 1, None, None] * frequency_y
    ramp = torch.polar(torch.ones_like(angle), -2 * math.pi * angle)
    moved = torch.fft.irfft2(torch.fft.rfft2(images) * ramp, s=images.shape[1:])
    return averages.prepared(moved).numpy()
