"""Class averages without noise: projections of the simulator's particles, and tables for them."""

from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from cryosnake.simulate.potential import nanodisc_phase, species_phase
from cryosnake.simulate.projection import Projector, euler_matrix

BOX, PIXEL = 64, 4.0
SIZES = {
    "proteasome": {"diameter_angst": 150.0, "long_axis_angst": 165.0, "short_axis_angst": 118.0},
    "nanodisc": {"diameter_angst": 95.0, "long_axis_angst": 112.0, "short_axis_angst": 50.0},
}
ANYWHERE = np.column_stack(  # directions that fill the sphere evenly (Fibonacci's lattice)
    [
        np.rad2deg((np.arange(12) * 2.399963) % (2 * np.pi)),
        np.rad2deg(np.arccos(1 - 2 * (np.arange(12) + 0.5) / 12)),
    ]
)


@lru_cache(maxsize=3)
def _projector(species: str) -> Projector:
    if species == "nanodisc":
        volume = nanodisc_phase(pixel_size_angst=PIXEL, voltage_kv=300.0)
    else:
        volume = species_phase(species, pixel_size_angst=PIXEL, voltage_kv=300.0)
    room = (BOX - volume.shape[-1]) // 2
    return Projector(torch.nn.functional.pad(volume, [room] * 6))


def views(species: str, rot_tilt, seed: int = 0) -> np.ndarray:
    """(K, n, n) projections for directions (K, 2) in degrees, turned at random, blurred to some
    10 angstrom."""
    rot_tilt = np.asarray(rot_tilt, float)
    psi = np.random.default_rng(seed).uniform(-180, 180, len(rot_tilt))
    spectra = _projector(species).spectra(euler_matrix(rot_tilt[:, 0], rot_tilt[:, 1], psi))
    images = torch.fft.fftshift(torch.fft.irfft2(spectra, s=(BOX, BOX)), dim=(-2, -1)).numpy()
    return np.stack([ndimage.gaussian_filter(image, 0.8) for image in images])


def near(rot_deg: float, tilt_deg: float, number: int, spread_deg: float = 8.0) -> np.ndarray:
    """(number, 2) directions scattered about one."""
    rng = np.random.default_rng(int(rot_deg + tilt_deg))
    return np.column_stack(
        [
            rot_deg + rng.uniform(-spread_deg, spread_deg, number),
            np.abs(tilt_deg + rng.uniform(-spread_deg, spread_deg, number)),
        ]
    )


def table(number: int, population: int = 100, label="good", resolution_angst=12.0) -> pd.DataFrame:
    """The classes of a round, all alike; `label` may be one for each."""
    labels = [label] * number if isinstance(label, str) else list(label)
    return pd.DataFrame(
        {
            "csnClassPopulation": np.full(number, population),
            "csnClassLabel": np.array(labels, dtype=object),
            "csnClassKept": np.array([int(one == "good") for one in labels], int),
            "rlnEstimatedResolution": np.full(number, resolution_angst),
        }
    )


def facts(species: str = "proteasome", **changed) -> dict:
    """Keyword arguments of `structural_feedback` for a species whose size is known."""
    size = SIZES[species]
    known = {"pixel_size_angst": PIXEL, "mask_diameter_angst": 1.1 * size["long_axis_angst"]}
    return {**size, **known, **changed}
