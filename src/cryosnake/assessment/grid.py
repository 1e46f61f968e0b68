"""Class averages on one grid, whatever their box: the mask's circle is always as many points wide.

The grid is odd and centred on pixel n // 2, so that turning an average by 90 degrees, or mirroring
it about that pixel, permutes its points and changes no feature.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from cryosnake.errors import BadInputError

RADIUS = 24  # points from the centre to the mask's edge
_HALF = RADIUS + 1
_DIRECTIONS = 36
_BIN = 1.5  # points, of a profile across a line


@dataclass(frozen=True)
class Grid:
    """Where the points lie.

    Parameters
    ----------
    radius : (n, n) from the centre, 1 at the mask's edge; inside : (n, n) within the mask.
    y, x : (n, n) in the unit of the radius.
    across : (36, P) number of the strip, of lines in 36 directions, that each of the P points
        inside lies in.
    """

    radius: np.ndarray
    inside: np.ndarray
    y: np.ndarray
    x: np.ndarray
    across: np.ndarray


@cache
def grid() -> Grid:
    """The grid of all averages."""
    axis = np.arange(-_HALF, _HALF + 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    radius = np.hypot(y, x) / RADIUS
    inside = radius <= 0.96  # the edge of masks is soft
    turn = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    along = np.cos(turn)[:, None] * x[inside] + np.sin(turn)[:, None] * y[inside]
    # rounded before it is cut into strips: equal distances must fall into equal strips
    across = np.floor(np.round(np.abs(along) / _BIN, 6) + 0.5) * np.sign(along)
    across = (across - across.min()).astype(int)
    return Grid(radius, inside, y / RADIUS, x / RADIUS, across)


def on_grid(averages: np.ndarray, pixel_size_angst: float, diameter_angst: float) -> np.ndarray:
    """(K, 51, 51) float64 of averages (K, n, n).

    Raises
    ------
    BadInputError : not square images, or a mask that does not fit the box.
    """
    averages = np.asarray(averages, float)
    if averages.ndim != 3 or averages.shape[1] != averages.shape[2]:
        raise BadInputError(None, f"averages of shape {averages.shape}", "(classes, n, n)")
    n = averages.shape[1]
    step = 0.5 * diameter_angst / pixel_size_angst / RADIUS
    if not 0 < step * RADIUS <= n // 2:
        raise BadInputError(
            None,
            f"a mask of {diameter_angst:g} A on averages of {n} px of {pixel_size_angst:g} A",
            "a mask within the box",
        )
    place = n // 2 + step * np.arange(-_HALF, _HALF + 1)
    points = np.meshgrid(place, place, indexing="ij")
    found = np.empty((len(averages), len(place), len(place)))
    blur = 0.5 * np.sqrt(max(step**2 - 1.0, 0.0))
    for k, image in enumerate(np.nan_to_num(averages)):
        smooth = ndimage.gaussian_filter(image, blur, mode="constant") if blur else image
        found[k] = ndimage.map_coordinates(smooth, points, order=1, mode="constant")
    return found
