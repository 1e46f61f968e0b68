"""CPU time and peak memory of ab initio reconstruction and refinement against number of particles.

    python benchmarks/volumes3d_scaling.py [--particles 1000,2000] [--box 128] [--pixel-size 1.75]
        [--target 100000] [--skip-ab-initio]

One thread. Stacks are simulated into files, and each run reads its own in a process of its own, so
that its peak memory is that of reading, searching and reconstructing alone. Refinements begin from
the truth cut at a fifth of the diameter. The last line extrapolates to `--target` particles by a
straight line through the two largest numbers.
"""

import argparse
import multiprocessing
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from classes2d_common import simulated_stack
from volumes3d_common import named, optics_of, true_volume

from cryosnake.images import write_mrc
from cryosnake.volumes3d import ab_initio, refine


def _peak_mb() -> float:
    """Peak memory of this process (Linux), without that of the process it comes from."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def _measured(task: str, path: str, optics, truth, sizes: dict, budget_mb: float) -> tuple:
    """CPU seconds, peak memory in MB, that before the task began, and lines of progress of a task,
    in a fresh process."""
    torch.set_num_threads(1)
    start_mb = _peak_mb()
    begin, lines = time.process_time(), []

    def report(line: str) -> None:
        lines.append(f"{time.process_time() - begin:7.1f} s  {line}")

    if task == "ab_initio":
        ab_initio(path, optics, restarts=2, budget_mb=budget_mb, report=report, **sizes)
    else:
        refine(path, optics, truth, budget_mb=budget_mb, report=report, **sizes)
    took = time.process_time() - begin
    return took, _peak_mb(), start_mb, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--structure", default="asymmetric")
    parser.add_argument("--particles", default="1000,2000")
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--pixel-size", type=float, default=1.75)
    parser.add_argument("--snr", type=float, default=0.055, help="middle of a range of 3.2")
    parser.add_argument("--budget-mb", type=float, default=2000.0)
    parser.add_argument("--target", type=int, default=100_000)
    parser.add_argument("--skip-ab-initio", action="store_true")
    args = parser.parse_args()
    print(vars(args), flush=True)
    structure, diameter_angst = named(args.structure)
    sizes = {"pixel_size_angst": args.pixel_size, "diameter_angst": diameter_angst}
    truth = true_volume(structure, args.box, args.pixel_size).numpy()
    numbers = sorted(map(int, args.particles.split(",")))
    tasks = ["refine"] if args.skip_ab_initio else ["ab_initio", "refine"]
    figures: dict[str, list] = {task: [] for task in tasks}
    fresh = multiprocessing.get_context("spawn")
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            stack = simulated_stack(
                number,
                box_px=args.box,
                species=[structure],
                snr=(args.snr / 1.8, args.snr * 1.8),
                junk=0.0,
                seed=1,
                **sizes,
            )
            path = Path(folder) / "stack.mrcs"
            write_mrc(path, stack.images, args.pixel_size)
            optics = optics_of(stack.table)
            del stack
            for task in tasks:
                with fresh.Pool(1) as pool:
                    work = (task, str(path), optics, truth, sizes, args.budget_mb)
                    took, peak_mb, start_mb, lines = pool.apply(_measured, work)
                figures[task].append((took, peak_mb))
                print(
                    f"{task:9s} {number:6d} particles: {took:7.1f} CPU s, peak {peak_mb:6.0f} MB "
                    f"({start_mb:.0f} MB of it before it began)",
                    *lines,
                    sep="\n    ",
                    flush=True,
                )
    if len(numbers) > 1:
        for task in tasks:
            last = np.array(figures[task][-2:])
            slope = (last[1] - last[0]) / (numbers[-1] - numbers[-2])
            took, peak_mb = last[1] + slope * (args.target - numbers[-1])
            print(
                f"{task:9s} {args.target:6d} particles, extrapolated: {took:.0f} CPU s, "
                f"peak {peak_mb:.0f} MB"
            )


if __name__ == "__main__":
    main()
