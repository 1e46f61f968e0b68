"""Simulated particle stacks with junk of many kinds, and their truth."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from assessment_structures import volume
from classes2d_common import transfer

from cryosnake.fourier import frequencies
from cryosnake.simulate.projection import Projector, euler_matrix

#: What is in a box, and the label of a class of such boxes. Film without its edge shows nothing
#: once it is averaged.
KINDS = {
    "particle": "good",
    "pair": "clip",
    "cut": "clip",
    "crowd": "clip",
    "edge": "edge",
    "stripes": "edge",
    "film": "noise",
    "noise": "noise",
}
JUNK = tuple(KINDS)[1:]
_CHUNK = 96


@dataclass(frozen=True)
class Plan:
    """What a set holds.

    Attributes
    ----------
    structures : names of `assessment_structures.volume`; long_axis_angst : of each.
    diameter_angst : of the mask of the classification.
    shares : of the kinds `KINDS`, adding up to 1.
    snr : power of the signal over that of the noise inside the mask, log-uniform over the range.
    preferred : fraction of the particles seen within 8 degrees of the z axis.
    neighbours : fraction of the true particles with another one beside them.
    """

    seed: int
    structures: tuple[str, ...]
    long_axis_angst: tuple[float, ...]
    particles: int
    classes: int
    box_px: int
    pixel_size_angst: float
    diameter_angst: float
    shares: tuple[float, ...]
    snr: tuple[float, float]
    defocus_angst: tuple[float, float]
    preferred: float
    neighbours: float


def simulate(plan: Plan) -> tuple[np.ndarray, pd.DataFrame]:
    """Images (N, n, n) float32 and a table with `kind`, `rlnDefocusU/V/Angle`."""
    rng = np.random.default_rng([plan.seed, 11])
    generator = torch.Generator().manual_seed(plan.seed)
    number, n, pixel = plan.particles, plan.box_px, plan.pixel_size_angst
    mean = rng.uniform(*plan.defocus_angst, number)
    half = rng.uniform(0, 300, number)
    table = pd.DataFrame(
        {
            "kind": rng.choice(list(KINDS), number, p=np.array(plan.shares) / sum(plan.shares)),
            "rlnDefocusU": mean + half,
            "rlnDefocusV": mean - half,
            "rlnDefocusAngle": rng.uniform(0, 180, number),
        }
    )
    snr = np.exp(rng.uniform(*np.log(plan.snr), number))
    projectors = [
        Projector(volume(name, n, pixel, axis))
        for name, axis in zip(plan.structures, plan.long_axis_angst, strict=True)
    ]
    axis = np.arange(n) - n // 2
    inside = torch.as_tensor(np.hypot(*np.meshgrid(axis, axis)) * pixel <= plan.diameter_angst / 2)
    k = torch.hypot(*torch.broadcast_tensors(*frequencies((n, n), pixel)))
    colour = torch.sqrt(1.0 + rng.uniform(0.3, 2.0) * torch.exp(-k / 0.02))
    images = np.empty((number, n, n), np.float32)
    reference = None
    for start in range(0, number, _CHUNK):
        rows = table.iloc[start : start + _CHUNK]
        canvas = torch.stack([_flat_junk(kind, plan, rng) for kind in rows["kind"]])
        spectra = torch.fft.rfft2(canvas) + _particles(rows["kind"], plan, projectors, rng)
        shown = torch.fft.irfft2(spectra * transfer(rows, 2 * n, pixel), s=(2 * n, 2 * n))
        shown = shown[:, n // 2 : n // 2 + n, n // 2 : n // 2 + n]
        shown = shown - shown[:, ~inside].mean(1)[:, None, None]
        power = shown[:, inside].square().mean(1)
        if reference is None:
            reference = float(power[torch.as_tensor(np.array(rows["kind"] == "particle"))].mean())
        target = torch.as_tensor(snr[start : start + _CHUNK], dtype=torch.float32)
        amplitude = torch.sqrt(target / reference)
        for row, kind in enumerate(rows["kind"]):
            if kind in ("edge", "stripes", "film"):
                stronger = math.exp(rng.uniform(math.log(1.0), math.log(8.0)))
                amplitude[row] = torch.sqrt(stronger * target[row] / power[row].clamp_min(1e-12))
        white = torch.randn((len(rows), n, n), generator=generator)
        noise = torch.fft.irfft2(torch.fft.rfft2(white) * colour, s=(n, n))
        images[start : start + _CHUNK] = (shown * amplitude[:, None, None] + noise).numpy()
    return images, table


def _places(kind: str, plan: Plan, rng) -> np.ndarray:
    """(M, 2) where particles of a box lie, y and x in angstrom from its centre."""
    size = max(plan.long_axis_angst)
    turn = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(turn), np.cos(turn)])
    if kind == "particle":
        own = rng.normal(0, 0.03 * size, 2)
        if rng.random() < plan.neighbours:
            return np.stack([own, direction * rng.uniform(1.0, 1.3) * size])
        return own[None]
    if kind == "pair":
        apart = rng.uniform(0.4, 0.6) * size
        return np.stack([apart * direction, -apart * direction])
    if kind == "cut":
        return (rng.uniform(0.35, 0.6) * size * direction)[None]
    if kind == "crowd":
        return rng.uniform(-0.75, 0.75, (rng.integers(3, 7), 2)) * size
    return np.zeros((0, 2))


def _particles(kinds: pd.Series, plan: Plan, projectors, rng) -> torch.Tensor:
    """Half-plane transforms (B, 2 n, n + 1) of the particles in boxes of twice the side, so that
    what leaves the box does not come back on the other side; before the CTF."""
    n = plan.box_px
    owner, place = [], []
    for row, kind in enumerate(kinds):
        found = _places(kind, plan, rng)
        owner += [row] * len(found)
        place.append(found)
    total = torch.zeros((len(kinds), 2 * n, n + 1), dtype=torch.complex64)
    if not owner:
        return total
    place = torch.as_tensor(np.vstack(place) / plan.pixel_size_angst, dtype=torch.float32)
    which = rng.integers(0, len(projectors), len(owner))
    cosine = rng.uniform(-1, 1, len(owner))
    along = rng.random(len(owner)) < plan.preferred
    cosine = np.where(along, np.cos(np.deg2rad(rng.normal(0, 8, len(owner)))), cosine)
    matrices = euler_matrix(
        rng.uniform(-180, 180, len(owner)),
        np.rad2deg(np.arccos(cosine)),
        rng.uniform(-180, 180, len(owner)),
    )
    ky, kx = frequencies((2 * n, 2 * n))
    padded = torch.zeros((len(owner), 2 * n, 2 * n))
    middle = slice(n // 2, n // 2 + n)
    for index, projector in enumerate(projectors):
        mine = np.flatnonzero(which == index)
        if len(mine):
            images = torch.fft.irfft2(projector.spectra(matrices[mine]), s=(n, n))
            padded[mine, middle, middle] = torch.fft.fftshift(images, dim=(-2, -1))
    ramp = -2 * math.pi * (ky * place[:, :1, None] + kx * place[:, 1:, None])
    moved = torch.fft.rfft2(padded) * torch.polar(torch.ones_like(ramp), ramp)
    return total.index_add_(0, torch.as_tensor(owner), moved)


def _flat_junk(kind: str, plan: Plan, rng) -> torch.Tensor:
    """(2 n, 2 n) film, its edge, or stripes; zeros for other kinds."""
    side = 2 * plan.box_px
    if kind not in ("edge", "stripes", "film"):
        return torch.zeros((side, side))
    axis = (np.arange(side) - plan.box_px) * plan.pixel_size_angst / plan.diameter_angst
    y, x = np.meshgrid(axis, axis, indexing="ij")
    turn = rng.uniform(0, 2 * np.pi)
    along = x * math.cos(turn) + y * math.sin(turn)
    across = -x * math.sin(turn) + y * math.cos(turn)
    texture = torch.as_tensor(rng.normal(0, 1, (side, side)), dtype=torch.float32)
    k = torch.hypot(*torch.broadcast_tensors(*frequencies((side, side), plan.pixel_size_angst)))
    smooth = torch.fft.irfft2(
        torch.fft.rfft2(texture) * torch.exp(-k * rng.uniform(8, 30)), s=(side, side)
    )
    smooth = smooth / smooth.std()
    if kind == "film":
        return smooth
    if kind == "edge":
        bent = along + rng.normal(0, 0.3) * across**2 + rng.uniform(-0.35, 0.35)
        step = 1.0 / (1.0 + np.exp(-np.clip(bent / rng.uniform(0.01, 0.05), -50, 50)))
        return torch.as_tensor(step, dtype=torch.float32) * (1 + rng.uniform(0, 0.4) * smooth)
    if rng.random() < 0.5:
        wave = np.cos(2 * np.pi * (along / rng.uniform(0.12, 0.5) + rng.random()))
        return torch.as_tensor(wave, dtype=torch.float32)
    lines = [
        np.exp(-(((along - at) / rng.uniform(0.02, 0.08)) ** 2))
        for at in rng.uniform(-0.4, 0.4, rng.integers(1, 4))
    ]
    return torch.as_tensor(sum(lines), dtype=torch.float32)
