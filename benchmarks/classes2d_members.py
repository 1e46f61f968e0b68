"""Class averages of equal population, made anew from the members and poses that a program found.

A class of 500 particles has a finer average than one of 100, whatever the poses are worth, and
programs fill their classes differently. So the members of every class, junk included, are put in
random order and cut into groups of the same size; each group is averaged by the code below at
the program's own angles and origins, and held against the best noise-free projection. What is
left between programs is how alike the members are and how well they are aligned. Classes with
fewer members than a group, and such that are mostly junk, do not count, for either program.
"""

import math

import numpy as np
import torch
from classes2d_common import SimulatedStack, transfer
from classes2d_quality import central_members, frc_frequency

from cryosnake.fourier import frequencies

_WIENER = 0.1  # of the mean of the summed c^2
_MOST_GROUPS = 4  # of one class


def average_of(
    stack: SimulatedStack, members: np.ndarray, psi_deg: np.ndarray, origin_angst: np.ndarray
) -> np.ndarray:
    """(n, n) average of particles, shifted, turned, and freed of the CTF.

    Parameters
    ----------
    members : (B,) rows of the stack.
    psi_deg : (B,) and origin_angst : (B, 2) as (y, x), RELION's, of these.
    """
    n, pixel = stack.box_px, stack.pixel_size_angst
    ky, kx = frequencies((n, n))
    origin = torch.as_tensor(np.asarray(origin_angst, np.float32) / pixel)
    phase = -2 * math.pi * (ky * origin[:, :1, None] + kx * origin[:, 1:, None])
    ctf = transfer(stack.table.iloc[members], n, pixel)
    spectra = torch.fft.rfft2(torch.as_tensor(stack.images[members])) * ctf
    shifted = torch.fft.irfft2(spectra * torch.polar(torch.ones_like(phase), phase), s=(n, n))
    angle = torch.deg2rad(torch.as_tensor(np.asarray(psi_deg, np.float32)))
    axis = torch.arange(n, dtype=torch.float32) - n // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    at = torch.stack([cos * x + sin * y, cos * y - sin * x], -1)
    turned = torch.nn.functional.grid_sample(
        shifted[:, None], 2.0 * (at + n // 2) / (n - 1) - 1.0, mode="bicubic", align_corners=True
    )
    weight = ctf.square().sum(0)
    mean = torch.fft.rfft2(turned[:, 0].sum(0)) / (weight + _WIENER * weight.mean())
    return torch.fft.irfft2(mean, s=(n, n)).numpy()


def frc_at_equal_population(
    stack: SimulatedStack,
    classes: np.ndarray,
    psi_deg: np.ndarray,
    origin_angst: np.ndarray,
    members: int,
    seed: int,
) -> tuple[float, int]:
    """Resolution in angstrom (mean of the frequency over groups, each class weighted by its true
    particles) at which averages of so many members correlate to 0.5 with the truth, and the number
    of groups."""
    rng = np.random.default_rng(seed)
    found, weight, groups = [], [], 0
    for k in np.unique(classes[classes >= 0]):
        mine = rng.permutation(np.flatnonzero(classes == k))
        central = central_members(stack, mine)
        if central is None or len(mine) < members:
            continue
        cuts = [
            mine[start : start + members] for start in range(0, len(mine) - members + 1, members)
        ][:_MOST_GROUPS]
        each = [
            frc_frequency(stack, central, average_of(stack, cut, psi_deg[cut], origin_angst[cut]))
            for cut in cuts
        ]
        found.append(np.mean(each))
        weight.append((~stack.junk[mine]).sum())
        groups += len(cuts)
    return (float(1.0 / np.average(found, weights=weight)) if found else math.nan), groups
