"""The point group of a map, from the map alone.

Axes of low order are found by correlating the map with itself, rotated, in its lowest shells.
Groups are hypotheses built on them and optimised as a whole, axes and centre, to the map's
resolution. A group holds where each of its rotations correlates nearly as well as noise allows, and
where half of its smallest rotation does not: a barrel that shows no subunits correlates at any
angle.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosnake.errors import BadInputError
from cryosnake.validation.fsc import shell_correlation
from cryosnake.validation.shells import check_maps, low_pass, radius_px
from cryosnake.validation.symmetry_groups import ORDERS, generators, group_matrices, main_axis
from cryosnake.validation.symmetry_search import Placed, SelfCorrelation, find_axes, place_group
from cryosnake.validation.volume_transform import VolumeTransform, resampled

#: Of the correlation that noise allows, what each rotation of a group has to reach.
CONVINCING = 0.85
#: And what half the smallest rotation must stay below, relative to the group's own.
SMOOTH = 0.95
_LOW_SHELLS, _MIDDLE_SHELLS, _MOST_SHELLS = 9, 14, 32
_PIXELS_PER_PERIOD = 2.5
_POSSIBLE = 0.5  # in the middle band, of the best, before axes are optimised
_LIKELY = 0.75  # and after
_AXES_PER_ORDER = 2
_POLYHEDRA = {3: "T", 4: "O", 5: "I"}


@dataclass(frozen=True)
class SymmetryFound:
    """A group that a map was held against.

    Attributes
    ----------
    group : C2 to C12, D2 to D12, T, O, I.
    correlation : of the map with its rotated copies, mean over the shells, each by its radius.
    expected : what two copies with independent noise would reach.
    worst : of a single rotation of the group, relative to what is expected.
    smooth : correlation at half the group's smallest rotation, relative to `correlation`.
    rotation : (3, 3) R that brings the map to RELION's axes, x_new = R (x - centre).
    centre_angst : (3,) (x, y, z) of the fixed point, from the map's centre n // 2.
    resolution_angst : the finest detail that was used.
    """

    group: str
    correlation: float
    expected: float
    worst: float
    smooth: float
    rotation: np.ndarray
    centre_angst: np.ndarray
    resolution_angst: float

    @property
    def convincing(self) -> bool:
        return self.worst >= CONVINCING and self.smooth < SMOOTH

    @property
    def evidence(self) -> str:
        """A sentence."""
        text = (
            f"rotated copies correlate by {self.correlation:.2f} to {self.resolution_angst:.1f} A"
        )
        text += f" ({self.expected:.2f} expected), the worst by {self.worst:.2f} of that"
        return text + f"; {self.smooth:.2f} of it at half the angle"


def find_symmetry(
    volume: np.ndarray,
    pixel_size_angst: float,
    mask: np.ndarray | None,
    resolution_angst: float,
    *,
    halves: tuple[np.ndarray, np.ndarray] | None = None,
    groups: tuple[str, ...] | None = None,
) -> list[SymmetryFound]:
    """Groups that the map was held against, those that hold first, of these the largest first.

    Parameters
    ----------
    volume : (n, n, n), n even.
    mask : (n, n, n) of the molecule; a soft sphere of the box's width where None.
    resolution_angst : of the map; the 32 lowest shells are used at most.
    halves : half maps of the map: what noise allows is measured on them. Without them it is that of
        a typical map of this resolution, and a less noisy one passes with a pseudo-symmetry.
    groups : only these are tried.

    Raises
    ------
    BadInputError : maps that are not equal cubes of even side, or less than 5 shells.
    """
    n = check_maps(volume, *(halves or ()))
    last = int(min(n * pixel_size_angst / resolution_angst, n // 2 - 1, _MOST_SHELLS))
    if last < 5:
        raise BadInputError(None, f"{resolution_angst} A in a box of {n} pixels", "5 shells")
    mask = _sphere(n) if mask is None else mask
    # 1 falling to 0.25, which two halves that correlate by 0.143 allow
    expected = 1.0 - 0.75 * (np.arange(last + 1) / last) ** 3
    if halves is not None:
        half = shell_correlation(halves[0] * mask, halves[1] * mask)[: last + 1].clip(0.0, 1.0)
        expected = 2.0 * half / (1.0 + half)
    volume = _without_mean(volume, mask)
    side_angst = n * pixel_size_angst
    small = 2 * math.ceil(0.5 * _PIXELS_PER_PERIOD * last)
    if small < n:
        volume = resampled(volume, small)
    pixel_angst = side_angst / len(volume)
    table = VolumeTransform(volume)
    low, middle = (
        SelfCorrelation(volume, table, min(last, top)) for top in (_LOW_SHELLS, _MIDDLE_SHELLS)
    )
    whole = SelfCorrelation(volume, table, last)
    axes = find_axes(low, _centre_px(volume, pixel_angst, side_angst / _LOW_SHELLS))
    found = [
        _judged(group, place, whole, expected, pixel_angst, side_angst / last)
        for group, place in _hypotheses(axes, middle, groups)
    ]
    return sorted(found, key=lambda one: (not one.convincing, -len(group_matrices(one.group))))


def _hypotheses(
    axes: list[Placed], band: SelfCorrelation, groups: tuple[str, ...] | None
) -> list[tuple[str, Placed]]:
    """Groups on the axes that fit them best, and fit nearly as well as anything does."""
    turns = np.stack([group_matrices(f"C{order}")[1] for order in ORDERS])
    scores = np.stack(
        [band.scores(axis.frame @ turns @ axis.frame.T, axis.centre_px) for axis in axes], 1
    )
    best: dict[str, Placed] = {}
    for order, row in zip(ORDERS, scores, strict=True):
        names = [f"C{order}", f"D{order}"]
        names += [_POLYHEDRA[order]] if order in _POLYHEDRA else []
        for index in np.argsort(row)[::-1][:_AXES_PER_ORDER]:
            if groups is None and row[index] < _POSSIBLE * scores.max():
                continue
            for name in names:
                if groups is None or name in groups:
                    place = place_group(name, axes[index], band)
                    if name not in best or place.score > best[name].score:
                        best[name] = place
    top = max((place.score for place in best.values()), default=0.0)
    return [(name, place) for name, place in best.items() if place.score >= _LIKELY * top]


def _judged(
    group: str,
    place: Placed,
    band: SelfCorrelation,
    expected: np.ndarray,
    pixel_angst: float,
    resolution_angst: float,
) -> SymmetryFound:
    place = band.optimised(generators(group), place)
    elements = place.frame @ group_matrices(group)[1:] @ place.frame.T
    scores = band.scores(elements, place.centre_px)
    weights = band.weights.numpy()
    allowed = max(float(expected @ weights), 1e-6)
    correlation = min(float(scores.mean()), 1.0)  # interpolation may exceed it by a hair
    return SymmetryFound(
        group=group,
        correlation=correlation,
        expected=allowed,
        worst=float(scores.min()) / allowed,
        smooth=_at_half_angle(group, place, band) / max(correlation, 1e-6),
        rotation=place.frame.T,
        centre_angst=place.centre_px * pixel_angst,
        resolution_angst=resolution_angst,
    )


def _at_half_angle(group: str, place: Placed, band: SelfCorrelation) -> float:
    axis, order = main_axis(group)
    turn = Rotation.from_rotvec(axis * math.pi / order).as_matrix()
    return float(band.scores((place.frame @ turn @ place.frame.T)[None], place.centre_px)[0])


def _sphere(n: int) -> np.ndarray:
    beyond = (radius_px(n) - 0.45 * n) / (0.05 * n)
    return (0.5 + 0.5 * np.cos(math.pi * beyond.clip(0.0, 1.0))).astype(np.float32)


def _without_mean(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The map under the mask, zero on average at the mask's edge."""
    edge = (mask > 0.02) & (mask < 0.98)
    level = float(volume[edge].mean()) if edge.any() else 0.0
    return ((volume - level) * mask).astype(np.float32)


def _centre_px(volume: np.ndarray, pixel_angst: float, detail_angst: float) -> np.ndarray:
    """(3,) (x, y, z) of the mass from n // 2."""
    smooth = low_pass(volume, pixel_angst, detail_angst)
    dense = np.where(smooth > 0.3 * np.percentile(smooth, 99.5), smooth, 0.0)
    return np.array(ndimage.center_of_mass(dense))[::-1] - len(volume) // 2
