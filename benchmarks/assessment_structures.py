"""Synthetic structures for the training of the class model: volumes of beads, nothing published.

Each is drawn from a seed: chains of beads in the shape of its family, so that no two are alike.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from classes2d_common import SHARED, VOLTAGE_KV

from cryosnake.simulate.potential import species_phase

FAMILIES = ("assembly", "rod", "ring", "disc", "membrane", "globule", "shell")
#: Never in training: published structures, by their long axis in angstrom.
HELD_OUT = {"proteasome": 165.0, "half_proteasome": 115.0, "betagal": 180.0, "apoferritin": 130.0}
_FILES = {"betagal": "5a1a", "apoferritin": "6z6u"}
_BEADS_PER_VOLUME = 4000.0


def available(name: str) -> bool:
    """Whether a published structure is at hand."""
    return name not in _FILES or (SHARED / "structures" / f"{_FILES[name]}.pdb").is_file()


def volume(name: str, box_px: int, pixel_size_angst: float, long_axis_angst: float) -> torch.Tensor:
    """(n, n, n) of unit root mean square, n = box_px: `family:seed` at a long axis, or a published
    structure at its own."""
    if ":" not in name:
        cube = _fitted(_published(name, pixel_size_angst), box_px)
    else:
        family, seed = name.split(":")
        beads = _FAMILY[family](np.random.default_rng(int(seed)))
        cube = _drawn(beads, box_px, pixel_size_angst, long_axis_angst)
    return cube / cube.square().mean().sqrt()


def _published(name: str, pixel_size_angst: float) -> torch.Tensor:
    source = str(SHARED / "structures" / f"{_FILES[name]}.pdb") if name in _FILES else name
    return species_phase(
        source,
        pixel_size_angst=pixel_size_angst,
        voltage_kv=VOLTAGE_KV,
        cache_dir=Path(tempfile.gettempdir()) / "cryosnake-potentials",
    )


def _fitted(found: torch.Tensor, box_px: int) -> torch.Tensor:
    have = found.shape[-1]
    take = min(have, box_px)
    a, b = have // 2 - take // 2, box_px // 2 - take // 2
    cube = torch.zeros((box_px,) * 3)
    inner = (slice(b, b + take),) * 3
    cube[inner] = found[(slice(a, a + take),) * 3]
    return cube


def _drawn(
    beads: np.ndarray, box_px: int, pixel_size_angst: float, long_axis_angst: float
) -> torch.Tensor:
    """Beads (N, 4), position and weight, scaled to a long axis, by trilinear interpolation."""
    place = beads[:, :3] - np.average(beads[:, :3], axis=0, weights=np.abs(beads[:, 3]))
    radius = np.percentile(np.linalg.norm(place, axis=1), 98)
    blur_angst = max(4.0, 0.02 * long_axis_angst)
    place = place * (0.5 * long_axis_angst - blur_angst) / radius / pixel_size_angst + box_px // 2
    low = np.floor(place).astype(int)
    part = place - low
    cube = np.zeros((box_px,) * 3, np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1) * beads[:, 3]
        at = np.clip(low + corner, 0, box_px - 1)
        np.add.at(cube, tuple(at.T), weight.astype(np.float32))
    k = torch.fft.fftfreq(box_px)
    squared = k[:, None, None] ** 2 + k[:, None] ** 2 + torch.fft.rfftfreq(box_px) ** 2
    blurred = torch.fft.rfftn(torch.as_tensor(cube))
    blurred *= torch.exp(-2 * (math.pi * blur_angst / pixel_size_angst) ** 2 * squared)
    return torch.fft.irfftn(blurred, s=cube.shape)


def _chain(rng, centre, size) -> np.ndarray:
    """A lump of beads about a centre, of uneven density, as a folded domain has."""
    beads = int(np.clip(_BEADS_PER_VOLUME * size**3, 30, 900))
    stretch = rng.uniform(0.6, 1.4, 3)
    inside = rng.normal(0, 1, (beads, 3))
    inside *= (rng.random(beads) ** (1 / 3) / np.linalg.norm(inside, axis=1))[:, None]
    turn, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    weight = rng.gamma(1.5, 1.0, (beads, 1))
    return np.hstack([np.asarray(centre) + (inside * stretch * size) @ turn, weight])


def _turned(beads: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    turned = beads.copy()
    turned[:, 1] = c * beads[:, 1] - s * beads[:, 2]
    turned[:, 2] = s * beads[:, 1] + c * beads[:, 2]
    return turned


def _cyclic(beads: np.ndarray, order: int) -> np.ndarray:
    return np.vstack([_turned(beads, 2 * math.pi * i / order) for i in range(order)])


def _assembly(rng) -> np.ndarray:
    place, found = np.zeros(3), []
    for _ in range(rng.integers(3, 12)):
        step = rng.normal(0, 1, 3)
        place = 0.75 * place + 0.45 * step / np.linalg.norm(step)
        found.append(_chain(rng, place, rng.uniform(0.18, 0.4)))
    beads = np.vstack(found)
    order = rng.choice([1, 1, 2, 3, 4])
    beads[:, 1] += 0.3 * (order > 1)
    return _cyclic(beads, order)


def _rod(rng) -> np.ndarray:
    number, thick = rng.integers(4, 9), rng.uniform(0.15, 0.3)
    bend = rng.normal(0, 0.15)
    along = np.linspace(-1, 1, number)
    return np.vstack([_chain(rng, (z, bend * z * z, rng.normal(0, 0.05)), thick) for z in along])


def _ring(rng) -> np.ndarray:
    height, layers = rng.uniform(0.1, 0.35), rng.integers(1, 4)
    unit = np.vstack([_chain(rng, (height * 2 * z, 0.75, 0), 0.22) for z in range(layers)])
    return _cyclic(unit, int(rng.integers(4, 13)))


def _disc(rng) -> np.ndarray:
    radius = np.sqrt(rng.random(1500))
    angle = rng.uniform(0, 2 * np.pi, 1500)
    flat = np.column_stack(
        [
            rng.choice([-1, 1], 1500) * rng.uniform(0.08, 0.18),
            radius * np.cos(angle),
            radius * np.sin(angle),
            np.full(1500, 1.0),
        ]
    )
    unit = _chain(rng, (0, 0.9, 0), 0.15)
    return np.vstack([flat, _cyclic(unit * [1, 1, 1, 1.5], int(rng.integers(8, 20)))])


def _membrane(rng) -> np.ndarray:
    belt = _disc(rng) * [1.3, 1, 1, 0.5]
    order = rng.choice([1, 2, 3, 4, 5])
    found = [belt]
    for side in (-1, 1):
        for _ in range(rng.integers(0 if side < 0 else 1, 4)):
            centre = (side * rng.uniform(0.3, 0.9), rng.uniform(0.15, 0.4), 0)
            found.append(_cyclic(_chain(rng, centre, rng.uniform(0.2, 0.35)), order))
    return np.vstack(found)


def _globule(rng) -> np.ndarray:
    lobes = rng.integers(1, 4)
    return np.vstack(
        [_chain(rng, rng.normal(0, 0.35, 3), rng.uniform(0.5, 0.8)) for _ in "x" * lobes]
    )


def _shell(rng) -> np.ndarray:
    number = int(rng.integers(12, 60))
    index = np.arange(number) + 0.5
    polar = np.arccos(1 - 2 * index / number)
    turn = np.pi * (1 + 5**0.5) * index
    place = np.stack(
        [np.cos(polar), np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)], 1
    ) * [rng.uniform(0.8, 1.2), 1, 1]
    unit = _chain(rng, (0, 0, 0), rng.uniform(0.12, 0.22))
    return np.vstack([unit + [*centre, 0] for centre in place])


_FAMILY = {
    "assembly": _assembly,
    "rod": _rod,
    "ring": _ring,
    "disc": _disc,
    "membrane": _membrane,
    "globule": _globule,
    "shell": _shell,
}
