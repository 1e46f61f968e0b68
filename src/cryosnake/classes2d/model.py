"""The state of a classification: class averages, noise and the fading sums behind them."""

from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.alignment.likelihood import References, references, shift_ramp
from cryosnake.alignment.polar import Band, PolarTransform, band_up_to
from cryosnake.alignment.update import Sums, Update, noise_power, update
from cryosnake.classes2d.window import Window, circle

_RING_LENGTH = 1.35  # of the diameter: room for what the CTF spreads
_SOLVENT_EDGE_PX = 3.0
_DENSE = 0.3  # of the peak: density above it counts for the centre
_OFF_CENTRE_PX = 0.5
_EMPTY_LIMITS = (0.1, 0.5)


class Geometry:
    """Bands and masks of one window; transforms are made once."""

    def __init__(self, window: Window, diameter_angst: float, device: torch.device):
        self.window, self.device = window, device
        self.diameter_angst = diameter_angst
        self.pixel = window.pixel_size_angst
        self.radius_px = min(0.5 * diameter_angst / self.pixel, window.disc.radius_px)
        self.solvent = circle(window.side_px, self.radius_px, _SOLVENT_EDGE_PX).to(device)
        self._made: dict[Band, PolarTransform] = {}

    def band(self, resolution_angst: float, *, shift_angst: float = 0.0) -> Band:
        """The band to a resolution."""
        return band_up_to(
            self.pixel / resolution_angst,
            1.0 / (_RING_LENGTH * 2.0 * self.radius_px),
            self.radius_px,
            shift_px=shift_angst / self.pixel,
        )

    def transform(self, band: Band) -> PolarTransform:
        """The transform of a band (the last few are kept)."""
        if band not in self._made:
            if len(self._made) > 3:
                self._made.pop(next(iter(self._made)))
            self._made[band] = PolarTransform(self.window.disc, band, self.device)
        return self._made[band]

    def shifts_px(self, step_angst: float, range_angst: float) -> torch.Tensor:
        """(T, 2) hexagonal grid of origins (y, x) within a range."""
        reach = int(np.ceil(range_angst / step_angst)) + 1
        row, column = np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij")
        y = row * step_angst * np.sqrt(0.75)
        x = (column + 0.5 * (row % 2)) * step_angst
        within = np.hypot(y, x) <= range_angst + 1e-6
        grid = np.stack([y[within], x[within]], 1) / self.pixel
        return torch.tensor(grid, dtype=torch.float32, device=self.device)

    def area_step_px(self, step_angst: float) -> float:
        """Square root of the area of a point of that grid, in small pixels."""
        return step_angst * 0.75**0.25 / self.pixel

    def solvent_flattened(self, parts: torch.Tensor) -> torch.Tensor:
        """Split images with everything outside the circle taken out."""
        disc = self.window.disc
        return disc.split(disc.join(parts) * self.solvent)


def _moved(transform: PolarTransform, orders: torch.Tensor, cos, sin) -> torch.Tensor:
    real, imaginary = transform.rings_from(orders)
    return transform.orders_of(real * cos - imaginary * sin, imaginary * cos + real * sin)


@dataclass
class Model:
    """K class averages as they are scored.

    Parameters
    ----------
    parts : (K, 2 P + 1) split images, regularised and masked.
    noise : (R,) power per pixel, over the finest band.
    sums : what the averages come from, or None at the start; band : its band.
    empty : prior probability that a particle shows nothing.
    """

    parts: torch.Tensor
    noise: torch.Tensor
    sums: Sums | None = None
    band: Band | None = None
    empty: float = 0.1

    def __len__(self) -> int:
        return len(self.parts)

    def references(self, transform: PolarTransform) -> References:
        """The averages, ready to be scored in a band."""
        orders = transform.orders_of(*transform.rings_of(self.parts))
        return references(transform, orders, self.noise[: transform.band.rings])

    @property
    def share(self) -> torch.Tensor:
        """(K,) fraction of the posterior weight in each class."""
        number = len(self)
        if self.sums is None:
            return torch.full((number,), 1.0 / number, device=self.parts.device)
        counts = self.sums.counts.sum(0)
        return counts / counts.sum().clamp_min(1e-6)

    def recentre(self, geometry: Geometry, transform: PolarTransform, most_px: float) -> None:
        """Move averages and sums so that the dense part of each lies in the centre, by at most
        `most_px`. `transform` is that of the band of the sums."""
        disc = geometry.window.disc
        images = disc.join(self.parts)
        peak = images.amax((1, 2), keepdim=True)
        dense = (images - _DENSE * peak).clamp_min(0.0)
        axis = torch.arange(disc.side_px, device=images.device) - float(disc.side_px // 2)
        total = dense.sum((1, 2)).clamp_min(1e-12)
        centre = torch.stack([dense.sum(2) @ axis, dense.sum(1) @ axis], 1) / total[:, None]
        far = centre.norm(dim=1, keepdim=True).clamp_min(1e-6)
        centre *= (most_px / far).clamp_max(1.0) * (far > _OFF_CENTRE_PX)
        # an image whose object lies at the centre of mass has minus it as its origin
        cos, sin = shift_ramp(transform, -centre)
        for half in (0, 1):
            self.sums.images[half] = _moved(transform, self.sums.images[half], cos, sin)
        orders = transform.orders_of(*transform.rings_of(self.parts))
        parts = transform.parts_of(_moved(transform, orders, cos, sin))
        self.parts = geometry.solvent_flattened(parts)

    def learn_empty(self, share: float, forget: float) -> None:
        """Move the prior of empty particles to the share that was found."""
        low, high = _EMPTY_LIMITS
        self.empty = (1.0 - forget) * self.empty + forget * min(max(share, low), high)

    def learn(
        self, geometry: Geometry, transform: PolarTransform, new: Sums, keep: float, trust: float
    ) -> Update:
        """Fade the old sums by `keep`, add new ones, and take averages and noise from them."""
        band = transform.band
        if self.sums is None:
            self.sums = new
        else:
            if self.band != band:
                self.sums = self.sums.in_band(self.band, band)
            self.sums.fade(keep)
            self.sums.add(new)
        self.band = band
        found = update(transform, self.sums, trust=trust)
        self.parts = geometry.solvent_flattened(transform.parts_of(found.orders))
        mask_px = geometry.window.mask_px
        self.noise[: band.rings] = noise_power(self.sums, mask_px)
        return found
