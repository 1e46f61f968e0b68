"""Extraction of particles: time, peak memory, agreement with RELION, centres against the truth.

    OMP_NUM_THREADS=1 python benchmarks/particles_extract.py [--batches 20] [--float16] [--relion]

A batch is a number of micrographs of Poisson noise with dark Gaussian blobs at known places that
are not whole pixels. Its files are few and repeated under other names. The batches run one after
the other in a process of their own, whose peak memory is reported after the first and after all.
With `--relion`, relion_preprocess (one thread) extracts the first batch from the same coordinates,
rounded, because it cuts them down to whole pixels, and each of its images is correlated with ours.
Prints Markdown.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import torch

from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import ExtractionSettings, extract_batch, read_images, write_particles
from cryosnake.tables import read_table, write_star

PIXEL_ANGST = 1.0
FILES = 4
BLOB_PX = 12.0


def places_px(rng, options) -> np.ndarray:
    """(N, 2) places that are not whole pixels, at least ten times `BLOB_PX` apart."""
    across = int(np.ceil(np.sqrt(options.particles)))
    step = (options.size - 2 * options.box) / across
    if step < 10 * BLOB_PX:
        raise SystemExit(f"{options.particles} particles do not fit {options.size} px")
    grid = np.stack(np.divmod(np.arange(across**2), across), axis=1)[: options.particles]
    free = step - 10 * BLOB_PX
    return options.box + grid * step + rng.uniform(0, free, grid.shape)


def make_batch(folder: Path, options) -> None:
    """Write micrographs, coordinates and RELION's tables of one batch."""
    rng = np.random.default_rng(options.seed)
    half = int(4 * BLOB_PX)
    line = np.arange(-half, half + 1)
    coordinates = []
    (folder / "Micrographs").mkdir()
    (folder / "Picks" / "Micrographs").mkdir(parents=True)
    names = [f"Micrographs/m{i:03d}.mrc" for i in range(options.micrographs)]
    for i, name in enumerate(names):
        if i < FILES:
            rate = np.full((options.size, options.size), 160.0, np.float32)
            xy = places_px(rng, options)
            for x, y in xy:
                column, row = int(x), int(y)
                blob = np.outer(
                    np.exp(-0.5 * ((line + row - y) / BLOB_PX) ** 2),
                    np.exp(-0.5 * ((line + column - x) / BLOB_PX) ** 2),
                )
                rate[row - half : row + half + 1, column - half : column + half + 1] *= (
                    1 - 0.6 * blob
                )
            write_mrc(folder / name, rng.poisson(rate).astype(np.float32), PIXEL_ANGST)
            places = xy
        else:
            (folder / name).symlink_to(folder / names[i % FILES])
            places = coordinates[i % FILES][["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
        table = pd.DataFrame(places, columns=["rlnCoordinateX", "rlnCoordinateY"])
        coordinates.append(table.assign(rlnMicrographName=name, rlnAutopickFigureOfMerit=1.0))
        whole = np.floor(table[["rlnCoordinateX", "rlnCoordinateY"]] + 0.5)
        write_star(folder / "Picks" / Path(name).with_suffix("").as_posix(), {"": whole})
        (folder / "Picks" / name[:-4]).rename(folder / "Picks" / f"{name[:-4]}_pick.star")
    rows = pd.DataFrame(
        {
            "rlnMicrographName": names,
            "rlnOpticsGroup": 1,
            "rlnDefocusU": 15000.0,
            "rlnDefocusV": 14900.0,
            "rlnDefocusAngle": 20.0,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnOpticsGroup": [1],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnMicrographOriginalPixelSize": [PIXEL_ANGST],
            "rlnMicrographPixelSize": [PIXEL_ANGST],
        }
    )
    write_star(folder / "micrographs.star", {"optics": optics, "micrographs": rows})
    write_star(folder / "picks.star", {"picks": pd.concat(coordinates, ignore_index=True)})


def settings(options) -> ExtractionSettings:
    return ExtractionSettings(
        box_px=options.box,
        output_px=options.output,
        radius_angst=0.4 * options.box * PIXEL_ANGST,
        diameter_angst=6 * BLOB_PX * PIXEL_ANGST,
        float16=options.float16,
        phase_flip=options.phase_flip,
        dust_sigma=0.0 if options.without_dust else 6.0,
    )


def peak_mb() -> float:
    """Largest resident memory of this process since it began (`ru_maxrss` would begin with that
    of the process that started it)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def extract_all(options) -> dict:
    """Run the batches in this process."""
    torch.set_num_threads(options.threads)
    folder = options.folder
    optics = read_table(folder / "micrographs.star", "optics")
    rows = read_table(folder / "micrographs.star", "micrographs")
    picks = read_table(folder / "picks.star", "picks")
    report = {"start_mb": peak_mb(), "batch_s": [], "batch_cpu_s": [], "particles": 0}
    for _ in range(options.batches):
        started, started_cpu = time.perf_counter(), time.process_time()
        result = extract_batch(
            rows,
            picks,
            lambda name: read_mrc(folder / name)[0],
            folder / "particles.mrcs",
            stack_name="particles.mrcs",
            settings=settings(options),
            optics=optics,
            device=options.device,
        )
        write_particles(folder / "particles.star", result.optics, result.particles)
        report["batch_s"].append(time.perf_counter() - started)
        report["batch_cpu_s"].append(time.process_time() - started_cpu)
        report["particles"] += len(result.particles)
        report.setdefault("first_mb", peak_mb())
    report["all_mb"] = peak_mb()
    return report


def centre_errors_px(folder: Path, count: int = 500) -> np.ndarray:
    """Distances, in pixels of the micrograph, of blobs from where the table has them.

    The table says: at the centre of the box, minus the origin. The blob's own centre is the mean
    position weighted by the density and a Gaussian that follows it.
    """
    particles = read_table(folder / "particles.star", "particles").iloc[:count]
    optics = read_table(folder / "particles.star", "optics")
    images = read_images(folder / "particles.mrcs", np.arange(1, len(particles) + 1))
    pixel = float(optics["rlnImagePixelSize"].iloc[0])
    side = images.shape[-1]
    line = np.arange(side) - side // 2
    y, x = np.meshgrid(line, line, indexing="ij")
    width = BLOB_PX * PIXEL_ANGST / pixel
    centre = np.zeros((len(images), 2))
    for _ in range(8):
        away = (y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2
        weight = images * np.exp(-0.5 * away / width**2)
        total = weight.sum((1, 2))
        mean = np.stack([(weight * y).sum((1, 2)), (weight * x).sum((1, 2))], 1) / total[:, None]
        # density and window are both Gaussians of the same width: the mean is half way
        centre += 2 * (mean - centre)
    told = -particles[["rlnOriginYAngst", "rlnOriginXAngst"]].to_numpy() / pixel
    return np.hypot(*(centre - told).T) * pixel / PIXEL_ANGST


def run_relion(options, folder: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU, of relion_preprocess."""
    radius = round(0.4 * options.output)
    command = (
        "relion_preprocess --i micrographs.star --coord_dir Picks/ --coord_suffix _pick.star "
        "--part_star Extract/particles.star --part_dir Extract/ --extract "
        f"--extract_size {options.box} --scale {options.output} --norm --bg_radius {radius} "
        "--white_dust -1 --black_dust -1 --invert_contrast"
    )
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}\n{done.stderr}")
    seconds, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system
    return seconds, used - before.children_user - before.children_system


def correlations(folder: Path) -> np.ndarray:
    """Of RELION's images with ours, of the first files; both are in the order of the picks."""
    ours = read_table(folder / "particles.star", "particles")
    found = []
    for name in ours["rlnMicrographName"].unique()[:FILES]:
        numbers = np.flatnonzero(ours["rlnMicrographName"] == name) + 1
        mine = read_images(folder / "particles.mrcs", numbers)
        theirs = mrcfile.read(folder / "Extract" / Path(name).with_suffix(".mrcs"))
        a, b = (v.reshape(len(v), -1).astype(float) for v in (mine, theirs))
        a, b = (v - v.mean(1, keepdims=True) for v in (a, b))
        found.append((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--micrographs", type=int, default=20, help="in a batch")
    parser.add_argument("--particles", type=int, default=250, help="on a micrograph")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--box", type=int, default=256)
    parser.add_argument("--output", type=int, default=128)
    parser.add_argument("--float16", action="store_true")
    parser.add_argument("--phase-flip", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--relion", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--without-dust", action="store_true", help="leave dust as it is")
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(extract_all(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_batch(folder, options)

        def ours(*more: str) -> dict:
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", name, *more]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            return json.loads(done.stdout.splitlines()[-1])

        report = ours()
        error = centre_errors_px(folder)
        rows = [
            (
                "particles",
                f"{report['particles']} in {options.batches} batches of {options.micrographs} "
                f"micrographs of {options.size} px",
            ),
            ("box, output", f"{options.box} -> {options.output} px"),
            ("device, threads", f"{options.device}, {options.threads}"),
            ("time", took(sum(report["batch_s"]), sum(report["batch_cpu_s"]), report["particles"])),
            (
                "peak memory",
                f"{report['start_mb']:.0f} MB before, {report['first_mb']:.0f} MB after the first "
                f"batch, {report['all_mb']:.0f} MB after all",
            ),
            ("stack of a batch", f"{(folder / 'particles.mrcs').stat().st_size / 1e6:.0f} MB"),
            (
                "centre against truth",
                f"mean {error.mean():.3f}, largest {error.max():.3f} px ({len(error)} particles)",
            ),
        ]
        if options.relion and shutil.which("relion_preprocess"):
            report = ours("--without-dust", "--batches", "1")
            count = report["particles"]
            mine, mine_cpu = report["batch_s"][0], report["batch_cpu_s"][0]
            theirs, theirs_cpu = run_relion(options, folder)
            same = correlations(folder)
            rows += [
                ("one batch, as RELION does it", took(mine, mine_cpu, count)),
                ("one batch, RELION", took(theirs, theirs_cpu, count)),
                (
                    "RELION / cryosnake",
                    f"{theirs / mine:.2f} of time, {theirs_cpu / mine_cpu:.2f} of CPU",
                ),
                (
                    "correlation with RELION's images",
                    f"smallest {same.min():.6f}, mean {same.mean():.6f} ({len(same)} particles)",
                ),
            ]
        print("| what | value |")
        print("|---|---|")
        for what, value in rows:
            print(f"| {what} | {value} |")


def took(seconds: float, cpu_s: float, particles: int) -> str:
    return (
        f"{seconds:.1f} s ({cpu_s:.1f} s of CPU), {1e3 * seconds / particles:.2f} "
        f"({1e3 * cpu_s / particles:.2f}) ms a particle"
    )


if __name__ == "__main__":
    main()
