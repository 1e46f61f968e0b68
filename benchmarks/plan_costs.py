"""The costs that plans and requests for resources are made with, and where they come from.

    OMP_NUM_THREADS=1 python benchmarks/plan_costs.py [--measure preprocess stream_class2d]
        [--session SESSION]

Prints every shipped cost with its source. What `--measure` names is measured anew at the reference
size, each in a process of its own: CPU seconds and peak memory for a unit, Python's own start left
out. `preprocess`: movies of 5760 x 4092 x 40 (as in `motion_k3.py`) through the whole of it.
`stream_class2d`: particles of 128 px (noise) to 100 classes. With `--session`, the costs are also
fitted to the job records of a session.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from cryosnake.plan.costs import Costs
from cryosnake.plan.fit import measured_costs


def used_s() -> float:
    """CPU seconds of this process so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def peak_mb() -> float:
    """Its peak memory, without that of the process it comes from."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def preprocess(movies: int) -> dict:
    """A batch of large movies through motion, CTF and the filters."""
    import torch
    from live_common import write_config
    from motion_k3 import write_movie

    from cryosnake import layout
    from cryosnake.config import load_config
    from cryosnake.preprocess.batch import preprocess_batch
    from cryosnake.session.ingest import take_in
    from cryosnake.tables import read_table

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="plan-costs-") as name:
        folder, session = Path(name) / "movies", Path(name) / "session"
        folder.mkdir()
        for seed in range(movies):
            write_movie(folder / f"movie_{seed}.tif", (4092, 5760), 40, seed)
        write_config(session, folder, motion={"patches": "auto"}, ctf={"tile_px": 512})
        config = load_config(session / "config.yaml")
        take_in(session, config)
        before, wall = used_s(), time.perf_counter()
        preprocess_batch(session, layout.batch_name(0), config, "cpu")
        took, wall = used_s() - before, time.perf_counter() - wall
        rows = read_table(session / layout.batch_table(layout.batch_name(0)), "micrographs")
        parts = rows[["csnMotion_s", "csnCtf_s", "csnCuration_s"]].mean().round(1).to_dict()
    return {"units": movies, "cpu_s": took, "wall_s": wall, "peak_mb": peak_mb(), "parts": parts}


def stream_class2d(particles: int) -> dict:
    """New particles to 100 classes of images of 128 px."""
    import torch
    from classes2d_common import AMPLITUDE_CONTRAST, CS_MM, VOLTAGE_KV

    from cryosnake.classes2d import Optics, assign, classify2d

    torch.set_num_threads(1)
    random = np.random.default_rng(1)
    images = random.normal(size=(particles, 128, 128)).astype(np.float32)
    defocus = np.full((3, particles), 15000.0) * np.array([[1.0], [0.99], [0.0]])
    optics = Optics(
        *defocus, voltage_kv=VOLTAGE_KV, cs_mm=CS_MM, amplitude_contrast=AMPLITUDE_CONTRAST
    )
    sizes = {"pixel_size_angst": 2.0, "diameter_angst": 200.0}
    found = classify2d(images, optics, classes=100, **sizes)
    before, wall = used_s(), time.perf_counter()
    assign(images, optics, found)
    took = used_s() - before
    wall = time.perf_counter() - wall
    return {"units": particles, "cpu_s": took, "wall_s": wall, "peak_mb": peak_mb(), "parts": {}}


MEASURES = {"preprocess": (preprocess, "movies"), "stream_class2d": (stream_class2d, "particles")}


def measured(rule: str, options) -> dict:
    """Figures of a rule, from a process of its own."""
    function, number = MEASURES[rule]
    command = [sys.executable, __file__, "--one", function.__name__]
    command += [f"--{number}", str(getattr(options, number))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the machine, what was measured, and all shipped costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", nargs="*", choices=MEASURES, default=[])
    parser.add_argument("--movies", type=int, default=2)
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--session", type=Path)
    parser.add_argument("--one", choices=MEASURES)
    options = parser.parse_args()
    if options.one:
        function, number = MEASURES[options.one]
        print(json.dumps(function(getattr(options, number))))
        return
    memory_gb = psutil.virtual_memory().total / 1e9
    print(f"{psutil.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}\n")
    shipped = Costs.shipped()
    for rule in options.measure:
        found = measured(rule, options)
        per_s = found["cpu_s"] / found["units"]
        print(
            f"{rule}: {per_s:.4g} CPU s for each of {found['units']}"
            f" (shipped {shipped.table[rule].per_unit_s:.4g}), {found['wall_s']:.1f} s in all, peak"
            f" {found['peak_mb']:.0f} MB {found['parts'] or ''}"
        )
    rows = [
        {
            "rule": rule,
            "unit": cost.unit,
            "fixed CPU s": cost.fixed_s,
            "for each": cost.per_unit_s,
            "MB": cost.memory_fixed_mb,
            "MB for each": cost.memory_per_unit_mb,
            "from": cost.source,
        }
        for rule, cost in shipped.table.items()
    ]
    print("\n" + pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g"))
    if options.session:
        fitted = measured_costs(options.session)
        rows = [
            {
                "rule": rule,
                "fixed CPU s": fitted.table[rule].fixed_s,
                "for each": fitted.table[rule].per_unit_s,
                "MB": fitted.table[rule].memory_fixed_mb,
                "fit": fitted.source(rule),
            }
            for rule in sorted(fitted.fitted)
        ]
        print(f"\nFitted to {options.session}:\n")
        print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    main()
