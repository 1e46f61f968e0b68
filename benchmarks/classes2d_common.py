"""What the benchmarks and tests of 2D classification share: simulated particle stacks with their
truth. The simulator makes the projections; nothing here uses the code under test."""

import math
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake.ctf import ctf
from cryosnake.fourier import frequencies
from cryosnake.simulate.potential import species_phase
from cryosnake.simulate.projection import Projector, euler_matrix

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
VOLTAGE_KV, CS_MM, AMPLITUDE_CONTRAST = 300.0, 2.7, 0.1
JUNK = ("noise", "pair", "edge")
_CHUNK = 256
#: A long soluble part on a lipid disc, 193 A x 115 A: the proteasome's centre and the disc's, along
#: the long axis.
MEMBRANE = "membrane"
MEMBRANE_PARTS_ANGST = (-21.5, 73.5)


@dataclass(frozen=True)
class Structure:
    """A structure that can be simulated: its symmetry is that of the published model."""

    name: str
    source: str
    symmetry: str


def structures(number: int = 3) -> list[Structure]:
    """The first of: proteasome, beta-galactosidase and apoferritin (where the reference data are
    at hand, else the half proteasome and the empty nanodisc)."""
    found = [Structure("proteasome", "proteasome", "D7")]
    betagal, ferritin = (SHARED / "structures" / f"{name}.pdb" for name in ("5a1a", "6z6u"))
    if betagal.is_file() and ferritin.is_file():
        found += [
            Structure("betagal", str(betagal), "D2"),
            Structure("apoferritin", str(ferritin), "O"),
        ]
    else:
        found += [
            Structure("half_proteasome", "half_proteasome", "C7"),
            Structure("nanodisc", "nanodisc", "D12"),
        ]
    return found[:number]


@dataclass(frozen=True)
class SimulatedStack:
    """Particles as extraction leaves them, with their truth.

    Attributes
    ----------
    images : (N, n, n) float32, white particles, noise of about unit variance.
    table : one row a particle: `kind` (structure or junk), `structure` (index, -1 for junk),
        `rot`, `tilt`, `psi` (degrees), `origin_x`, `origin_y` (angstrom, RELION's sign: the
        particle is at the box's centre minus the origin), `snr`, `rlnDefocusU/V/Angle`.
    """

    images: np.ndarray
    table: pd.DataFrame
    structures: list[Structure]
    pixel_size_angst: float
    diameter_angst: float

    @property
    def box_px(self) -> int:
        return self.images.shape[-1]

    @property
    def junk(self) -> np.ndarray:
        return (self.table["structure"] < 0).to_numpy()


@lru_cache(maxsize=8)
def projector(source: str, box_px: int, pixel_size_angst: float) -> Projector:
    """Projector of a structure in a cube of the box's size, of unit root mean square."""
    cache = Path(tempfile.gettempdir()) / "cryosnake-potentials"

    def boxed(species: str) -> torch.Tensor:
        volume = species_phase(
            species, pixel_size_angst=pixel_size_angst, voltage_kv=VOLTAGE_KV, cache_dir=cache
        )
        have = volume.shape[-1]
        cube = torch.zeros((box_px,) * 3)
        take = min(have, box_px)
        a, b = have // 2 - take // 2, box_px // 2 - take // 2
        cube[b : b + take, b : b + take, b : b + take] = volume[
            a : a + take, a : a + take, a : a + take
        ]
        return cube

    if source == MEMBRANE:
        lower, upper = (round(z / pixel_size_angst) for z in MEMBRANE_PARTS_ANGST)
        cube = boxed("proteasome").roll(lower, 0) + boxed("nanodisc").roll(upper, 0)
    else:
        cube = boxed(source)
    return Projector(cube / cube.pow(2).mean().sqrt())


def clean_spectra(
    structure: Structure,
    table: pd.DataFrame,
    box_px: int,
    pixel_size_angst: float,
    *,
    shifted: bool = True,
) -> torch.Tensor:
    """Half-plane transforms (N, n, n // 2 + 1) of noise-free projections, without CTF, centred on
    pixel n // 2, at the origins of the table where `shifted`."""
    angles = table[["rot", "tilt", "psi"]].to_numpy(float).T
    spectra = projector(structure.source, box_px, pixel_size_angst).spectra(euler_matrix(*angles))
    ky, kx = frequencies((box_px, box_px))
    origin = np.zeros((len(table), 2))
    if shifted:
        origin = table[["origin_y", "origin_x"]].to_numpy(float) / pixel_size_angst
    place = torch.as_tensor(box_px // 2 - origin, dtype=torch.float32)
    ramp = -2 * math.pi * (ky * place[:, :1, None] + kx * place[:, 1:, None])
    return spectra * torch.polar(torch.ones_like(ramp), ramp)


def transfer(table: pd.DataFrame, box_px: int, pixel_size_angst: float) -> torch.Tensor:
    """(N, n, n // 2 + 1) CTF of particles, positive at low frequency: they are white."""
    ky, kx = frequencies((box_px, box_px), pixel_size_angst)
    u, v, angle = (
        torch.tensor(np.array(table[f"rlnDefocus{part}"]), dtype=torch.float32)[:, None, None]
        for part in ("U", "V", "Angle")
    )
    return -ctf(
        ky[None],
        kx[None],
        defocus_u_angst=u,
        defocus_v_angst=v,
        defocus_angle_deg=angle,
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )


def simulated_stack(
    number: int,
    *,
    box_px: int = 64,
    pixel_size_angst: float = 4.0,
    diameter_angst: float = 190.0,
    species: list[Structure] | None = None,
    snr: tuple[float, float] = (0.03, 0.1),
    junk: float = 0.2,
    offset_angst: float = 6.0,
    preferred: float = 0.0,
    seed: int = 1,
) -> SimulatedStack:
    """A stack of particles of several structures in random views, with junk.

    Parameters
    ----------
    snr : power of the signal after the CTF over that of the noise, both inside the circle of
        `diameter_angst`; log-uniform over this range, particle by particle.
    junk : fraction that are pure noise, two particles off the centre, or an edge of contamination.
    offset_angst : standard deviation of the origin along each axis.
    preferred : fraction of the particles seen along the symmetry axis (within 8 degrees).
    """
    rng = np.random.default_rng(seed)
    species = species or structures()
    kinds = [s.name for s in species]
    kind = rng.integers(0, len(species), number)
    kind[rng.random(number) < junk] = -1
    cosine = rng.uniform(-1, 1, number)
    along = rng.random(number) < preferred
    cosine = np.where(along, np.cos(np.deg2rad(rng.normal(0, 8, number))), cosine)
    mean = rng.uniform(8000, 25000, number)
    half = rng.uniform(0, 300, number)
    table = pd.DataFrame(
        {
            "structure": kind,
            "kind": [kinds[k] if k >= 0 else JUNK[i % 3] for i, k in enumerate(kind)],
            "rot": rng.uniform(-180, 180, number),
            "tilt": np.rad2deg(np.arccos(cosine)),
            "psi": rng.uniform(-180, 180, number),
            "origin_x": rng.normal(0, offset_angst, number),
            "origin_y": rng.normal(0, offset_angst, number),
            "snr": np.exp(rng.uniform(*np.log(snr), number)),
            "rlnDefocusU": mean + half,
            "rlnDefocusV": mean - half,
            "rlnDefocusAngle": rng.uniform(0, 180, number),
        }
    )
    images = np.empty((number, box_px, box_px), np.float32)
    axis = np.arange(box_px) - box_px // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside = torch.as_tensor(np.hypot(y, x) * pixel_size_angst <= diameter_angst / 2)
    generator = torch.Generator().manual_seed(seed)
    k = torch.hypot(*torch.broadcast_tensors(*frequencies((box_px, box_px), pixel_size_angst)))
    colour = torch.sqrt(0.8 + 1.2 * torch.exp(-k / 0.02))
    for start in range(0, number, _CHUNK):
        rows = table.iloc[start : start + _CHUNK]
        signal = torch.zeros((len(rows), box_px, box_px // 2 + 1), dtype=torch.complex64)
        for index, one in enumerate(species):
            chosen = np.array(rows["structure"] == index)
            if chosen.any():
                signal[chosen] = clean_spectra(one, rows[chosen], box_px, pixel_size_angst)
        for row in np.flatnonzero((rows["structure"] < 0).to_numpy()):
            signal[row] = _junk_spectrum(
                rows.iloc[row], species, rng, box_px, pixel_size_angst, diameter_angst
            )
        blurred = torch.fft.irfft2(
            signal * transfer(rows, box_px, pixel_size_angst), s=(box_px, box_px)
        )
        for row in np.flatnonzero((rows["kind"] == "edge").to_numpy()):
            blurred[row] = _edge(rows.iloc[[row]], rng, box_px, pixel_size_angst, diameter_angst)
        blurred -= blurred[:, ~inside].mean(1)[:, None, None]
        power = blurred[:, inside].pow(2).mean(1)
        target = torch.tensor(np.array(rows["snr"]), dtype=torch.float32)
        target = target * torch.as_tensor(
            [{"edge": 4.0, "noise": 0.0}.get(kind, 1.0) for kind in rows["kind"]]
        )
        scale = torch.sqrt(target / power.clamp_min(1e-20))
        white = torch.randn((len(rows), box_px, box_px), generator=generator)
        noise = torch.fft.irfft2(torch.fft.rfft2(white) * colour, s=(box_px, box_px))
        noisy = blurred * scale[:, None, None] + noise
        outside = noisy[:, ~inside]
        noisy -= outside.mean(1)[:, None, None]
        noisy /= outside.std(1)[:, None, None]
        images[start : start + _CHUNK] = noisy.numpy()
    return SimulatedStack(images, table, species, pixel_size_angst, diameter_angst)


def _junk_spectrum(row, species, rng, box_px, pixel_size_angst, diameter_angst) -> torch.Tensor:
    """Half-plane transform of what is in a junk box before the CTF."""
    if row["kind"] == "pair":
        angle = rng.uniform(0, 2 * np.pi)
        apart = rng.uniform(0.4, 0.6) * diameter_angst
        total = 0
        for side in (-1, 1):
            one = pd.DataFrame([row]).assign(
                rot=rng.uniform(-180, 180),
                tilt=np.rad2deg(np.arccos(rng.uniform(-1, 1))),
                psi=rng.uniform(-180, 180),
                origin_x=side * apart * np.cos(angle),
                origin_y=side * apart * np.sin(angle),
            )
            chosen = species[rng.integers(len(species))]
            total = total + clean_spectra(chosen, one, box_px, pixel_size_angst)[0]
        return total
    return torch.zeros((box_px, box_px // 2 + 1), dtype=torch.complex64)


def _edge(row: pd.DataFrame, rng, box_px, pixel_size_angst, diameter_angst) -> torch.Tensor:
    """The border of a film after the CTF, computed in twice the box so that nothing wraps."""
    big = 2 * box_px
    axis = np.arange(big) - box_px
    y, x = np.meshgrid(axis, axis, indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    bend = rng.normal(0, 0.005) * (-x * np.sin(angle) + y * np.cos(angle)) ** 2
    border = rng.uniform(-0.25, 0.25) * diameter_angst / pixel_size_angst
    step = 1.0 / (1.0 + np.exp(-np.clip((along + bend - border) / 1.5, -50, 50)))
    spectrum = torch.fft.rfft2(torch.as_tensor(step, dtype=torch.float32))
    image = torch.fft.irfft2(spectrum * transfer(row, big, pixel_size_angst)[0], s=(big, big))
    half = box_px // 2
    return image[half : half + box_px, half : half + box_px]
