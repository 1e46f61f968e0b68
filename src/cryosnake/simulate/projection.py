"""Projections of a volume by central slices of its transform.

Orientations are RELION's: intrinsic ZYZ Euler angles (rot, tilt, psi) in degrees; image coordinates
are A times the volume's (x, y, z) with A of `euler_matrix`, and the beam runs along z.
"""

import numpy as np
import torch
import torch.nn.functional as F


def euler_matrix(rot_deg, tilt_deg, psi_deg) -> np.ndarray:
    """Matrices A (..., 3, 3) acting on (x, y, z): A = Rz(-psi) Ry(-tilt) Rz(-rot), as RELION's
    `Euler_angles2matrix` (Heymann, Chagoyen and Belnap 2005, J Struct Biol 151)."""
    a, b, g = (np.deg2rad(np.asarray(angle, float)) for angle in (rot_deg, tilt_deg, psi_deg))
    ca, sa, cb, sb, cg, sg = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(g), np.sin(g)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def euler_angles(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rot, tilt, psi) in degrees of matrices (..., 3, 3), the inverse of `euler_matrix`; where
    the tilt is 0 or 180 degrees all in-plane rotation is in psi."""
    a = np.asarray(matrices, float)
    tilt = np.arctan2(np.hypot(a[..., 2, 0], a[..., 2, 1]), a[..., 2, 2])
    polar = np.hypot(a[..., 2, 0], a[..., 2, 1]) < 1e-9
    rot = np.where(polar, 0.0, np.arctan2(a[..., 2, 1], a[..., 2, 0]))
    psi = np.where(
        polar,
        np.arctan2(-a[..., 1, 0] * np.sign(a[..., 2, 2]), a[..., 1, 1]),
        np.arctan2(a[..., 1, 2], -a[..., 0, 2]),
    )
    return np.rad2deg(rot), np.rad2deg(tilt), np.rad2deg(psi)


class Projector:
    """Projects one volume in many orientations.

    The volume is padded to twice its size and divided by the transform of the trilinear kernel, so
    that interpolation in Fourier space costs little at any frequency.

    Parameters
    ----------
    volume : (n, n, n), n even, in (z, y, x) order, centre at n // 2.
    """

    def __init__(self, volume: torch.Tensor):
        self.n = volume.shape[-1]
        if self.n % 2 or volume.shape != (self.n,) * 3:
            raise ValueError(f"{tuple(volume.shape) = } is not an even cube")
        big = 2 * self.n
        padded = F.pad(volume, [self.n // 2] * 6)
        kernel = torch.sinc((torch.arange(big) - big // 2) / big) ** 2
        for dim in range(3):
            shape = [1, 1, 1]
            shape[dim] = big
            padded = padded / kernel.view(shape)
        spectrum = torch.fft.rfftn(torch.fft.ifftshift(padded))
        spectrum = torch.fft.fftshift(spectrum, dim=(0, 1))
        self._table = torch.view_as_real(spectrum).permute(3, 0, 1, 2)[None].contiguous()

    def spectra(self, matrices: np.ndarray) -> torch.Tensor:
        """Half-plane transforms (N, n, n // 2 + 1) of the projections for matrices (N, 3, 3);
        the origin of the transform is the particle's centre."""
        n, big = self.n, 2 * self.n
        ky = torch.fft.fftfreq(n, 1.0 / n)
        kx = torch.fft.rfftfreq(n, 1.0 / n)
        plane = torch.stack(
            [kx[None, :].expand(n, -1), ky[:, None].expand(-1, n // 2 + 1)], -1
        )  # (n, n/2+1, 2) as (x, y), in cycles per box
        a = torch.as_tensor(np.asarray(matrices), dtype=torch.float32)
        k = torch.einsum("hwc,ncd->nhwd", plane, a[:, :2, :]) * 2.0  # A transposed times k
        mirrored = k[..., 0] < 0
        k = torch.where(mirrored[..., None], -k, k)
        sizes = torch.tensor([big // 2 + 1, big, big])
        centre = torch.tensor([0.0, big // 2, big // 2])
        grid = 2.0 * (k + centre) / (sizes - 1) - 1.0
        found = F.grid_sample(
            self._table, grid[None], mode="bilinear", align_corners=True, padding_mode="zeros"
        )[0]
        values = torch.complex(found[0], found[1])
        return torch.where(mirrored, values.conj(), values)
