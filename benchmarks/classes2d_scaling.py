"""Time and memory of 2D classification against the number of particles.

    python benchmarks/classes2d_scaling.py --particles 10000 30000 100000 --classes 50 50 100

One stack of 16-bit numbers is simulated and repeated as often as it takes; each run is a process of
its own. Peak memory is that of the process (VmHWM). A repeated stack says nothing about quality, so
that is printed for the first run only, where it is not repeated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
from classes2d_common import (
    AMPLITUDE_CONTRAST,
    CS_MM,
    VOLTAGE_KV,
    simulated_stack,
)
from classes2d_quality import quality


def classify(arguments: dict) -> None:
    """One run; prints its figures as JSON."""
    import torch

    from cryosnake.classes2d import Optics, classify2d

    torch.set_num_threads(arguments["threads"])
    folder = Path(arguments["folder"])
    defocus = np.load(folder / "defocus.npy")
    number = arguments["particles"]
    rows = np.resize(np.arange(len(defocus)), number)
    blocks = np.split(rows, np.flatnonzero(rows == 0)[1:])
    source = [(folder / "stack.mrcs", block) for block in blocks]
    optics = Optics(
        *defocus[rows].T,
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    found = classify2d(
        source,
        optics,
        classes=arguments["classes"],
        device=arguments["device"],
        **arguments["settings"],
    )
    figures = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    status = Path("/proc/self/status").read_text()  # ru_maxrss would hold the parent's memory
    figures["peak_mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    if arguments["device"] != "cpu":
        figures["device_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    np.savez(folder / "found.npz", classes=found.poses.class_index, averages=found.classes.averages)
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stack", type=int, default=10000, help="particles that are simulated")
    parser.add_argument("--particles", type=int, nargs="+", default=[10000, 30000, 100000])
    parser.add_argument("--classes", type=int, nargs="+", default=[50, 50, 100])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        classify(json.loads(options.one))
        return
    pixel_size_angst = 4.0 * 64 / options.box
    stack = simulated_stack(
        options.stack, box_px=options.box, pixel_size_angst=pixel_size_angst, seed=1
    )
    print(
        f"{options.box} px of {pixel_size_angst:g} A to 8 A, {options.threads} threads, "
        f"{options.device}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with mrcfile.new(folder / "stack.mrcs") as mrc:
            mrc.set_data(stack.images.astype(np.float16))
            mrc.set_image_stack()
        names = [f"rlnDefocus{part}" for part in ("U", "V", "Angle")]
        np.save(folder / "defocus.npy", stack.table[names].to_numpy())
        for particles, classes in zip(options.particles, options.classes, strict=True):
            arguments = {
                "folder": str(folder),
                "particles": particles,
                "classes": classes,
                "threads": options.threads,
                "device": options.device,
                "settings": {
                    "pixel_size_angst": pixel_size_angst,
                    "diameter_angst": stack.diameter_angst,
                    "resolution_angst": 8.0,
                },
            }
            command = [sys.executable, str(Path(__file__).resolve()), "--one"]
            done = subprocess.run(
                [*command, json.dumps(arguments)], check=True, capture_output=True, text=True
            )
            figures = json.loads(done.stdout)
            print(f"{particles:7d} particles, {classes:4d} classes: ", end="")
            print("  ".join(f"{name} {value:.1f}" for name, value in figures.items()), flush=True)
            if particles == options.stack:
                with np.load(folder / "found.npz") as found:
                    print(f"        {quality(stack, found['classes'], found['averages'])}")


if __name__ == "__main__":
    main()
