"""Simulated sessions for the benchmark of the early feedback: one physical scale for all particles,
so that larger species are brighter, boxes cut out of a wider field, views as they are asked for,
and classes labelled from the truth.
"""

import hashlib
import math
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import picking_size_samples as samples
import torch
from classes2d_common import AMPLITUDE_CONTRAST, CS_MM, SHARED, VOLTAGE_KV

from cryosnake.classes2d import Optics, classify2d
from cryosnake.ctf import ctf
from cryosnake.files import written_whole
from cryosnake.fourier import frequencies
from cryosnake.simulate.potential import SHIPPED, read_atoms, species_phase
from cryosnake.simulate.projection import Projector, euler_matrix

PIXEL_ANGST = 4.0
FIELD_PX = 96
_DOMAIN_ANGST = 36.0
_CHUNK = 256
#: What the size estimate makes of the axes and the diameter of such particles (docs/size.md).
LONG_MEASURED, DIAMETER_MEASURED = 1.10, 1.03
_CACHE = Path(tempfile.gettempdir()) / "cryosnake-potentials"
_ASSEMBLIES = {
    "rod": ((200, 75, 65), 16),
    "ellipsoid": ((165, 135, 105), 7),
    "globule": ((115, 108, 100), 3),
    "monomer": ((120, 95, 90), 21),
    "fragment": ((110, 85, 75), 22),
}


@dataclass(frozen=True)
class Views:
    """A fraction of the particles within a cone about one direction, the rest anywhere.

    Attributes
    ----------
    rot_deg, tilt_deg : the direction; spread_deg : of the cone, from its axis to its side.
    """

    rot_deg: float
    tilt_deg: float
    spread_deg: float = 12.0
    fraction: float = 0.9


@dataclass(frozen=True)
class Session:
    """What is on the grid and how it is extracted.

    Attributes
    ----------
    mixture : species and its share; the first is the one whose size was measured.
    views : of all of them, None for uniform.
    mask : diameter of the mask over the long axis as it is believed to be.
    believed : size as it was measured over the true one.
    box_px : of the extracted particle.
    raised : rules that must raise an alarm; none for a clean session.
    """

    name: str
    mixture: dict[str, float]
    views: Views | None = None
    mask: float = 1.1
    believed: float = 1.0
    box_px: int = 64
    pairs: float = 0.05
    raised: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Classified:
    """Class averages of a session, with what `structural_feedback` takes."""

    averages: np.ndarray
    classes: pd.DataFrame
    sizes: dict[str, float]


def assembly(extents_angst: tuple[float, float, float], seed: int) -> np.ndarray:
    """Atoms (N, 3) of a random assembly: domains 36 A wide at the density of protein, packed in
    an ellipsoid with gaps between them, as folded proteins have them."""
    rng = np.random.default_rng(seed)
    half = np.array(extents_angst) / 2 - _DOMAIN_ANGST / 2
    centres = np.zeros((0, 3))
    for candidate in rng.uniform(-1, 1, (4000, 3)):
        if np.linalg.norm(candidate) > 1:
            continue
        place = candidate * half
        if not len(centres) or np.linalg.norm(centres - place, axis=1).min() > 0.8 * _DOMAIN_ANGST:
            centres = np.vstack([centres, place])
    domains = [
        centre + samples.body(_DOMAIN_ANGST * rng.uniform(0.8, 1.1, 3), lumps=0.15, seed=seed + i)
        for i, centre in enumerate(centres)
    ]
    atoms = np.concatenate(domains)
    return (atoms - atoms.mean(0)).astype(np.float32)


def available(species: str) -> bool:
    """Whether the structure is at hand."""
    return not species.endswith(".pdb") or (SHARED / "structures" / species).is_file()


@lru_cache(maxsize=16)
def _source(species: str) -> str:
    if species.endswith(".pdb"):
        return str(SHARED / "structures" / species)
    if species in (*_ASSEMBLIES, "dimer"):
        path = _CACHE / f"assembly_{species}.cif"
        if not path.is_file():
            _CACHE.mkdir(parents=True, exist_ok=True)
            atoms = assembly(*_ASSEMBLIES[species.replace("dimer", "monomer")])
            if species == "dimer":
                # Two that touch, with an axis of symmetry along y.
                shift = np.array([float(atoms[:, 0].max()) - 5.0, 0, 0], np.float32)
                atoms = np.concatenate([atoms + shift, atoms * np.array([-1, 1, -1]) - shift])
            samples.write_cif(path, atoms)
        return str(path)
    return species


@lru_cache(maxsize=16)
def truth(species: str) -> samples.Truth:
    """How large a species is."""
    if species == "nanodisc":
        return samples.Truth(110.0, 110.0, 46.0, 110.0)
    source = _source(species)
    atoms = {"proteasome": (SHIPPED, "1"), "half_proteasome": (SHIPPED, "2")}
    return samples.measure(read_atoms(*atoms.get(source, (Path(source),)))[0])


@lru_cache(maxsize=8)
def projector(species: str, field_px: int = FIELD_PX) -> Projector:
    """Projector of the phase of a species, in rad, in a cube of the field's size."""
    volume = species_phase(
        _source(species), pixel_size_angst=PIXEL_ANGST, voltage_kv=VOLTAGE_KV, cache_dir=_CACHE
    )
    have = volume.shape[-1]
    cube = torch.zeros((field_px,) * 3)
    take = min(have, field_px)
    a, b = have // 2 - take // 2, field_px // 2 - take // 2
    cube[(slice(b, b + take),) * 3] = volume[(slice(a, a + take),) * 3]
    return Projector(cube)


def directions(views: Views | None, number: int, rng) -> np.ndarray:
    """(number, 2) rot and tilt in degrees."""
    z = rng.uniform(-1, 1, number)
    phi = rng.uniform(-np.pi, np.pi, number)
    if views is not None:
        near = rng.random(number) < views.fraction
        z[near] = rng.uniform(math.cos(math.radians(views.spread_deg)), 1, near.sum())
    s = np.sqrt(1 - z**2)
    unit = np.stack([s * np.cos(phi), s * np.sin(phi), z], -1)
    if views is not None:
        # The third row of A is where the beam comes from in the frame of the particle.
        frame = euler_matrix(views.rot_deg, views.tilt_deg, 0.0)
        unit = np.where(near[:, None], unit @ frame, unit)
    return np.rad2deg(
        np.stack([np.arctan2(unit[:, 1], unit[:, 0]), np.arccos(np.clip(unit[:, 2], -1, 1))], -1)
    )


def projections(
    species: str, rot_tilt: np.ndarray, psi_deg, shift_angst=None, field_px: int = FIELD_PX
) -> torch.Tensor:
    """Half-plane transforms (N, F, F // 2 + 1) of projections centred on pixel F // 2 plus a
    shift (N, 2) in y, x."""
    spectra = projector(species, field_px).spectra(
        euler_matrix(rot_tilt[:, 0], rot_tilt[:, 1], psi_deg)
    )
    ky, kx = frequencies((field_px, field_px))
    place = np.full((len(rot_tilt), 2), float(field_px // 2))
    if shift_angst is not None:
        place = place + shift_angst / PIXEL_ANGST
    place = torch.as_tensor(place, dtype=torch.float32)
    ramp = -2 * math.pi * (ky * place[:, :1, None] + kx * place[:, 1:, None])
    return spectra * torch.polar(torch.ones_like(ramp), ramp)


def simulated(session: Session, number: int, snr: float, seed: int, noise: float = 0.1):
    """Particle images (N, n, n) and their table: species (index; -1 nothing, -2 a pair), defocus.

    The scale of the signal is one for all, with 15 % of scatter for the ice; `snr` is that of the
    median particle of the first species inside the circle about it.
    """
    rng = np.random.default_rng(seed)
    names = list(session.mixture)
    shares = np.array(list(session.mixture.values()))
    kind = rng.choice(len(names), number, p=shares / shares.sum())
    drawn = rng.random(number)
    junk = np.where(drawn < noise, -1, np.where(drawn < noise + session.pairs, -2, 0))
    mean, half = rng.uniform(8000, 25000, number), rng.uniform(0, 300, number)
    table = pd.DataFrame(
        {
            "species": np.where(junk < 0, junk, kind),
            "rlnDefocusU": mean + half,
            "rlnDefocusV": mean - half,
            "rlnDefocusAngle": rng.uniform(0, 180, number),
        }
    )
    views = directions(session.views, number, rng)
    table["rot"], table["tilt"] = views.T
    psi = rng.uniform(-180, 180, number)
    shift = rng.normal(0, 6.0, (number, 2))
    ky, kx = frequencies((FIELD_PX, FIELD_PX), PIXEL_ANGST)
    wave = torch.hypot(*torch.broadcast_tensors(ky, kx))
    colour = torch.sqrt(0.8 + 1.2 * torch.exp(-wave / 0.02))
    generator = torch.Generator().manual_seed(seed)
    low = FIELD_PX // 2 - session.box_px // 2
    cut = slice(low, low + session.box_px)
    images = np.empty((number, session.box_px, session.box_px), np.float32)
    size = truth(names[0]).max_extent_angst
    axis = (np.arange(FIELD_PX) - FIELD_PX // 2) * PIXEL_ANGST
    inside = torch.as_tensor(np.hypot(axis[:, None], axis[None]) <= size / 2)
    amplitude = None
    for start in range(0, number, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, number))
        signal = torch.zeros((len(rows), FIELD_PX, FIELD_PX // 2 + 1), dtype=torch.complex64)
        for index, name in enumerate(names):
            mine = kind[rows] == index
            mine &= junk[rows] != -1
            if mine.any():
                chosen = rows[mine]
                apart = np.where(junk[chosen] == -2, rng.uniform(0.4, 0.6, len(chosen)) * size, 0)
                angle = rng.uniform(0, 2 * np.pi, len(chosen))
                off = np.stack([np.sin(angle), np.cos(angle)], -1) * apart[:, None]
                one = projections(name, views[chosen], psi[chosen], shift[chosen] + off)
                pair = junk[chosen] == -2
                if pair.any():
                    other = directions(session.views, int(pair.sum()), rng)
                    one[pair] += projections(
                        name, other, rng.uniform(-180, 180, pair.sum()), -off[pair]
                    )
                signal[mine] = one
        u, v, angle = (
            torch.tensor(table[f"rlnDefocus{part}"].to_numpy()[rows], dtype=torch.float32)
            for part in ("U", "V", "Angle")
        )
        transfer = -ctf(
            ky[None],
            kx[None],
            defocus_u_angst=u[:, None, None],
            defocus_v_angst=v[:, None, None],
            defocus_angle_deg=angle[:, None, None],
            voltage_kv=VOLTAGE_KV,
            cs_mm=CS_MM,
            amplitude_contrast=AMPLITUDE_CONTRAST,
        )
        blurred = torch.fft.irfft2(signal * transfer, s=(FIELD_PX, FIELD_PX))
        if amplitude is None:
            whole = torch.as_tensor((kind[rows] == 0) & (junk[rows] == 0))
            power = blurred[whole][:, inside].square().mean(1).median()
            amplitude = math.sqrt(snr / float(power))
        scale = amplitude * torch.as_tensor(np.exp(rng.normal(0, 0.15, len(rows)))).float()
        white = torch.randn((len(rows), FIELD_PX, FIELD_PX), generator=generator)
        grain = torch.fft.irfft2(torch.fft.rfft2(white) * colour, s=(FIELD_PX, FIELD_PX))
        images[rows] = (blurred * scale[:, None, None] + grain)[:, cut, cut].numpy()
    return images, table


def sizes(session: Session) -> dict[str, float]:
    """Size as it is believed to be, and the mask that follows."""
    true = truth(next(iter(session.mixture)))
    long_angst = session.believed * LONG_MEASURED * true.long_axis_angst
    mask = session.mask * long_angst
    return {
        "diameter_angst": session.believed * DIAMETER_MEASURED * true.diameter_angst,
        "long_axis_angst": long_angst,
        "short_axis_angst": session.believed * true.short_axis_angst,
        "mask_diameter_angst": min(mask, 0.9 * session.box_px * PIXEL_ANGST),
    }


def labels(species: np.ndarray, chosen: np.ndarray, classes: int) -> pd.DataFrame:
    """Label of each class by what most of its particles are; kept where it is good. The last one,
    of what shows nothing, is noise."""
    rows = []
    for k in range(classes):
        mine = species[chosen == k]
        shares = {
            "good": np.mean(mine >= 0) if len(mine) else 0.0,
            "clip": np.mean(mine == -2) if len(mine) else 0.0,
            "edge": 0.0,
            "noise": np.mean(mine == -1) if len(mine) else 1.0,
        }
        label = max(shares, key=shares.get) if k < classes - 1 else "noise"
        rows.append(
            {
                "csnClassPopulation": len(mine),
                "csnClassLabel": label,
                "csnClassKept": int(label == "good"),
            }
        )
    return pd.DataFrame(rows)


def classified(
    session: Session, *, number: int, classes: int, snr: float, seed: int, keep: Path | None = None
) -> Classified:
    """Simulate a session and classify it; taken from the folder `keep` where it has been before."""
    size = sizes(session)
    key = hashlib.sha256(repr((session, size, number, classes, snr, seed)).encode()).hexdigest()[
        :12
    ]
    path = keep / f"{session.name.replace(' ', '_')}_{key}.npz" if keep else None
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as held:
            table = pd.DataFrame({name: held[name] for name in held.files if name != "averages"})
            return Classified(held["averages"], table, size)
    images, table = simulated(session, number, snr, seed)
    optics = Optics(
        *(table[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle")),
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )
    found = classify2d(
        images,
        optics,
        pixel_size_angst=PIXEL_ANGST,
        diameter_angst=size["mask_diameter_angst"],
        classes=classes,
        seed=seed,
    )
    chosen = found.poses.class_index
    rows = labels(table["species"].to_numpy(), chosen, classes)
    rows["rlnEstimatedResolution"] = np.minimum(found.classes.resolution_angst, 999)
    if path is not None:
        keep.mkdir(parents=True, exist_ok=True)
        columns = {name: np.array(rows[name].tolist()) for name in rows}
        with written_whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, averages=found.classes.averages, **columns)
    return Classified(found.classes.averages, rows, size)
