"""Images that show something, but none of the volumes: edges of films, contamination.

They have power that no projection explains, most of it at low frequency. What the best pose leaves
of an image on the slow rings is held against what it leaves of the same image on the others, which
is its own noise; and that ratio against the same of the other particles, by median and median
deviation. So nothing is assumed about the noise, or how it varies among micrographs.
"""

from dataclasses import replace

import numpy as np
import torch

from cryosnake.alignment.likelihood import Images
from cryosnake.alignment.polar import PolarTransform
from cryosnake.volumes3d.model import Projections
from cryosnake.volumes3d.result import VolumePoses
from cryosnake.volumes3d.search import Found

_SLOW = 4.0  # over the diameter: the frequency where the slow rings end
_LIMIT_SIGMA = 3.5  # Iglewicz and Hoaglin 1993, How to detect and handle outliers
_TO_SIGMA = 1.4826  # from the median deviation of a normal distribution
_LEAST = 50  # particles that a limit is learnt from


class Outliers:
    """Finds them pass by pass, with the limit that the pass before has given.

    Parameters
    ----------
    number : N of particles; volumes : K.
    typical : (R,) median power of the images on the rings of the finest band.
    diameter_px : of the particles.

    Attributes
    ----------
    outlier : (N,) bool; sigma : (N,) by how many standard deviations of the other particles the
        ratio lies above their median; 0 where not measured.
    """

    def __init__(self, number: int, volumes: int, typical: torch.Tensor, diameter_px: float):
        self.volumes, self.typical = volumes, typical
        self.slow_per_px = _SLOW / diameter_px
        self._limits: dict[int, tuple[float, float]] = {}
        self._latest, self._rings = (0.0, np.inf), 0
        self._excess = np.full(number, np.nan, np.float32)
        self.outlier = np.zeros(number, bool)
        self.sigma = np.zeros(number, np.float32)

    def kept(
        self,
        chosen: np.ndarray,
        poses: VolumePoses,
        images: Images,
        power: torch.Tensor,
        found: Found,
        projections: Projections,
        transform: PolarTransform,
    ) -> torch.Tensor:
        """Tell outliers in a chunk of images whose poses have been noted, and put them into no
        volume; (B,) 1.0 for the others.

        Parameters
        ----------
        power : (R, B) mean power of the images on the rings.
        """
        contrast = torch.from_numpy(poses.contrast[chosen]).to(power.device)
        left = residual_power(images, power, found, projections, transform, contrast)
        excess = self._ratio(left, transform).pow(1.0 / 3.0).cpu().numpy()
        shown = poses.class_index[chosen] < self.volumes
        self._excess[chosen] = np.where(shown, excess, np.nan)
        self._rings = transform.band.rings
        middle, deviation = self._limits.get(self._rings, self._latest)
        self.sigma[chosen] = (excess - middle) / deviation
        outlier = self.sigma[chosen] > _LIMIT_SIGMA
        self.outlier[chosen] = outlier
        poses.class_index[chosen[outlier]] = self.volumes
        return torch.from_numpy(~outlier).to(power)

    def _ratio(self, left: torch.Tensor, transform: PolarTransform) -> torch.Tensor:
        """(B,) residual power on the slow rings that are scored over that on the others.

        A ratio of sums of squares: its cube root is nearly normal (Wilson and Hilferty 1931, PNAS
        17, 684).
        """
        band = transform.band
        radii = band.radii_per_px().to(left.device)
        weight = band.areas().to(left.device)
        slow = radii < self.slow_per_px
        own = left / self.typical[: band.rings, None]
        sums = []
        for rings in (slow & (torch.arange(band.rings, device=left.device) >= band.first), ~slow):
            part = weight * rings
            sums.append((part @ own) / part.sum())
        return sums[0].clamp_min(0.0) / sums[1].clamp_min(1e-6)

    def learn(self) -> None:
        """Take the limit of the next pass from what was measured in this one; a pass in a band that
        was used before takes the limit of that."""
        excess = self._excess[np.isfinite(self._excess)]
        if len(excess) >= _LEAST:
            middle = float(np.median(excess))
            deviation = float(_TO_SIGMA * np.median(np.abs(excess - middle)))
            self._latest = self._limits[self._rings] = (middle, max(deviation, 1e-6))
        self._excess[:] = np.nan


def residual_power(
    images: Images,
    power: torch.Tensor,
    found: Found,
    projections: Projections,
    transform: PolarTransform,
    contrast: torch.Tensor,
) -> torch.Tensor:
    """(R, B) mean power on the rings that images less their best projections have.

    Parameters
    ----------
    contrast : (B,) of the projections.
    """
    post, batch = found.posterior, len(images)
    every = torch.arange(batch, device=power.device)
    refs = projections.refs.orders[..., found.slots[post.reference, every]]  # (O, 2, R, B)
    group = found.sets[post.reference]
    seen = torch.empty_like(refs)
    for which, orders in enumerate(found.orders):
        mine = torch.nonzero(group == which)[:, 0]
        seen[..., mine] = orders[:, :, :, post.shift[mine], mine]
    angle = (post.rotation + post.turn) * (2.0 * torch.pi / transform.band.rotations)
    phase = transform.orders.to(angle)[:, None] * angle  # (O, B)
    cos, sin = torch.cos(phase)[:, None], torch.sin(phase)[:, None]
    weight = transform.order_weight[:, None, None]
    along = seen[:, 0] * refs[:, 0] + seen[:, 1] * refs[:, 1]
    across = seen[:, 1] * refs[:, 0] - seen[:, 0] * refs[:, 1]
    cross = (weight * (along * cos + across * sin)).sum(0) / images.contrast
    own = (weight * refs.square().sum(1)).sum(0) * images.squared
    return power - 2.0 * contrast * cross + contrast.square() * own


def only(found: Found, kept: torch.Tensor) -> Found:
    """The same without the poses of the images that are not kept (B,)."""
    post = found.posterior
    columns = kept[post.columns % len(kept)] > 0
    left = replace(
        post,
        columns=post.columns[columns],
        weights=post.weights[:, columns],
        classes=post.classes * kept,
    )
    return replace(found, posterior=left)
