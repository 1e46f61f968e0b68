"""Particle size: 12 simulated samples of 86 to 500 A, and the real micrographs at hand.

    python benchmarks/picking_size.py [--set final|tune] [--seed 4242] [--micrographs 8]
                                      [--cache DIR] [--pictures DIR] [--only NAME ...]

Each sample is simulated (2048 pixels, 40 e/A^2, defocus 10,000 to 30,000 A, `picking_size_samples`)
and sized without being told anything but the pixel size. The set `final` with its seed was not
looked at while the estimators were tuned; `tune` was. The truth comes from the atoms: the diameter
of the circle with the area of the silhouette, mean over random views, and the extent along the
longest principal axis. Potentials of large bodies take minutes; they are kept in the cache.
"""

import argparse
import tempfile
import time
from pathlib import Path

import picking_common
import picking_size_samples as samples
import torch

from cryosnake.images import write_png
from cryosnake.picking.size import SizeEstimate, estimate_size
from cryosnake.picking.size_picture import draw_size

#: Samples that are longer than 1.4 times their diameter, in truth.
ELONGATED = 1.4


def row(name: str, truth: samples.Truth, estimate: SizeEstimate, seconds: float) -> str:
    """One line of the table."""
    size = estimate.size
    by_method = estimate.methods.set_index("method").diameter_angst
    methods = " / ".join(
        f"{by_method[m]:.0f}" if m in by_method else "-" for m in ("outline", "scale", "average")
    )
    off = size.diameter_angst / truth.diameter_angst - 1
    off_long = size.long_axis_angst / truth.long_axis_angst - 1
    return (
        f"| {name} | {truth.diameter_angst:.0f} | {size.diameter_angst:.0f} ± "
        f"{size.uncertainty_angst:.0f} | {off:+.0%} | {truth.long_axis_angst:.0f} | "
        f"{size.long_axis_angst:.0f} | {off_long:+.0%} | {'yes' if size.elongated else 'no'} | "
        f"{methods} | {size.box_px} | {'yes' if size.sure else 'no'} | {seconds:.1f} |"
    )


def simulated(sample: samples.Sample, args: argparse.Namespace, folder: Path):
    """Truth and estimate of one sample and the seconds that it took; None where it cannot be."""
    prepared = sample.prepared(folder)
    if prepared is None:
        return None
    structure, truth = prepared
    config = sample.config(structure, truth, seed=args.seed, movies=args.micrographs)
    images = [
        (
            f"{index}",
            picking_common.simulated_micrograph(config, index, cache_dir=folder).image,
        )
        for index in range(args.micrographs)
    ]
    begin = time.perf_counter()
    estimate = estimate_size(images, sample.pixel_size_angst, seed=args.seed)
    return truth, estimate, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=("final", "tune"), default="final")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "size_cache")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", nargs="*", help="names of samples; `real` for the micrographs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    print(
        "| sample | diameter, A | found | off | long axis, A | found | off | elongated "
        "| outline / scale / average | box, px | sure | s |"
    )
    print("|---" * 12 + "|")
    diameters, lengths = [], []
    for sample in samples.FINAL if args.set == "final" else samples.TUNE:
        if args.only and sample.name not in args.only:
            continue
        found = simulated(sample, args, args.cache)
        if found is None:
            print(f"| {sample.name} | its structure {sample.structure} is not at hand |")
            continue
        truth, estimate, seconds = found
        print(row(sample.name, truth, estimate, seconds), flush=True)
        diameters.append(abs(estimate.size.diameter_angst / truth.diameter_angst - 1))
        if truth.long_axis_angst > ELONGATED * truth.diameter_angst:
            lengths.append(abs(estimate.size.long_axis_angst / truth.long_axis_angst - 1))
        if args.pictures:
            write_png(args.pictures / f"{sample.name}.png".replace(" ", "_"), draw_size(estimate))
    if diameters:
        print(
            f"\ndiameter within 15 %: {sum(d <= 0.15 for d in diameters)} of {len(diameters)}, "
            f"largest error {max(diameters):.0%}; long axis of the elongated within 15 %: "
            f"{sum(d <= 0.15 for d in lengths)} of {len(lengths)}\n"
        )
    names = picking_common.empiar_names()
    if names and (not args.only or "real" in args.only):
        begin = time.perf_counter()
        estimate = estimate_size(
            [(n, picking_common.empiar_micrograph(n)) for n in names[:8]],
            picking_common.EMPIAR_PIXEL_ANGST,
            seed=args.seed,
        )
        truth = samples.measure(
            samples.read_atoms(picking_common.SHARED / "structures" / "5a1a.pdb")[0]
        )
        print(row("EMPIAR-10017 (8)", truth, estimate, time.perf_counter() - begin))
        if args.pictures:
            write_png(args.pictures / "empiar10017.png", draw_size(estimate))


if __name__ == "__main__":
    main()
