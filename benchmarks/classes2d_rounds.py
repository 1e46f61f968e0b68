"""Rounds of 2D classification: does a start on few, one-sided particles imprison the next round?

    python benchmarks/classes2d_rounds.py --seeds 3

A first round sees few particles, which are not like those to come. The next round is classified
twice: warm, from the first round's averages, and cold, from nothing. The figures are those of
`classes2d_quality.quality`, on the particles of the next round, medians over seeds, and the CPU
time of the classification alone.
"""

import argparse
import time

import numpy as np
import torch
from classes2d_common import (
    AMPLITUDE_CONTRAST,
    CS_MM,
    VOLTAGE_KV,
    SimulatedStack,
    simulated_stack,
    structures,
)
from classes2d_quality import quality

from cryosnake.classes2d import Classification, Optics, classify2d

#: What the first round shows: number of structures, fraction along the symmetry axis, of junk.
FIRST_ROUNDS = {
    "one structure, top views": (1, 1.0, 0.2),
    "one structure, all views": (1, 0.0, 0.2),
    "mostly junk": (3, 0.0, 0.9),
    "as the next round": (3, 0.0, 0.2),
}


def classified(stack: SimulatedStack, **settings) -> tuple[Classification, float]:
    """The classification and its CPU seconds."""
    optics = Optics(
        *(stack.table[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle")),
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )
    start = time.process_time()
    found = classify2d(
        stack.images,
        optics,
        pixel_size_angst=stack.pixel_size_angst,
        diameter_angst=stack.diameter_angst,
        **settings,
    )
    return found, time.process_time() - start


def figures(stack: SimulatedStack, found: Classification) -> list[float]:
    """kinds, views, junk apart, lost."""
    held = quality(stack, found.poses.class_index)
    return [held.kinds, held.views, held.junk, held.lost]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=int, default=1500, help="particles of the first round")
    parser.add_argument("--next", type=int, default=6000, help="particles of the next")
    parser.add_argument("--classes", type=int, nargs=2, default=(12, 24), help="of both rounds")
    parser.add_argument("--snr", type=float, nargs=2, default=(0.1, 0.3))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.first} particles in {options.classes[0]} classes, then {options.next} in "
        f"{options.classes[1]}; SNR {options.snr[0]} to {options.snr[1]}; medians (least to most) "
        f"over {options.seeds} seeds; {options.threads} threads"
    )
    rows: dict[str, list[list[float]]] = {}

    def note(name: str, held: list[float]) -> None:
        rows.setdefault(name, []).append(held)
        print(f"seed {len(rows[name])} {name:32s}", *(f"{one:.3f}" for one in held), flush=True)

    for seed in range(1, options.seeds + 1):
        stack = simulated_stack(options.next, snr=tuple(options.snr), seed=100 + seed)
        settings = {"classes": options.classes[1], "resolution_angst": 10.0, "seed": seed}
        found, cpu_s = classified(stack, **settings)
        note("cold", [*figures(stack, found), cpu_s])
        for name, (number, preferred, junk) in FIRST_ROUNDS.items():
            before = simulated_stack(
                options.first,
                species=structures(number),
                preferred=preferred,
                junk=junk,
                snr=tuple(options.snr),
                seed=seed,
            )
            first, _ = classified(before, **{**settings, "classes": options.classes[0]})
            found, cpu_s = classified(stack, **settings, initial=first.classes.averages)
            note(f"warm: {name}", [*figures(stack, found), cpu_s])
    columns = ("kinds", "views", "junk apart", "lost", "CPU s")
    print(f"{'':32s}" + "".join(f"{column:>24s}" for column in columns))
    for name, values in rows.items():
        table = np.array(values)
        cells = [
            f"{np.median(one):.3f} ({one.min():.3f} to {one.max():.3f})" for one in table.T[:-1]
        ]
        cells.append(f"{np.median(table[:, -1]):.1f}")
        print(f"{name:32s}" + "".join(f"{cell:>24s}" for cell in cells))


if __name__ == "__main__":
    main()
