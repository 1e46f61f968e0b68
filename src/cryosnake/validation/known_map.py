"""A map held against one that is known, as for a control sample."""

from dataclasses import dataclass

import numpy as np

from cryosnake.validation.align_maps import align_maps, moved
from cryosnake.validation.fsc import resolution_angst as crossing_angst
from cryosnake.validation.fsc import shell_correlation
from cryosnake.validation.resize import resized

_HALF = 0.5


@dataclass(frozen=True)
class KnownMapMatch:
    """How well a map agrees with a known one.

    Attributes
    ----------
    resolution_angst : where the correlation of both under the mask falls below 0.5; infinite where
        it never exceeds that.
    hand : of the map against the known one: `same`, `mirrored`, `unsure` or `different`.
    correlation : mean over the shells, after alignment.
    curve : (n // 2 + 1,) correlation by shell.
    """

    resolution_angst: float
    hand: str
    correlation: float
    curve: np.ndarray


def compare_with_known(
    volume: np.ndarray,
    pixel_size_angst: float,
    mask: np.ndarray,
    known: np.ndarray,
    known_pixel_size_angst: float,
    *,
    resolution_angst: float,
) -> KnownMapMatch:
    """Align a known map onto a volume (n, n, n), in both hands, and correlate them.

    Parameters
    ----------
    mask : (n, n, n) soft mask of the volume.
    known : a cube of any box and pixel size.
    resolution_angst : of the volume; the alignment uses nothing finer.

    Raises
    ------
    BadInputError : maps that cannot be compared.
    """
    other = resized(known, known_pixel_size_angst, len(volume), pixel_size_angst)
    finest_angst = max(resolution_angst, 2.1 * known_pixel_size_angst, 2.1 * pixel_size_angst)
    # a coarse map has few shells; the alignment needs four
    finest_angst = min(finest_angst, len(volume) * pixel_size_angst / 4.0)
    found = align_maps(volume * mask, other, pixel_size_angst, finest_angst)
    on_it = moved(other, found.best, pixel_size_angst)
    curve = shell_correlation(volume * mask, on_it * mask)
    return KnownMapMatch(
        resolution_angst=crossing_angst(curve, pixel_size_angst, _HALF),
        hand=found.hand,
        correlation=found.best.correlation,
        curve=curve,
    )
