"""Size from averages of candidates.

The average of candidates in all orientations is a rotationally symmetric blob, and the radius at
which its profile falls off gives the diameter. Candidates turned so that their longest axes
coincide give an average that shows length and width.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from cryosnake.picking.size_image import Working

#: Diameter over twice the radius at which the profile has fallen to `_LEVEL`, and true over
#: measured length and width of the aligned average: found on the tuning samples.
DIAMETER_PER_EDGE = 1.15
LENGTH_PER_EXTENT = 1.08
WIDTH_PER_EXTENT = 1.12
_LEVEL = 0.3
_INNER_LEVEL = 0.8  # the edge is as wide as from here to `_LEVEL`
#: Relative widths of the edge of a hollow and of a solid particle, and the factor for the former.
_WALL_WIDTHS = (0.08, 0.25)
_WALL_FACTOR = 0.88
_ROUNDS = 3
_TURNS_DEG = np.arange(-24.0, 24.1, 8.0)


@dataclass(frozen=True)
class Profile:
    """A rotational average: values (R,) at radii in angstrom, the diameter at its edge, and the
    width of the edge relative to its radius (both nan where it has none)."""

    radii_angst: np.ndarray
    values: np.ndarray
    diameter_angst: float
    edge_width: float

    @property
    def wall_factor(self) -> float:
        """What every diameter is to be multiplied with: 1 where the outline thins out, as a solid
        particle's does, and less where it is a wall. The factors of all methods hold for the
        former, of which the level that is taken for the edge cuts off a rim."""
        if not np.isfinite(self.edge_width):
            return 1.0
        return float(np.interp(self.edge_width, _WALL_WIDTHS, (_WALL_FACTOR, 1.0)))


@dataclass(frozen=True)
class Aligned:
    """An average (n, n) of candidates turned so that they are long in x, and its extents."""

    image: np.ndarray
    pixel_size_angst: float
    long_angst: float
    short_angst: float
    number: int


def windows(
    working: Working, x_px: np.ndarray, y_px: np.ndarray, half_px: int, turn_rad=0.0
) -> np.ndarray:
    """Cut (N, 2 half + 1, 2 half + 1) windows, turned by (N,) angles so that what lies at that
    angle from x comes to lie along x; beyond the border the image is mirrored."""
    grid = np.arange(-half_px, half_px + 1, dtype=np.float32)
    c = np.cos(np.broadcast_to(turn_rad, len(x_px)))[:, None, None]
    s = np.sin(np.broadcast_to(turn_rad, len(x_px)))[:, None, None]
    x = x_px[:, None, None] + c * grid[None, None, :] - s * grid[None, :, None]
    y = y_px[:, None, None] + s * grid[None, None, :] + c * grid[None, :, None]
    return ndimage.map_coordinates(working.values, [y, x], order=1, mode="mirror")


def radial(images: np.ndarray, half_px: int) -> np.ndarray:
    """Rotational averages (N, half) of windows."""
    grid = np.arange(-half_px, half_px + 1)
    ring = np.rint(np.hypot(grid[:, None], grid[None, :])).astype(int).ravel()
    use = ring < half_px
    count = np.bincount(ring[use], minlength=half_px)
    flat = images.reshape(len(images), -1)[:, use]
    return np.stack([np.bincount(ring[use], row, half_px) / count for row in flat])


def _shifts(images: np.ndarray, template: np.ndarray, reach_px: int) -> tuple[np.ndarray, ...]:
    """Rows, columns and values (N,) of the correlation's maxima within `reach_px`."""
    n = images.shape[-1]
    spectrum = fft.rfft2(images - images.mean((1, 2), keepdims=True))
    found = fft.irfft2(spectrum * np.conj(fft.rfft2(template - template.mean())), s=(n, n))
    index = np.r_[0 : reach_px + 1, -reach_px:0]
    near = found[:, index][:, :, index].reshape(len(images), -1)
    best = near.argmax(1)
    return index[best // len(index)], index[best % len(index)], near.max(1)


def profile_of(values: np.ndarray, pixel_size_angst: float, expected_angst: float) -> Profile:
    """The edge of a rotational average (R,): outwards from its highest ring, where it has come
    down to `_LEVEL` between that and the trough around the particle."""
    radii = np.arange(len(values)) * pixel_size_angst
    reach = (radii < 0.85 * expected_angst).sum()
    top = int(np.argmax(values[:reach]))
    trough = top + int(np.argmin(values[top:]))
    outer = _descent(values, top, trough, _LEVEL)
    inner = _descent(values, top, trough, _INNER_LEVEL)
    if outer is None or inner is None:
        return Profile(radii, values, float("nan"), float("nan"))
    diameter_angst = 2 * outer * pixel_size_angst * DIAMETER_PER_EDGE
    return Profile(radii, values, diameter_angst, 1.0 - inner / outer)


def _descent(values: np.ndarray, top: int, trough: int, part: float) -> float | None:
    """Where values first fall below a part of the way from trough to top, between samples."""
    level = values[trough] + part * (values[top] - values[trough])
    below = np.flatnonzero(values[top : trough + 1] < level)
    if not len(below) or below[0] == 0:
        return None
    i = top + int(below[0])
    return i - 1 + float((values[i - 1] - level) / (values[i - 1] - values[i]))


def moment_angles(
    working: Working, x_px: np.ndarray, y_px: np.ndarray, diameter_angst: float
) -> np.ndarray:
    """Directions (N,) in radians from x in which candidates are longest, from the second moments
    of what stands above the middle grey value within a diameter of their centres."""
    half = int(np.ceil(diameter_angst / working.pixel_size_angst))
    images = windows(working, x_px, y_px, half)
    grid = np.arange(-half, half + 1)
    weight = np.exp(-2.0 * (grid[:, None] ** 2 + grid[None, :] ** 2) / half**2)
    mass = np.clip(images - np.median(images, axis=(1, 2), keepdims=True), 0, None) * weight
    xx, yy = (mass * grid[None, None, :] ** 2).sum((1, 2)), (mass * grid[:, None] ** 2).sum((1, 2))
    xy = (mass * grid[:, None] * grid[None, :]).sum((1, 2))
    return 0.5 * np.arctan2(2 * xy, xx - yy)


def centred_profiles(
    working: Working, x_px: np.ndarray, y_px: np.ndarray, expected_angst: float
) -> np.ndarray:
    """Rotational averages (N, R) of candidates, centred in a few rounds on their common rotational
    average; out to 1.3 times the expected diameter."""
    half = int(np.ceil(1.3 * expected_angst / working.pixel_size_angst))
    reach = max(1, round(0.15 * expected_angst / working.pixel_size_angst))
    grid = np.arange(-half, half + 1)
    ring = np.hypot(grid[:, None], grid[None, :])
    x, y = x_px.copy(), y_px.copy()
    for _ in range(_ROUNDS):
        images = windows(working, x, y, half)
        mean = radial(images, half).mean(0)
        inner = np.where(ring < 0.7 * half, np.interp(ring, np.arange(half), mean), mean[-1])
        dy, dx, _ = _shifts(images, inner, reach)
        x, y = x + dx, y + dy
    return radial(windows(working, x, y, half), half)


def aligned_average(
    parts: list[tuple[Working, np.ndarray, np.ndarray, np.ndarray]], length_angst: float
) -> Aligned | None:
    """Average of candidates whose long axes are known roughly, refined in turn and place against
    their own average; None where it shows nothing.

    Parameters
    ----------
    parts : for each micrograph the coarse image, x and y (N,) in its pixels, angles (N,) in
        radians from x.
    length_angst : expected length; windows are 1.7 times that wide.
    """
    pixel = parts[0][0].pixel_size_angst
    half = int(np.ceil(0.85 * length_angst / pixel))
    reach = max(1, round(0.1 * length_angst / pixel))
    turned = np.concatenate(
        [
            np.stack([windows(w, x, y, half, a + np.deg2rad(t)) for t in _TURNS_DEG])
            for w, x, y, a in parts
        ],
        axis=1,
    )
    number = turned.shape[1]
    average = turned[len(_TURNS_DEG) // 2].mean(0)
    for _ in range(_ROUNDS):
        average = 0.25 * (average + average[::-1] + average[:, ::-1] + average[::-1, ::-1])
        best = np.full(number, -np.inf)
        images = np.empty_like(turned[0])
        for turn in turned:
            dy, dx, value = _shifts(turn, average, reach)
            for i in np.flatnonzero(value > best):
                images[i] = np.roll(turn[i], (-dy[i], -dx[i]), (0, 1))
            best = np.maximum(best, value)
        average = images.mean(0)
    average = 0.25 * (average + average[::-1] + average[:, ::-1] + average[::-1, ::-1])
    long_angst, short_angst = _extent(average, pixel), _extent(average.T, pixel)
    if long_angst is None or short_angst is None:
        return None
    return Aligned(
        average.astype(np.float32),
        pixel,
        long_angst * LENGTH_PER_EXTENT,
        short_angst * WIDTH_PER_EXTENT,
        number,
    )


def _extent(average: np.ndarray, pixel_size_angst: float) -> float | None:
    """Extent in angstrom along x of an average (n, n) that is its own mirror image: of a band
    through the centre, a fifth of the window wide, from top to trough as `profile_of`. Each
    direction has a trough of its own: neighbours fill up the one along which candidates were
    turned."""
    n = average.shape[0]
    band = max(1, n // 10)
    values = average[n // 2 - band : n // 2 + band + 1, n // 2 :].mean(0)
    top = int(np.argmax(values))
    edge = _descent(values, top, top + int(np.argmin(values[top:])), _LEVEL)
    return None if edge is None else 2 * edge * pixel_size_angst
