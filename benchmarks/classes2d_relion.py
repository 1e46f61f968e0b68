"""2D classification, native against RELION, on the same simulated stacks and cores in one run.

    python benchmarks/classes2d_relion.py --particles 2000 --classes 16 --seeds 1 2 3 --threads 2

Both run as programs of their own; times are those of the processes, start included. Wall times are
only comparable on an idle machine, CPU times (user and system) always. The figures of quality are
those of `classes2d_quality.quality`; "at equal population" is of averages that are made anew from
equally many members of each class (`classes2d_members`). The last lines are medians over seeds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
from classes2d_common import (
    AMPLITUDE_CONTRAST,
    CS_MM,
    VOLTAGE_KV,
    SimulatedStack,
    simulated_stack,
)
from classes2d_members import frc_at_equal_population
from classes2d_quality import quality

from cryosnake.tables import read_star

RELION = (
    "relion_refine --i particles.star --o relion/run --iter {iterations} --K {classes} "
    "--tau2_fudge 2 --psi_step 12 --ctf --norm --scale --flatten_solvent --zero_mask "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --pad 1 --skip_gridding "
    "--particle_diameter {diameter} --oversampling 1 --offset_range 4 --offset_step 2 --maxsig 50 "
    "--random_seed {seed} --j {threads}"
)


def write_stack(stack: SimulatedStack, folder: Path) -> None:
    """particles.mrcs and particles.star, as RELION and the native engine read them."""
    with mrcfile.new(folder / "particles.mrcs", overwrite=True) as mrc:
        mrc.set_data(stack.images)
        mrc.set_image_stack()
        mrc.voxel_size = stack.pixel_size_angst
    optics = {
        "rlnOpticsGroupName": "og1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": VOLTAGE_KV,
        "rlnSphericalAberration": CS_MM,
        "rlnAmplitudeContrast": AMPLITUDE_CONTRAST,
        "rlnImagePixelSize": stack.pixel_size_angst,
        "rlnImageSize": stack.box_px,
        "rlnImageDimensionality": 2,
    }
    table = stack.table[["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]].copy()
    table["rlnImageName"] = [f"{i + 1:06d}@particles.mrcs" for i in range(len(table))]
    table["rlnOpticsGroup"] = 1
    table["rlnMicrographName"] = [f"m{i // 100}.mrc" for i in range(len(table))]
    import starfile

    starfile.write(
        {"optics": pd.DataFrame([optics]), "particles": table}, folder / "particles.star"
    )


def timed(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Run a program; wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with open(folder / "log.txt", "w") as log:
        subprocess.run(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def native(folder: Path, arguments: dict) -> None:
    """The native engine on a written stack; leaves native.npz."""
    import torch

    from cryosnake.classes2d import Optics, classify2d

    torch.set_num_threads(arguments["threads"])
    table = read_star(folder / "particles.star")["particles"]
    optics = Optics(
        *(table[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle")),
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )
    found = classify2d(
        folder / "particles.mrcs",
        optics,
        pixel_size_angst=arguments["pixel_size_angst"],
        diameter_angst=arguments["diameter_angst"],
        classes=arguments["classes"],
        seed=arguments["seed"],
        resolution_angst=arguments["resolution_angst"],
    )
    np.savez(
        folder / "native.npz",
        classes=found.poses.class_index,
        psi_deg=found.poses.psi_deg,
        origin_angst=np.stack([found.poses.origin_y_angst, found.poses.origin_x_angst], 1),
        averages=found.classes.averages,
    )


@dataclass(frozen=True)
class Found:
    """What a program says of N particles: class from 0 (-1: none), RELION's psi and origin (N, 2)
    as (y, x), and its own averages (K, n, n)."""

    classes: np.ndarray
    psi_deg: np.ndarray
    origin_angst: np.ndarray
    averages: np.ndarray


def relion_found(folder: Path, iterations: int) -> Found:
    """What RELION's last iteration says."""
    table = read_star(folder / "relion" / f"run_it{iterations:03d}_data.star")["particles"]
    row = table["rlnImageName"].str.split("@").str[0].astype(int).to_numpy() - 1
    names = ["rlnClassNumber", "rlnAnglePsi", "rlnOriginYAngst", "rlnOriginXAngst"]
    values = np.empty((len(table), len(names)))
    values[row] = table[names].to_numpy(float)
    return Found(
        values[:, 0].astype(int) - 1,
        values[:, 1],
        values[:, 2:],
        mrcfile.read(folder / "relion" / f"run_it{iterations:03d}_classes.mrcs"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=20, help="of RELION")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--members", type=int, nargs="+", default=[50, 100], help="of averages")
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--snr", type=float, nargs=2, default=(0.03, 0.1))
    parser.add_argument("--resolution-angst", type=float, default=10.0, help="of the native engine")
    parser.add_argument("--no-relion", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--native", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.native:
        native(Path.cwd(), json.loads(options.native))
        return
    print(
        f"{options.particles} particles of {options.box} px, {options.classes} classes, SNR "
        f"{options.snr[0]} to {options.snr[1]}, {options.threads} threads"
    )
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder / f"seed{seed}" if options.folder else Path(temporary)
            (folder / "relion").mkdir(parents=True, exist_ok=True)
            for name, figures in compare(options, seed, folder).items():
                rows.setdefault(name, []).append(figures)
                print(line(f"seed {seed} {name}", figures), flush=True)
    medians = {
        name: {key: float(np.median([one[key] for one in each])) for key in each[0]}
        for name, each in rows.items()
    }
    for name, figures in medians.items():
        print(line(f"median {name}", figures))
    if len(rows) > 1:
        for key in ("wall s", "CPU s"):
            ratios = [
                other[key] / one[key]
                for one, other in zip(rows["native"], rows["RELION"], strict=True)
            ]
            print(
                f"{key}: RELION / native, median {np.median(ratios):.1f}, least {min(ratios):.1f}"
            )


def line(name: str, figures: dict[str, float]) -> str:
    """One line of the table."""
    return f"{name:16s}" + "  ".join(
        f"{key} {value:.{1 if value > 2 else 3}f}" for key, value in figures.items()
    )


def compare(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Simulate, run both, and the figures of each."""
    pixel_size_angst = 4.0 * 64 / options.box
    stack = simulated_stack(
        options.particles,
        box_px=options.box,
        pixel_size_angst=pixel_size_angst,
        snr=tuple(options.snr),
        seed=seed,
    )
    write_stack(stack, folder)
    arguments = {
        "threads": options.threads,
        "classes": options.classes,
        "seed": seed,
        "pixel_size_angst": pixel_size_angst,
        "diameter_angst": stack.diameter_angst,
        "resolution_angst": options.resolution_angst,
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--native", json.dumps(arguments)]
    wall, cpu = timed(command, folder, options.threads)
    with np.load(folder / "native.npz") as content:
        found = Found(**content)
    rows = {"native": {"wall s": wall, "CPU s": cpu, **figures_of(stack, found, options.members)}}
    if options.no_relion:
        return rows
    command = RELION.format(
        iterations=options.iterations,
        classes=options.classes,
        diameter=stack.diameter_angst,
        seed=seed,
        threads=options.threads,
    )
    wall, cpu = timed(command.split(), folder, options.threads)
    found = relion_found(folder, options.iterations)
    rows["RELION"] = {"wall s": wall, "CPU s": cpu, **figures_of(stack, found, options.members)}
    return rows


def figures_of(stack: SimulatedStack, found: Found, members: list[int]) -> dict[str, float]:
    """Quality, and the FRC of averages of equally many members."""
    held = quality(stack, found.classes, found.averages)
    figures = {
        "kinds": held.kinds,
        "views": held.views,
        "junk apart": held.junk,
        "lost": held.lost,
        "classes": held.populated,
        "FRC 0.5 A": held.frc_angst,
    }
    for number in members:
        figures[f"of {number} members A"], figures[f"groups of {number}"] = frc_at_equal_population(
            stack, found.classes, found.psi_deg, found.origin_angst, number, seed=1
        )
    return figures


if __name__ == "__main__":
    main()
