"""Flags and centres of particles on simulated micrographs: who is flagged, and where particles are.

    OMP_NUM_THREADS=1 python benchmarks/particles_flags.py [--micrographs 4]

Picks are the true places, places with nothing there (a fifth of them), and true places missed by
0.4 diameters (a tenth). The centre is that of the average of all true particles, unaligned, at the
size of the micrograph's pixels: half of the shift between the average and the same turned by 180
degrees. Prints Markdown.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from picking_common import simulated_micrograph
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from cryosnake.particles import ExtractionSettings, extract_batch
from cryosnake.particles.stack import read_images
from cryosnake.simulate.config import SimulationConfig, Species

PIXEL_ANGST = 1.5
#: Mean diameter and long axis.
SIZE_ANGST = {
    "proteasome": (140.0, 165.0),
    "half_proteasome": (110.0, 120.0),
    "double_proteasome": (180.0, 310.0),
}


def micrographs_of(structure: str, options, cache: Path) -> list:
    config = SimulationConfig(
        species=[Species(structure=structure)],
        height_px=2048,
        width_px=2048,
        frames=2,
        dose_e_per_angst2_per_frame=20,
        pixel_size_angst=PIXEL_ANGST,
        drift_scale=0,
        local_motion_angst=0,
        defocus_min_angst=8000,
        defocus_max_angst=25000,
        particles_per_um2=1200,
        min_distance_angst=1.3 * SIZE_ANGST[structure][1],
        movies=options.micrographs,
        seed=options.seed,
    )
    return [simulated_micrograph(config, i, cache_dir=cache) for i in range(options.micrographs)]


def picks_of(micrograph, diameter_angst: float, long_axis_angst: float, rng) -> pd.DataFrame:
    """Coordinates with their kind in `rlnClassNumber`: 1 true, 2 nothing there, 3 missed."""
    true = micrograph.truth
    some = rng.uniform(0, 2048, (20_000, 2))
    far, _ = cKDTree(true).query(some)
    empty = some[far > 0.5 * (diameter_angst + long_axis_angst) / PIXEL_ANGST][: len(true) // 5]
    angle = rng.uniform(0, 2 * np.pi, len(true) // 10)
    missed = true[: len(angle)] + 0.4 * diameter_angst / PIXEL_ANGST * np.stack(
        [np.cos(angle), np.sin(angle)], axis=1
    )
    kinds = (true[len(angle) :], empty, missed)
    table = pd.DataFrame(np.concatenate(kinds), columns=["rlnCoordinateX", "rlnCoordinateY"])
    return table.assign(rlnClassNumber=np.repeat([1, 2, 3], [len(k) for k in kinds]))


def centre_px(images: np.ndarray) -> np.ndarray:
    """(2,) place of the average's centre along y and x, from pixel s // 2."""
    side = images.shape[-1]
    k = np.fft.fftfreq(side)
    smooth = np.exp(-0.5 * (k[:, None] ** 2 + k**2) / 0.02**2)
    squared = (np.fft.fft2(np.fft.ifftshift(images.mean(0))) * smooth) ** 2

    def mismatch(shift):
        phase = 4 * np.pi * (k[:, None] * shift[0] + k * shift[1])
        return -(squared * np.exp(1j * phase)).real.sum() / np.abs(squared).sum()

    start = [[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]]
    options = {"initial_simplex": start, "xatol": 1e-3, "fatol": 1e-9}
    return minimize(mismatch, [0.0, 0.0], method="Nelder-Mead", options=options).x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micrographs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--structures", nargs="+", choices=SIZE_ANGST, default=list(SIZE_ANGST))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| structure | picks | number | empty | off_centre | abnormal | crowded | any |")
    print("|---|---|---|---|---|---|---|---|")
    centres = []
    with tempfile.TemporaryDirectory() as name:
        for structure in options.structures:
            diameter, long_axis = SIZE_ANGST[structure]
            rng = np.random.default_rng(options.seed)
            images = micrographs_of(structure, options, Path(name))
            names = [str(i) for i in range(len(images))]
            picks = pd.concat(
                [
                    picks_of(m, diameter, long_axis, rng).assign(rlnMicrographName=n)
                    for n, m in zip(names, images, strict=True)
                ],
                ignore_index=True,
            )
            rows = pd.DataFrame(
                {
                    "rlnMicrographName": names,
                    "rlnDefocusU": [m.defocus_u_angst for m in images],
                    "rlnDefocusV": [m.defocus_v_angst for m in images],
                    "rlnDefocusAngle": [m.defocus_angle_deg for m in images],
                    "rlnVoltage": 300.0,
                    "rlnSphericalAberration": 2.7,
                    "rlnAmplitudeContrast": 0.1,
                    "rlnMicrographOriginalPixelSize": PIXEL_ANGST,
                    "rlnMicrographPixelSize": PIXEL_ANGST,
                }
            )
            box = 2 * round(0.8 * long_axis / PIXEL_ANGST)
            table = extract_batch(
                rows,
                picks,
                lambda n, images=images: images[int(n)].image,
                Path(name) / "p.mrcs",
                stack_name="p.mrcs",
                settings=ExtractionSettings(box, box, 0.55 * long_axis, diameter),
            ).particles
            for kind, label in ((1, "true"), (2, "nothing there"), (3, "missed by 0.4 diameters")):
                flags = table.loc[table["rlnClassNumber"] == kind, "csnParticleFlags"]
                parts = [
                    f"{100 * flags.str.contains(flag).mean():.0f} %"
                    for flag in ("empty", "off_centre", "abnormal", "crowded")
                ]
                parts.append(f"{100 * (flags != '-').mean():.0f} %")
                print(f"| {structure} | {label} | {len(flags)} | {' | '.join(parts)} |", flush=True)
            true = np.flatnonzero(table["rlnClassNumber"] == 1)
            seen = centre_px(read_images(Path(name) / "p.mrcs", true + 1))
            origin = table.loc[true, ["rlnOriginYAngst", "rlnOriginXAngst"]].to_numpy()
            error = seen + origin.mean(0) / PIXEL_ANGST
            centres.append((structure, len(true), seen, np.hypot(*error)))
    print("\n| structure | particles | centre of the average (y, x) px | from the truth, px |")
    print("|---|---|---|---|")
    for structure, count, (y, x), error in centres:
        print(f"| {structure} | {count} | {y:.2f}, {x:.2f} | {error:.2f} |")


if __name__ == "__main__":
    main()
