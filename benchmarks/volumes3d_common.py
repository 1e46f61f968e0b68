"""What the benchmarks of volumes share: simulated stacks with a true volume, and how a volume is
held against it in all orientations and both hands.

Nothing here computes with the code under test.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from classes2d_common import (
    AMPLITUDE_CONTRAST,
    CS_MM,
    MEMBRANE,
    SHARED,
    VOLTAGE_KV,
    Structure,
    projector,
)
from scipy.optimize import minimize

from cryosnake.classes2d import Optics
from cryosnake.simulate.projection import euler_matrix


def pixel_size_of(name: str, box_px: int) -> float:
    """Pixel size in angstrom at which a structure fills a box well."""
    return {"membrane": 4.2}.get(name, 3.5) * 64 / box_px


def named(name: str) -> tuple[Structure, float]:
    """A structure by name, and the diameter in angstrom of the sphere that holds it.

    `asymmetric` is three of the four chains of beta-galactosidase, the third cut in half.
    """
    structures = SHARED / "structures"
    if name == "asymmetric":
        return Structure(name, str(_asymmetric(structures / "5a1a.pdb")), "C1"), 190.0
    return {
        "proteasome": (Structure(name, "proteasome", "D7"), 180.0),
        "half_proteasome": (Structure(name, "half_proteasome", "C7"), 150.0),
        "nanodisc": (Structure(name, "nanodisc", "D12"), 140.0),
        "membrane": (Structure(name, MEMBRANE, "C7"), 230.0),
        "betagal": (Structure(name, str(structures / "5a1a.pdb"), "D2"), 190.0),
        "apoferritin": (Structure(name, str(structures / "6z6u.pdb"), "O"), 150.0),
    }[name]


def _asymmetric(source: Path) -> Path:
    kept = []
    for line in source.read_text().splitlines():
        if line.startswith("ATOM"):
            chain, residue = line[21], int(line[22:26])
            if chain in "AB" or (chain == "C" and residue < 500):
                kept.append(line)
    path = Path(tempfile.gettempdir()) / "cryosnake-asymmetric.pdb"
    path.write_text("\n".join(kept) + "\nEND\n")
    return path


def optics_of(table) -> Optics:
    """The CTF parameters of a simulated stack."""
    parts = (table[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle"))
    return Optics(*parts, VOLTAGE_KV, CS_MM, AMPLITUDE_CONTRAST)


def true_volume(structure: Structure, box_px: int, pixel_size_angst: float) -> torch.Tensor:
    """(n, n, n) the cube that the projector of a structure projects."""
    one = projector(structure.source, box_px, pixel_size_angst)
    big = 2 * box_px
    table = torch.view_as_complex(one._table[0].permute(1, 2, 3, 0).contiguous())
    padded = torch.fft.fftshift(
        torch.fft.irfftn(torch.fft.ifftshift(table, dim=(0, 1)), s=(big,) * 3)
    )
    kernel = torch.sinc((torch.arange(big) - box_px) / big) ** 2
    padded = padded * kernel[:, None, None] * kernel[:, None] * kernel
    cut = slice(box_px // 2, box_px // 2 + box_px)
    return padded[cut, cut, cut]


def turned(volume: torch.Tensor, matrices: np.ndarray, shift_px=(0.0, 0.0, 0.0)) -> torch.Tensor:
    """(B, n, n, n) the volume turned by matrices (B, 3, 3) acting on (x, y, z), then shifted."""
    n = volume.shape[-1]
    axis = torch.arange(n, dtype=torch.float32) - n // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    place = torch.stack([x, y, z], -1) - torch.tensor(shift_px, dtype=torch.float32)
    inverse = torch.as_tensor(np.asarray(matrices), dtype=torch.float32).transpose(1, 2)
    source = torch.einsum("bij,zyxj->bzyxi", inverse, place) + n // 2
    grid = 2.0 * source / (n - 1) - 1.0
    tiled = volume[None, None].expand(len(inverse), -1, -1, -1, -1)
    return F.grid_sample(tiled, grid, align_corners=True)[:, 0]


def mirrored(volume: torch.Tensor) -> torch.Tensor:
    """The other hand."""
    return volume.flip(0).roll(1 - volume.shape[0] % 2, 0)


def _low(volume: torch.Tensor, side: int) -> torch.Tensor:
    spectrum = torch.fft.fftshift(torch.fft.fftn(volume))
    c = volume.shape[-1] // 2
    cut = slice(c - side // 2, c - side // 2 + side)
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum[cut, cut, cut])).real


def fsc(one: torch.Tensor, two: torch.Tensor) -> np.ndarray:
    """(n // 2,) shell correlation."""
    n = one.shape[-1]
    f = torch.fft.fftfreq(n, 1.0 / n)
    shell = torch.sqrt(f[:, None, None] ** 2 + f[:, None] ** 2 + f**2).round().long().flatten()
    a, b = torch.fft.fftn(one).flatten(), torch.fft.fftn(two).flatten()

    def total(values):
        return torch.zeros(int(shell.max()) + 1).index_add_(0, shell, values)

    cross = total((a * b.conj()).real)
    powers = total(a.abs() ** 2) * total(b.abs() ** 2)
    return (cross / torch.sqrt(powers).clamp_min(1e-20))[: n // 2].numpy()


def crossing_angst(
    curve: np.ndarray, side_px: int, pixel_size_angst: float, threshold: float = 0.5
) -> float:
    """Resolution at which a shell correlation first falls below the threshold."""
    below = np.flatnonzero(curve[2:] < threshold)
    if not len(below):
        return side_px * pixel_size_angst / (len(curve) - 1)
    at = int(below[0]) + 2
    part = (curve[at - 1] - threshold) / max(curve[at - 1] - curve[at], 1e-6)
    return side_px * pixel_size_angst / (at - 1 + min(max(part, 0.0), 1.0))


def sphere(side_px: int, radius_px: float, edge_px: float = 3.0) -> torch.Tensor:
    """(n, n, n) soft sphere."""
    axis = (torch.arange(side_px) - side_px // 2).float()
    r = torch.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return 0.5 + 0.5 * torch.cos(math.pi * ((r - radius_px) / edge_px).clamp(0, 1))


def onto(
    volume: np.ndarray,
    truth: torch.Tensor,
    pixel_size_angst: float,
    diameter_angst: float,
    *,
    step_deg: float = 15.0,
) -> tuple[torch.Tensor, np.ndarray, float]:
    """A volume turned onto the truth, whichever hand fits better, the shell correlation of the two
    under the sphere, and the resolution in angstrom where that falls below 0.5."""
    n = truth.shape[-1]
    mask = sphere(n, 0.5 * diameter_angst / pixel_size_angst)
    side = min(n, 2 * math.ceil(n * pixel_size_angst / 20.0 / 2))  # Nyquist at 40 A
    target = _low(truth * mask, side)
    target = target - target.mean()
    conjugate = torch.fft.rfftn(target).conj()
    rot, tilt = _grid(step_deg)
    psi = np.arange(0, 360, step_deg)
    angles = np.array([(r, t, p) for r, t in zip(rot, tilt, strict=True) for p in psi])
    tops = []
    for hand in (False, True):
        mine = torch.as_tensor(volume, dtype=torch.float32) * mask
        mine = mirrored(mine) if hand else mine
        small = _low(mine, side)
        small = small - small.mean()
        for start in range(0, len(angles), 256):
            part = angles[start : start + 256]
            moved = turned(small, euler_matrix(*part.T))
            cross = torch.fft.irfftn(
                torch.fft.rfftn(moved, dim=(1, 2, 3)) * conjugate, dim=(1, 2, 3), s=target.shape
            )
            peak = cross.flatten(1).max(1)
            norm = moved.flatten(1).norm(dim=1)
            for i in range(len(part)):
                tops.append((float(peak.values[i] / norm[i]), hand, part[i], int(peak.indices[i])))
    tops.sort(key=lambda one: -one[0])
    best = None
    for _, hand, angle, index in tops[:6]:
        mine = torch.as_tensor(volume, dtype=torch.float32) * mask
        mine = mirrored(mine) if hand else mine
        small = _low(mine, side)
        place = np.array(np.unravel_index(index, target.shape))[::-1]
        shift = -np.where(place > side // 2, place - side, place).astype(float)

        def loss(p, small=small):
            moved = turned(small, euler_matrix(*p[:3])[None], tuple(p[3:]))[0]
            moved = moved - moved.mean()
            return -float((moved * target).sum() / (moved.norm() * target.norm()))

        start = np.concatenate([angle, shift])
        simplex = np.vstack([start, start + np.diag([8.0, 8.0, 8.0, 1.0, 1.0, 1.0])])
        found = minimize(
            loss,
            start,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "maxiter": 200, "xatol": 0.05},
        )
        if best is None or found.fun < best[0]:
            best = (found.fun, hand, found.x)
    _, hand, p = best
    mine = torch.as_tensor(volume, dtype=torch.float32)
    mine = mirrored(mine) if hand else mine
    p = np.concatenate([p[:3], p[3:] * n / side])
    masked = truth * mask

    def fine(p):
        moved = turned(mine, euler_matrix(*p[:3])[None], tuple(p[3:]))[0] * mask
        return -float(np.nansum(fsc(moved, masked)[1 : n // 2]))

    simplex = np.vstack([p, p + np.diag([2.0, 2.0, 2.0, 0.5, 0.5, 0.5])])
    found = minimize(
        fine,
        p,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxiter": 120, "xatol": 0.02},
    )
    moved = turned(mine, euler_matrix(*found.x[:3])[None], tuple(found.x[3:]))[0] * mask
    curve = fsc(moved, masked)
    return moved, curve, crossing_angst(curve, n, pixel_size_angst)


def _grid(step_deg: float) -> tuple[np.ndarray, np.ndarray]:
    number = math.ceil(4 * math.pi / math.radians(step_deg) ** 2)
    place = np.arange(number)
    tilt = np.rad2deg(np.arccos(1 - (2 * place + 1) / number))
    return np.rad2deg(place * math.pi * (3 - math.sqrt(5))) % 360, tilt
