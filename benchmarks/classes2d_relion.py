"""2D classification, native against RELION, on the same simulated stack and cores in one run.

    python benchmarks/classes2d_relion.py --particles 2000 --classes 16 --threads 2

Both run as programs of their own; times are those of the processes, start included. Wall times are
only comparable on an idle machine, CPU times (user and system) always. The figures of quality are
those of `classes2d_common.quality`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
from classes2d_common import (
    AMPLITUDE_CONTRAST,
    CS_MM,
    VOLTAGE_KV,
    SimulatedStack,
    quality,
    simulated_stack,
)

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
    """The native engine on a written stack; leaves classes.npz."""
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
        folder / "classes.npz",
        index=found.poses.class_index,
        averages=found.classes.averages,
        resolution_angst=found.classes.resolution_angst,
    )


def relion_classes(folder: Path, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Class of each particle (N,) from 0, and the averages, of RELION's last iteration."""
    table = read_star(folder / "relion" / f"run_it{iterations:03d}_data.star")["particles"]
    order = table["rlnImageName"].str.split("@").str[0].astype(int).to_numpy() - 1
    classes = np.full(len(table), -1)
    classes[order] = table["rlnClassNumber"].to_numpy() - 1
    return classes, mrcfile.read(folder / "relion" / f"run_it{iterations:03d}_classes.mrcs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=20, help="of RELION")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
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
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        compare(options, folder)


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Simulate, run both, print the table."""
    pixel_size_angst = 4.0 * 64 / options.box
    stack = simulated_stack(
        options.particles,
        box_px=options.box,
        pixel_size_angst=pixel_size_angst,
        snr=tuple(options.snr),
        seed=options.seed,
    )
    write_stack(stack, folder)
    (folder / "relion").mkdir(exist_ok=True)
    arguments = {
        "threads": options.threads,
        "classes": options.classes,
        "seed": options.seed,
        "pixel_size_angst": pixel_size_angst,
        "diameter_angst": stack.diameter_angst,
        "resolution_angst": options.resolution_angst,
    }
    print(
        f"{options.particles} particles of {options.box} px, {options.classes} classes, SNR "
        f"{options.snr[0]} to {options.snr[1]}, {options.threads} threads"
    )
    command = [sys.executable, str(Path(__file__).resolve()), "--native", json.dumps(arguments)]
    wall, cpu = timed(command, folder, options.threads)
    with np.load(folder / "classes.npz") as found:
        print(f"native  {wall:7.1f} s wall {cpu:7.1f} s CPU  ", end="")
        print(quality(stack, found["index"], found["averages"]), flush=True)
    if options.no_relion:
        return
    command = RELION.format(
        iterations=options.iterations,
        classes=options.classes,
        diameter=stack.diameter_angst,
        seed=options.seed,
        threads=options.threads,
    )
    other_wall, other_cpu = timed(command.split(), folder, options.threads)
    print(f"RELION  {other_wall:7.1f} s wall {other_cpu:7.1f} s CPU  ", end="")
    print(quality(stack, *relion_classes(folder, options.iterations)))
    print(f"ratio   {other_wall / wall:7.1f}        {other_cpu / cpu:7.1f}")


if __name__ == "__main__":
    main()
