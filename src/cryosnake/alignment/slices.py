"""Central slices of volumes on rings, and slices put back: the two maps between volumes and the
references of the alignment core.

A volume (z, y, x) is centred on voxel n // 2, its transform is F(k) = sum of v(p) exp(-2 pi i k p),
k in cycles per voxel, so that the transform of a projection (the sum along the beam) is a central
slice of it. It is kept as a table: the half kx >= 0 of the cube padded to `_PAD` n, as far out as
the band goes, real and imaginary part. Slices are interpolated trilinearly from a table whose
volume was divided by the transform of the trilinear kernel; putting back is the adjoint, with the
same kernel divided out at the end (Penczek 2010, Methods Enzymol 482, 1).
"""

import torch
import torch.nn.functional as F

from cryosnake.alignment.polar import PolarTransform

_PAD = 2


class SliceGrid:
    """Tables for volumes of one side and band.

    Parameters
    ----------
    side_px : n, side of the volumes.
    limit_per_px : frequency up to which slices are wanted.
    """

    def __init__(self, side_px: int, limit_per_px: float, device: torch.device | str = "cpu"):
        self.side_px, self.device = side_px, torch.device(device)
        self.padded_px = _PAD * side_px
        self.reach = min(int(limit_per_px * self.padded_px) + 2, self.padded_px // 2 - 1)
        axis = torch.arange(side_px, device=self.device) - side_px // 2
        kernel = torch.sinc(axis / self.padded_px) ** 2
        self._kernel = kernel[:, None, None] * kernel[:, None] * kernel
        line = torch.arange(-self.reach, self.reach + 1, device=self.device)
        kz, ky, kx = torch.meshgrid(line, line, line[self.reach :], indexing="ij")
        squared = (kz**2 + ky**2 + kx**2).float()
        self.radii_per_px = torch.sqrt(squared) / self.padded_px

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of a table."""
        return (2 * self.reach + 1, 2 * self.reach + 1, self.reach + 1)

    def table(self, volume: torch.Tensor) -> torch.Tensor:
        """(2, Z, Y, X) of a volume (n, n, n)."""
        low = self.padded_px // 2 - self.side_px // 2
        high = self.padded_px - self.side_px - low
        padded = F.pad(volume / self._kernel, [low, high] * 3)
        spectrum = torch.fft.rfftn(torch.fft.ifftshift(padded))
        spectrum = torch.fft.fftshift(spectrum, dim=(0, 1))
        start = self.padded_px // 2 - self.reach
        cut = slice(start, start + 2 * self.reach + 1)
        return torch.view_as_real(spectrum[cut, cut, : self.reach + 1]).permute(3, 0, 1, 2)

    def volume(self, table: torch.Tensor) -> torch.Tensor:
        """(n, n, n) of a table (2, Z, Y, X) of unweighted means, the kernel divided out."""
        big, start = self.padded_px, self.padded_px // 2 - self.reach
        spectrum = torch.zeros((big, big, big // 2 + 1), dtype=torch.complex64, device=table.device)
        cut = slice(start, start + 2 * self.reach + 1)
        spectrum[cut, cut, : self.reach + 1] = torch.complex(table[0], table[1])
        spectrum = torch.fft.ifftshift(spectrum, dim=(0, 1))
        padded = torch.fft.fftshift(torch.fft.irfftn(spectrum, s=(big,) * 3))
        low = big // 2 - self.side_px // 2
        cut = slice(low, low + self.side_px)
        return padded[cut, cut, cut] / self._kernel

    def _places(
        self, transform: PolarTransform, matrices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where (1, H, R, V, 3) the samples of slices lie in the table, -1 to 1, and 1 or -1
        (H, R, V) where their conjugate is meant."""
        ky, kx = transform.k_yx * self.padded_px
        k = kx[..., None, None] * matrices[:, 0] + ky[..., None, None] * matrices[:, 1]
        sign = torch.where(k[..., 0] < 0, -1.0, 1.0)
        k = k * sign[..., None]
        k[..., 0] = 2.0 * k[..., 0] / self.reach - 1.0
        k[..., 1:] /= self.reach
        return k[None], sign

    def slices(
        self, table: torch.Tensor, matrices: torch.Tensor, transform: PolarTransform
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and imaginary parts (H, R, V) of slices through a table.

        Parameters
        ----------
        matrices : (V, 3, 3) acting on (x, y, z): the image shows the volume turned by them.
        """
        places, sign = self._places(transform, matrices)
        found = F.grid_sample(
            table[None], places, mode="bilinear", padding_mode="zeros", align_corners=True
        )[0]
        return found[0], found[1] * sign

    def insert(
        self,
        sums: torch.Tensor,
        real: torch.Tensor,
        imaginary: torch.Tensor,
        weights: torch.Tensor,
        matrices: torch.Tensor,
        transform: PolarTransform,
    ) -> None:
        """Add slices (H, R, V) with weights (R, V) to sums (3, Z, Y, X): real and imaginary part
        and weight, each integrated over the area of its sample."""
        band = transform.band
        area = band.areas().to(self.device)[:, None] * (self.padded_px**2 / band.angles)
        places, sign = self._places(transform, matrices)
        values = torch.stack(
            [real * area, imaginary * area * sign, (weights * area).expand_as(real)]
        )
        (added, _) = torch.ops.aten.grid_sampler_3d_backward(
            values[None], sums[None], places, 0, 0, True, (True, False)
        )
        sums += added[0]

    @staticmethod
    def closed(sums: torch.Tensor) -> torch.Tensor:
        """Sums (3, Z, Y, X) with what the other half kx < 0 adds to the plane kx = 0."""
        out = sums.clone()
        mirrored = sums[:, :, :, 0].flip(1, 2)
        mirrored[1] *= -1.0
        out[:, :, :, 0] += mirrored
        return out
