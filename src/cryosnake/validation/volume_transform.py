"""The Fourier transform of a map between its grid points: slices of it, and rotations.

Points are spatial frequencies (x, y, z) in cycles per pixel; the origin of the transform is the
map's centre, n // 2.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import fft

from cryosnake.validation.shells import check_maps


class VolumeTransform:
    """The transform of one map (n, n, n) in (z, y, x) order.

    The map is padded to twice its size and divided by the transform of the trilinear kernel, so
    that interpolation costs little at any frequency. It takes 32 n^3 bytes, and while it is made
    three times that.
    """

    def __init__(self, volume: np.ndarray):
        self.n = check_maps(volume)
        big = 2 * self.n
        padded = F.pad(torch.as_tensor(np.asarray(volume, np.float32)), [self.n // 2] * 6)
        kernel = torch.sinc((torch.arange(big) - self.n) / big) ** 2
        padded /= kernel[:, None, None]
        padded /= kernel[None, :, None]
        padded /= kernel[None, None, :]
        spectrum = torch.fft.rfftn(torch.fft.ifftshift(padded))
        spectrum = torch.fft.fftshift(spectrum, dim=(0, 1))
        self._table = torch.view_as_real(spectrum).permute(3, 0, 1, 2)[None].contiguous()

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Values (...) complex64 at points (..., 3) float32; differentiable in the points."""
        big = 2 * self.n
        k = points * big
        mirrored = k[..., :1] < 0
        k = torch.where(mirrored, -k, k)
        sizes = torch.tensor([self.n + 1, big, big])
        origin = torch.tensor([0.0, self.n, self.n])
        grid = (2.0 * (k + origin) / (sizes - 1) - 1.0).reshape(1, 1, 1, -1, 3)
        found = F.grid_sample(
            self._table, grid, mode="bilinear", align_corners=True, padding_mode="zeros"
        ).view(2, *points.shape[:-1])
        sign = torch.where(mirrored[..., 0], -1.0, 1.0)
        return torch.complex(found[0], found[1] * sign)

    def projections(self, matrices: np.ndarray) -> torch.Tensor:
        """(N, n, n) float32 sums along the beam of the map turned by matrices (N, 3, 3), which act
        on (x, y, z); the centre stays at n // 2."""
        n = self.n
        ky = torch.fft.fftfreq(n)[:, None].expand(-1, n // 2 + 1)
        kx = torch.fft.rfftfreq(n)[None, :].expand(n, -1)
        plane = torch.stack([kx, ky], -1)
        turn = torch.as_tensor(np.asarray(matrices), dtype=torch.float32)[:, :2]
        spectra = self.at(torch.einsum("hwc,ncd->nhwd", plane, turn))
        # a shift by n // 2 of an even side changes signs only
        signs = 1.0 - 2.0 * ((torch.arange(n)[:, None] + torch.arange(n // 2 + 1)) % 2)
        return torch.fft.irfft2(spectra * signs, s=(n, n))


def resampled(volume: np.ndarray, new_n: int) -> np.ndarray:
    """A map of even side brought to a smaller even side by cropping its transform about the centre;
    grey values are kept."""
    n = len(volume)
    spectrum = fft.rfftn(fft.ifftshift(np.asarray(volume, np.float32)))
    keep = np.r_[0 : new_n // 2, n - new_n // 2 : n]
    spectrum = spectrum[np.ix_(keep, keep, np.arange(new_n // 2 + 1))]
    small = fft.fftshift(fft.irfftn(spectrum, s=(new_n,) * 3)) * (new_n / n) ** 3
    return small.astype(np.float32)
