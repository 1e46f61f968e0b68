"""2D classes of simulated particles against the truth: what is in each, and how good averages are.

Nothing here uses the code under test: views are compared by the true angles, averages with
noise-free projections by rotating the projector and by Cartesian cross-correlation.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from classes2d_common import SimulatedStack, clean_spectra

from cryosnake.fourier import frequencies
from cryosnake.simulate.projection import euler_matrix


def symmetry_matrices(symmetry: str) -> np.ndarray:
    """Rotations of a point group with its axes as RELION has them (C and D: n-fold along z,
    2-fold along x; O: 4-fold along z)."""

    def about(axis, angle):
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

    letter, order = symmetry[0], int(symmetry[1:] or 4)
    makers = [about((0, 0, 1), 2 * np.pi / order)]
    if letter == "D":
        makers.append(about((1, 0, 0), np.pi))
    if letter == "O":
        makers.append(about((1, 0, 0), np.pi / 2))
    group = [np.eye(3)]
    for found in group:
        for maker in makers:
            new = maker @ found
            if not any(np.allclose(new, old, atol=1e-6) for old in group):
                group.append(new)
    return np.array(group)


@dataclass(frozen=True)
class Quality:
    """Classes against the truth, each figure between 0 and 1 except the resolution.

    Attributes
    ----------
    kinds : fraction of all particles in a class whose majority (a structure, or junk of any sort)
        they belong to.
    views : fraction of the true particles whose class is of their structure and whose view is
        within `VIEW_DEG` of the class's most central one, mirrored views being the same.
    junk : fraction of the junk in classes that are mostly junk; `lost` : of the true particles.
    frc_angst : resolution at which the average of a class and its best noise-free projection
        correlate to 0.5, mean over the true particles of the classes that are mostly true, of
        the frequency.
    """

    kinds: float
    views: float
    junk: float
    lost: float
    frc_angst: float
    populated: int

    def __str__(self) -> str:
        return (
            f"kinds {self.kinds:.3f}  views {self.views:.3f}  junk separated {self.junk:.3f}  "
            f"lost {self.lost:.3f}  FRC 0.5 at {self.frc_angst:.1f} A  classes {self.populated}"
        )


VIEW_DEG = 20.0
_VIEWS_TRIED = 12


def quality(
    stack: SimulatedStack, classes: np.ndarray, averages: np.ndarray | None = None
) -> Quality:
    """Hold classes (N,) int, -1 for none, and averages (K, n, n), if given, against the truth."""
    structure = stack.table["structure"].to_numpy()
    right = np.zeros(len(structure), bool)
    near = np.zeros(len(structure), bool)
    caught = lost = 0
    found, weight = [], []
    for k in np.unique(classes[classes >= 0]):
        members = np.flatnonzero(classes == k)
        central = central_members(stack, members)
        if central is None:
            true = structure[members] >= 0
            right[members[~true]] = True
            caught += (~true).sum()
            lost += true.sum()
            continue
        mine = members[structure[members] == structure[central[0]]]
        right[mine] = True
        near[central] = True
        if averages is not None:
            found.append(frc_frequency(stack, central, averages[k]))
            weight.append(len(mine))
    junk = stack.junk
    return Quality(
        kinds=float(right.mean()),
        views=float(near.sum() / max((~junk).sum(), 1)),
        junk=float(caught / max(junk.sum(), 1)),
        lost=float(lost / max((~junk).sum(), 1)),
        frc_angst=float(1.0 / np.average(found, weights=weight)) if found else math.nan,
        populated=len(np.unique(classes[classes >= 0])),
    )


def central_members(stack: SimulatedStack, members: np.ndarray) -> np.ndarray | None:
    """Of a class: the members of its largest structure whose view is within `VIEW_DEG` of the most
    central one, nearest first; None where most of the members are junk."""
    structure = stack.table["structure"].to_numpy()
    counts = np.bincount(structure[members] + 1, minlength=2)
    if counts[0] >= counts[1:].sum():
        return None
    top = counts[1:].argmax()
    mine = members[structure[members] == top]
    angles = stack.table[["rot", "tilt", "psi"]].to_numpy(float)[mine].T
    directions = euler_matrix(*angles)[:, 2]  # of the beam, in the frame of each particle
    apart = _view_angles_deg(directions, symmetry_matrices(stack.structures[top].symmetry))
    centre = (apart <= VIEW_DEG).sum(1).argmax()
    order = np.argsort(apart[centre], kind="stable")
    return mine[order[apart[centre][order] <= VIEW_DEG]]


def _view_angles_deg(directions: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(N, N) smallest angle between views, over symmetry and mirror."""
    best = np.zeros((len(directions),) * 2)
    for operation in group:
        np.maximum(best, np.abs(directions @ (directions @ operation.T).T), out=best)
    return np.rad2deg(np.arccos(np.clip(best, 0, 1)))


def frc_frequency(stack: SimulatedStack, central: np.ndarray, average: np.ndarray) -> float:
    """Frequency (1/angstrom) at which an average and the best of the projections at the views of
    the first of `central` members, turned and shifted onto it, or mirrored, correlate to 0.5."""
    rows = stack.table.iloc[central[:_VIEWS_TRIED]]
    structure = stack.structures[int(rows["structure"].iloc[0])]
    n, pixel = stack.box_px, stack.pixel_size_angst
    ky, kx = frequencies((n, n), pixel)
    k = torch.hypot(*torch.broadcast_tensors(ky, kx))
    axis = np.arange(n) - n // 2
    radius = np.hypot(*np.meshgrid(axis, axis)) * pixel
    inside = torch.as_tensor(radius <= 0.5 * stack.diameter_angst).float()
    image = torch.as_tensor(np.asarray(average, np.float32)) * inside
    target = torch.fft.rfft2(image)
    low = (k > 1.0 / 150) & (k < 1.0 / 14)
    best, chosen = -1.0, None
    for step, width in ((6.0, 180.0), (1.0, 5.0)):
        psi = np.arange(-width, width + 1e-6, step)
        views = (
            [chosen]
            if chosen is not None
            else [
                (row["rot"], row["tilt"], mirror, 0.0)
                for _, row in rows.iterrows()
                for mirror in (False, True)
            ]
        )
        for rot, tilt, mirror, centre in views:
            turned = pd.DataFrame({"rot": rot, "tilt": tilt, "psi": psi + centre})
            spectra = clean_spectra(structure, turned, n, pixel, shifted=False)
            if mirror:
                flipped = torch.fft.irfft2(spectra, s=(n, n)).flip(-1).roll(1 - n % 2, -1)
                spectra = torch.fft.rfft2(flipped)
            cross = torch.fft.irfft2(target * spectra.conj() * low, s=(n, n))
            norm = (spectra.abs().square() * low).sum((1, 2)).sqrt()
            peak = cross.flatten(1).max(1).values / norm
            top = int(peak.argmax())
            if float(peak[top]) > best or chosen is None:
                best = float(peak[top])
                chosen = (rot, tilt, mirror, float(psi[top] + centre))
                at = int(cross[top].argmax())
                ramp = -2 * math.pi * pixel * (ky * (at // n) + kx * (at % n))
                moved = spectra[top] * torch.polar(torch.ones_like(ramp), ramp)
                matched = torch.fft.irfft2(moved, s=(n, n)) * inside
    return _frc_frequency(target, torch.fft.rfft2(matched), k, n * pixel)


def _frc_frequency(one, two, k, side_angst: float, threshold: float = 0.5) -> float:
    """First frequency at which the ring correlation falls below the threshold."""
    ring = torch.round(k * side_angst).long()
    keep = ring <= int(k.max() * side_angst / math.sqrt(2))
    count = int(ring[keep].max()) + 1

    def summed(values):
        return torch.zeros(count).index_add_(0, ring[keep], values[keep])

    cross = summed((one * two.conj()).real)
    frc = cross / torch.sqrt(summed(one.abs() ** 2) * summed(two.abs() ** 2)).clamp_min(1e-20)
    below = torch.nonzero(frc[2:] < threshold)
    if not len(below):
        return (count - 1) / side_angst
    at = int(below[0]) + 2
    last, this = float(frc[at - 1]), float(frc[at])
    step = (last - threshold) / max(last - this, 1e-6)
    return (at - 1 + min(max(step, 0.0), 1.0)) / side_angst
