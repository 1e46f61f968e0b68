"""Class averages prepared to be held against projections."""

import math

import numpy as np
import torch

from cryosnake.alignment.polar import Disc, PolarTransform, band_up_to
from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image, good_size
from cryosnake.validation.mask import soft_edge

_PIXELS_PER_PERIOD = 2.5  # of the finest detail that is compared
_EDGE_PX = 4.0
_REACH = 0.1  # of the diameter: how far averages may be off the centre
_FINER = 2.0  # rotations at the last are this much closer than the band needs


class AverageSet:
    """Class averages, cropped in Fourier space to a band, less their mean under a soft circle,
    times that circle, and on rings.

    Parameters
    ----------
    averages : (K, n, n) float32, white particles, centre at n // 2.
    diameter_angst : of the circle.
    resolution_angst : of the averages; what is finer is not compared.

    Attributes
    ----------
    n, pixel_size_angst : of the cropped images; side_angst : of the box.
    images : (K, n, n) as prepared.
    reach_px : largest shift along each axis that is tried.
    power : (R,) mean square on each ring, of all averages together.
    """

    def __init__(
        self,
        averages: np.ndarray,
        pixel_size_angst: float,
        diameter_angst: float,
        resolution_angst: float,
    ):
        if averages.ndim != 3 or averages.shape[1] != averages.shape[2] or averages.shape[1] % 2:
            raise BadInputError(None, f"averages of shape {averages.shape}", "(K, n, n), n even")
        if not len(averages) or not np.isfinite(averages).all():
            raise BadInputError(None, "no averages, or some not finite", "(K, n, n) finite values")
        n = averages.shape[1]
        self.side_angst = n * pixel_size_angst
        wanted = math.ceil(_PIXELS_PER_PERIOD * self.side_angst / resolution_angst)
        self.n = min(n, next(m for m in range(wanted, 2 * wanted + 8) if good_size(m) == m))
        self.pixel_size_angst = self.side_angst / self.n
        self.resolution_angst = resolution_angst
        radius_px = 0.5 * diameter_angst / self.pixel_size_angst
        edge_px = min(_EDGE_PX, self.n / 2 - 1 - radius_px)
        if edge_px < 0.5:
            most = self.side_angst - 3 * self.pixel_size_angst
            raise BadInputError(None, f"a circle of {diameter_angst} A", f"at most {most:.0f} A")
        axis = np.arange(self.n) - self.n // 2
        beyond = np.hypot(*np.meshgrid(axis, axis)) - radius_px
        self.mask = torch.as_tensor(soft_edge(beyond, edge_px))
        self.reach_px = _REACH * diameter_angst / self.pixel_size_angst
        band = band_up_to(
            self.pixel_size_angst / resolution_angst,
            1.0 / (2.7 * radius_px),
            radius_px + edge_px,
            finer=_FINER,
            shift_px=self.reach_px,
        )
        self.polar = PolarTransform(Disc(self.n, radius_px + edge_px), band)
        self.natural_order = torch.argsort(band.order_list())
        cropped = bin_image(torch.as_tensor(np.asarray(averages, np.float32)), (self.n, self.n))
        self.images = self.prepared(cropped)
        self._rings = self.rings_of(self.images)
        self.power = mean_square(self._rings).mean(1)

    def __len__(self) -> int:
        return len(self.images)

    def prepared(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, n, n) less their mean under the mask, times the mask."""
        mean = (images * self.mask).sum((-2, -1), keepdim=True) / self.mask.sum()
        return (images - mean) * self.mask

    def rings_of(self, images: torch.Tensor) -> torch.Tensor:
        """(H, R, N) complex rings of prepared images."""
        return torch.complex(*self.polar.rings_of(self.polar.disc.split(images)))

    def orders_of(self, rings: torch.Tensor) -> torch.Tensor:
        """(O, R, N) complex angular orders 0 to O - 1 of rings (H, R, N)."""
        found = self.polar.orders_of(rings.real.contiguous(), rings.imag.contiguous())
        return torch.complex(found[:, 0], found[:, 1])[self.natural_order]

    def rings(self, index: int) -> torch.Tensor:
        """(H, R, 1) rings of one average."""
        return self._rings[..., index : index + 1]

    def moved_back(self, rings: torch.Tensor, shifts_px: np.ndarray) -> torch.Tensor:
        """(H, R, T) rings of an image (H, R, 1) moved by minus the shifts (T, 2), (x, y)."""
        ky, kx = self.polar.k_yx
        shift = torch.as_tensor(shifts_px, dtype=torch.float32)
        angle = 2 * math.pi * (kx[..., None] * shift[:, 0] + ky[..., None] * shift[:, 1])
        return rings * torch.polar(torch.ones_like(angle), angle)


def mean_square(rings: torch.Tensor) -> torch.Tensor:
    """(R, N) mean square of rings (H, R, N)."""
    return rings.abs().square().mean(0)
