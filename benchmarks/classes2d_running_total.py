"""What it costs to bring the live classes up to date, by the number of streamed batches.

python benchmarks/classes2d_running_total.py [--batches 1000] [--classes 100]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from classes2d_synthetic import DIAMETER, PIXEL, objects, particles  # noqa: E402

from cryosnake.classes2d import Schedule, assign, classify2d, running_total, updated  # noqa: E402


def cpu_s(work) -> float:
    """Processor seconds of a call."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, optics, _ = particles(max(500, 4 * options.classes), objects(3), empty=0.1)
    found = classify2d(
        images,
        optics,
        classes=options.classes,
        pixel_size_angst=PIXEL,
        diameter_angst=DIAMETER,
        resolution_angst=2.5 * PIXEL,
        schedule=Schedule(batches=4),
    )
    contribution = assign(images, optics, found).contribution
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contribution.save(folder / "b.pt")
        files = [folder / f"b{number:05d}.pt" for number in range(options.batches)]
        for file in files:
            os.link(folder / "b.pt", file)
        total = folder / "total.pt"
        size_mb = files[0].stat().st_size / 1e6
        print(f"{options.batches} batches of {size_mb:.1f} MB, {options.classes} classes")
        print(f"from all batches: {cpu_s(lambda: running_total(total, files[:-6])):.2f} s CPU")
        one_more = [cpu_s(lambda n=n: running_total(total, files[:n])) for n in range(-5, 0)]
        print(f"with one batch more: {np.median(one_more):.2f} s CPU")
        summed = running_total(total, files)
        print(f"classes from the sums: {cpu_s(lambda: updated(found, [summed])):.2f} s CPU")


if __name__ == "__main__":
    main()
