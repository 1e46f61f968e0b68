"""How a box becomes the small image that is classified: a circle's window at just enough pixels."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from cryosnake.alignment.polar import Disc
from cryosnake.errors import BadInputError

_PIXELS_PER_PERIOD = 2.2  # of the finest frequency
_EDGE_FRACTION = 0.06  # of the diameter, width of the mask's edge
_LEAST_EDGE_PX = 2.0


@dataclass(frozen=True)
class Window:
    """How boxes become small images.

    Parameters
    ----------
    box_px, window_px : sides of the box and of the part that is kept; both centred.
    side_px, pixel_size_angst : of the small images.
    mask : (window, window) soft circle, 1 inside; mask_px : its squared sum in small pixels.
    background : (box, box) bool, outside the circle.
    disc : the pixels of the small image that are kept.
    """

    box_px: int
    window_px: int
    side_px: int
    pixel_size_angst: float
    mask: torch.Tensor
    mask_px: float
    background: torch.Tensor
    disc: Disc


def circle(side_px: int, radius_px: float, edge_px: float) -> torch.Tensor:
    """(n, n) 1 within the radius, falling to 0 over the edge as a cosine."""
    axis = (torch.arange(side_px) - side_px // 2).float()
    distance = torch.hypot(axis[:, None], axis[None, :])
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius_px) / edge_px).clamp(0.0, 1.0))


def window_for(
    box_px: int,
    pixel_size_angst: float,
    diameter_angst: float,
    resolution_angst: float,
    *,
    path: Path | None = None,
) -> Window:
    """The window for particles of a diameter, good to a resolution (at best 2.1 pixels).

    Raises
    ------
    BadInputError : a size is not a positive number, or there is no room for background. It names
        `path`.
    """
    for name, value in (
        ("pixel size", pixel_size_angst),
        ("diameter", diameter_angst),
        ("resolution", resolution_angst),
    ):
        if not 0 < value < math.inf:
            raise BadInputError(path, f"a {name} of {value} A", "a positive number")
    radius_px = 0.5 * diameter_angst / pixel_size_angst
    edge_px = max(_LEAST_EDGE_PX, _EDGE_FRACTION * 2.0 * radius_px)
    edge_px = min(edge_px, 0.5 * box_px - radius_px)
    if edge_px < 1.0 or radius_px < 3:
        raise BadInputError(
            path,
            f"a diameter of {diameter_angst:g} A in a box of {box_px} px of {pixel_size_angst:g} A",
            "room for background around the particle, and at least 6 px across",
        )
    background = circle(box_px, radius_px, 1e-3) < 0.5
    window_px = min(2 * math.ceil(radius_px + edge_px + 1), box_px - box_px % 2)
    resolution_angst = max(resolution_angst, 2.1 * pixel_size_angst)
    side_px = math.ceil(_PIXELS_PER_PERIOD * window_px * pixel_size_angst / resolution_angst)
    side_px = min(side_px + side_px % 2, window_px)
    scale = window_px / side_px
    mask = circle(window_px, radius_px, edge_px)
    return Window(
        box_px=box_px,
        window_px=window_px,
        side_px=side_px,
        pixel_size_angst=pixel_size_angst * scale,
        mask=mask,
        mask_px=float(mask.square().sum()) / scale**2,
        background=background,
        disc=Disc(side_px, min((radius_px + edge_px) / scale + 1.0, side_px / 2 - 1)),
    )
