"""Volumes as they are scored, and the sums they come from."""

import itertools
from dataclasses import dataclass

import torch

from cryosnake.alignment.likelihood import References, references
from cryosnake.alignment.polar import PolarTransform
from cryosnake.alignment.slices import SliceGrid
from cryosnake.classes2d.model import Geometry
from cryosnake.volumes3d.cubes import sphere
from cryosnake.volumes3d.orientations import view_matrices
from cryosnake.volumes3d.shells import Shells

FSC_THRESHOLD = 0.143
_SIGMAS = 3.0
_LEAST_WEIGHT = 1e-3  # of the mean of a shell: where slices have left less there is nothing
_LEAST_COUNT = 1e-3  # posterior weight below which a slice is not worth putting back
_EDGE_PX = 3.0
_FINEST_SNR = 1e4


@dataclass(frozen=True)
class Projections:
    """Projections of volumes, ready to be scored.

    Parameters
    ----------
    volume : (Q,) int64, sorted; views : (Q, 3).
    refs : Q references.
    """

    volume: torch.Tensor
    views: torch.Tensor
    refs: References

    def __len__(self) -> int:
        return len(self.volume)


class SliceSums:
    """What images say about Q projections: the sums that `alignment.update.Sums` keeps, of one
    half set, with a projection's numbers side by side.

    Attributes
    ----------
    images : (Q, O, 2, R) weighted sums of alpha c x.
    weights : (Q, R) weighted sums of alpha^2 c^2; counts : (Q,) posterior weight.
    power : (R,) summed mean power of the images on the rings; seen : number of images.
    """

    def __init__(self, number: int, transform: PolarTransform):
        band, device = transform.band, transform.device
        self.images = torch.zeros((number, band.orders, 2, band.rings), device=device)
        self.weights = torch.zeros((number, band.rings), device=device)
        self.counts = torch.zeros(number, device=device)
        self.power = torch.zeros(band.rings, device=device)
        self.seen = 0

    def residual(self, refs: References, transform: PolarTransform) -> torch.Tensor:
        """(R,) summed power of the images less their projections."""
        orders = refs.orders.permute(3, 0, 1, 2)
        weight = transform.order_weight[:, None, None]
        cross = torch.einsum("qocr,qocr,o->r", self.images, orders, transform.order_weight)
        own = ((orders.square() * weight).sum((1, 2)) * self.weights).sum(0)
        return self.power + own - 2.0 * cross


class VolumeSums:
    """Slices put back into tables, of K volumes and two half sets, and the noise they left.

    Attributes
    ----------
    tables : (2, K, 3, Z, Y, X); counts : (2, K).
    residual : (R,) over the finest band; seen : (R,) images in it.
    """

    def __init__(self, grid: SliceGrid, number: int, rings: int):
        self.grid = grid
        self.tables = torch.zeros((2, number, 3, *grid.shape), device=grid.device)
        self.counts = torch.zeros((2, number), device=grid.device)
        self.residual = torch.zeros(rings, device=grid.device)
        self.seen = torch.zeros(rings, device=grid.device)

    def fade(self, keep: float) -> None:
        """Multiply all sums by `keep`."""
        for one in (self.tables, self.counts, self.residual, self.seen):
            one *= keep

    def add(
        self, half: int, sums: SliceSums, projections: Projections, transform: PolarTransform
    ) -> None:
        """Put slices back."""
        rings = transform.band.rings
        self.residual[:rings] += sums.residual(projections.refs, transform)
        self.seen[:rings] += sums.seen
        for k, (start, end) in enumerate(_spans(projections.volume, self.counts.shape[1])):
            counts = sums.counts[start:end]
            self.counts[half, k] += counts.sum()
            filled = start + torch.nonzero(counts > _LEAST_COUNT)[:, 0]
            if not len(filled):
                continue
            orders = sums.images[filled].permute(1, 2, 3, 0).contiguous()
            real, imaginary = transform.rings_from(orders)
            self.grid.insert(
                self.tables[half, k],
                real,
                imaginary,
                sums.weights[filled].T,
                view_matrices(projections.views[filled]),
                transform,
            )


def _spans(volume: torch.Tensor, number: int) -> list[tuple[int, int]]:
    edges = torch.searchsorted(volume, torch.arange(number + 1, device=volume.device)).tolist()
    return list(itertools.pairwise(edges))


class Model:
    """K volumes, or one in two half sets, as they are scored.

    Attributes
    ----------
    volumes : (K, n, n, n) in the window's small pixels, regularised and masked.
    noise : (R,) power per pixel over the finest band.
    threshold : (S,) what a correlation of half sets has to reach: 0.143, in small shells three
        standard deviations of that of noise under the mask (van Heel and Schatz 2005, J Struct
        Biol 151, 250).
    """

    def __init__(self, geometry: Geometry, grid: SliceGrid, volumes, noise: torch.Tensor):
        self.geometry, self.grid, self.noise = geometry, grid, noise
        self.shells = Shells(grid.side_px, grid.device)
        self.mask = sphere(grid.side_px, geometry.radius_px, _EDGE_PX).to(grid.device)
        samples = 2.0 * self.shells.counts() * self.mask.square().mean()
        self.threshold = (_SIGMAS / torch.sqrt(samples.clamp_min(1.0))).clamp_min(FSC_THRESHOLD)
        self.volumes = volumes

    @property
    def volumes(self) -> torch.Tensor:
        return self._volumes

    @volumes.setter
    def volumes(self, volumes: torch.Tensor) -> None:
        self._volumes = volumes
        self._tables = [self.grid.table(one) for one in volumes]

    def __len__(self) -> int:
        return len(self._volumes)

    def projections(
        self, transform: PolarTransform, volume: torch.Tensor, views: torch.Tensor
    ) -> Projections:
        """Projections of the volumes (Q,) int64, sorted, in the views (Q, 3)."""
        parts = []
        matrices = view_matrices(views)
        for table, (start, end) in zip(self._tables, _spans(volume, len(self)), strict=True):
            parts.append(self.grid.slices(table, matrices[start:end], transform))
        real, imaginary = (torch.cat(one, -1) for one in zip(*parts, strict=True))
        orders = transform.orders_of(real, imaginary)
        refs = references(transform, orders, self.noise[: transform.band.rings])
        return Projections(volume, views, refs)

    def all_projections(self, transform: PolarTransform, views: torch.Tensor) -> Projections:
        """Projections of all volumes in all views (V, 3), volume by volume."""
        number = len(self)
        volume = torch.arange(number, device=views.device).repeat_interleave(len(views))
        return self.projections(transform, volume, views.repeat(number, 1))

    def means(self, sums: VolumeSums, k: int) -> torch.Tensor:
        """(2, n, n, n) unfiltered half volumes, not masked."""
        halves = [self._mean(SliceGrid.closed(sums.tables[half, k])) for half in (0, 1)]
        return torch.stack(halves)

    def _mean(self, closed: torch.Tensor, prior: torch.Tensor | None = None) -> torch.Tensor:
        weight = closed[2]
        level = self.shells.table_mean(weight, self.grid.radii_per_px)
        floor = level * _LEAST_WEIGHT
        if prior is not None:
            floor = floor + level * prior
        return self.grid.volume(closed[:2] / (weight + floor).clamp_min(1e-12))

    def fsc(self, halves: torch.Tensor) -> torch.Tensor:
        """(S,) correlation of half volumes (2, n, n, n) under the sphere."""
        return self.shells.correlation(halves[0] * self.mask, halves[1] * self.mask)

    def filtered(
        self,
        closed: torch.Tensor,
        snr: torch.Tensor,
        limit_per_px: float,
        *,
        from_per_px: float = 0.0,
    ) -> torch.Tensor:
        """(n, n, n) volume of closed sums, each voxel's mean weighed against its shell's
        signal-to-noise (S,), nothing beyond the limit or below `from_per_px`; masked after that."""
        radii = self.grid.radii_per_px
        here = self.shells.at(snr, radii)
        here = torch.where((radii >= from_per_px) & (radii < limit_per_px), here, 0.0)
        return self._mean(closed, 1.0 / here.clamp_min(1e-6)) * self.mask

    def learn_noise(self, sums: VolumeSums) -> None:
        """The noise that volumes left of the images, where any were seen."""
        power = sums.residual / sums.seen.clamp_min(1.0) / self.geometry.window.mask_px
        self.noise = torch.where(sums.seen > 0, power.clamp_min(1e-12), self.noise)


def snr_of_mean(fsc: torch.Tensor, *, both: bool, trust: float = 1.0) -> torch.Tensor:
    """Signal over noise of a half volume, or of the mean of both, for the correlation of halves
    (Rosenthal and Henderson 2003, J Mol Biol 333, equation 18)."""
    fsc = fsc.clamp(0.0, 0.9999)
    return (trust * (2.0 if both else 1.0) * fsc / (1.0 - fsc)).clamp_max(_FINEST_SNR)
