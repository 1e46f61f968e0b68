"""Real data: twelve micrographs of beta-galactosidase (EMPIAR-10017), from the images to a volume.

    python benchmarks/empiar10017.py [--session DIR] [--picture docs/images/empiar10017.png]

The images are denoised and of 8 bits, with their rows turned. They become MRC files, and a session
starts from them as a user would start it: `cryosnake init --kind micrographs --no-ctf`, with
smaller thresholds for twelve micrographs, and `cryosnake run --until class2d`. Nothing else is
told: no size, no template, no symmetry. Then the kept particles give an ab initio volume, which is
refined and held against a map of the molecule. (EMPIAR-10017 is in the training set of most
pickers; ours starts from the pretrained detector of Topaz, see docs/denoise.md.)

Prints picks against the experts' (one to one, within 40 px), the classes, and the shell correlation
with the map; draws the largest kept averages beside the projections of the map that they match. A
session that is there already is gone on with.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from cryosnake import layout
from cryosnake.classes2d.particle_table import read_input
from cryosnake.images import read_mrc, write_mrc
from cryosnake.picking.size_model import read_size
from cryosnake.tables import read_star, read_table
from cryosnake.validation.average_set import AverageSet
from cryosnake.validation.class_match import match_averages, matched_projections
from cryosnake.validation.known_map import compare_with_known
from cryosnake.validation.mask import automatic_mask
from cryosnake.validation.resize import resized
from cryosnake.volumes3d import ab_initio, refine

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CRYOSNAKE_SHARED_DATA", ROOT.parent / "shared" / "data"))
PIXEL_ANGST, SAME_PX = 1.77, 40.0
ROUNDS = [{"particles": 3000, "classes": 30}, {"particles": 6000, "classes": 50}]
SMALLER = {
    "ingest": {"batch_movies": 4, "settle_s": 0},
    "milestones": {"tally_every_batches": 1, "size_micrographs": 8, "training_micrographs": 10},
    "picking": {"training_micrographs": 10},
    "class2d": {"rounds": ROUNDS},
}
_COMPARED_ANGST = 12.0
#: What is finer in these images is not the molecule, and must not decide how maps are aligned.
_ALIGNED_ANGST = 25.0
_SHOWN = 12


def cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def cryosnake(*words: object) -> None:
    """Run the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "cryosnake.cli", *map(str, words)], check=True)


def run_session(folder: Path) -> Path:
    """Convert the images, start the session and run it to 2D classes."""
    images = sorted((SHARED / "empiar10017" / "micrographs").glob("*.jpg"))
    for path in images:
        target = folder / "micrographs" / f"{path.stem}.mrc"
        if not target.exists():
            grey = np.flipud(np.asarray(Image.open(path).convert("L"), np.float32))
            write_mrc(target, grey, PIXEL_ANGST)
    session = folder / "session"
    if not (session / "config.yaml").exists():
        facts = ("--kind", "micrographs", "--no-ctf", "--voltage-kv", 300, "--template", "2d")
        cryosnake("init", folder / "micrographs", "--session", session, *facts)
        config = yaml.safe_load((session / "config.yaml").read_text())
        for section, values in SMALLER.items():
            config.setdefault(section, {}).update(values)
        (session / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    before = cpu_s(resource.RUSAGE_CHILDREN)
    cryosnake("run", session, "--until", "class2d", "--cores", 1)
    print(f"session: {cpu_s(resource.RUSAGE_CHILDREN) - before:.0f} s of CPU")
    return session


def matched(picks_xy: np.ndarray, true_xy: np.ndarray) -> int:
    """Pairs of a pick and a true centre, one to one, within the tolerance."""
    distance = cdist(picks_xy, true_xy)
    near = distance <= SAME_PX
    rows, columns = linear_sum_assignment(np.where(near, distance - 1e4, 0.0))
    return int(near[rows, columns].sum())


def report_picks(session: Path) -> None:
    """Recall and precision of all micrographs together, and of each."""
    found, picked, true, of_each = 0, 0, 0, []
    for batch in layout.closed_batches(session):
        movies = read_table(session / layout.batch_table(batch), "micrographs")
        picks = read_table(session / layout.coordinates_star(batch), "coordinates")
        for row in movies.itertuples():
            name = Path(row.rlnMicrographMovieName).stem
            truth = pd.read_csv(SHARED / "empiar10017" / "truth" / f"{name}.csv").to_numpy()
            own = picks[picks["rlnMicrographName"] == row.rlnMicrographName]
            pairs = matched(own[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(), truth)
            found, picked, true = found + pairs, picked + len(own), true + len(truth)
            of_each.append((pairs / len(truth), pairs / max(len(own), 1)))
    recalls, precisions = np.array(of_each).T
    print(
        f"picks: {picked} on {len(of_each)} micrographs, {true} by experts; recall "
        f"{found / true:.3f} ({recalls.min():.2f} to {recalls.max():.2f}), precision "
        f"{found / picked:.3f} ({precisions.min():.2f} to {precisions.max():.2f}) within "
        f"{SAME_PX:g} px"
    )


def report_classes(session: Path) -> int:
    """What became of each round; returns the last one."""
    last = 0
    for one in ROUNDS:
        particles = one["particles"]
        path = session / layout.class2d_file(particles, "classes.star")
        if not path.exists():
            continue
        last = particles
        classes = read_table(path, "classes")
        kept = classes[classes["csnClassKept"] == 1]
        labels = classes["csnClassLabel"].value_counts().to_dict()
        print(
            f"round of {particles}: {len(kept)} of {len(classes)} classes kept, with "
            f"{kept['csnClassPopulation'].sum()} of {classes['csnClassPopulation'].sum()} "
            f"particles; labels {labels}; best resolution "
            f"{classes['rlnEstimatedResolution'].min():.1f} A"
        )
    return last


def known_map() -> tuple[np.ndarray, float]:
    """The map of the molecule and its pixel size."""
    return read_mrc(SHARED / "structures" / "betagal_3.54A_100px.mrc")


def draw_matches(session: Path, last: int, picture: Path) -> None:
    """The largest kept averages beside the projections of the known map that they match."""
    blocks = read_star(session / layout.class2d_file(last, "averages.star"))
    mask_angst = float(blocks["general"]["csnMaskDiameter_angst"])
    averages, pixel_angst = read_mrc(session / layout.class2d_file(last, "classes.mrcs"))
    classes = read_table(session / layout.class2d_file(last, "classes.star"), "classes")
    kept = classes[classes["csnClassKept"] == 1].sort_values("csnClassPopulation")[::-1]
    chosen = kept.index[:_SHOWN].to_numpy()
    if not len(chosen):
        print("no class is kept: no picture")
        return
    known, known_pixel = known_map()
    volume = resized(known, known_pixel, averages.shape[-1], pixel_angst)
    averages_set = AverageSet(averages[chosen], pixel_angst, mask_angst, _COMPARED_ANGST)
    matches = match_averages(averages_set, volume, pixel_angst, _COMPARED_ANGST)
    shown = matched_projections(averages_set, volume, pixel_angst, matches)
    print(
        f"averages against projections of the map, to {_COMPARED_ANGST:g} A: correlation "
        f"{matches.correlation.mean():.2f} ({matches.correlation.min():.2f} to "
        f"{matches.correlation.max():.2f}), {len(chosen)} classes"
    )
    figure = Figure(figsize=(1.3 * len(chosen), 3.0), layout="constrained")
    axes = figure.subplots(2, len(chosen), squeeze=False)
    for column, (index, correlation) in enumerate(zip(chosen, matches.correlation, strict=True)):
        for row, images in enumerate((averages_set.images.numpy(), shown)):
            axes[row, column].imshow(images[column], cmap="gray", origin="lower")
            axes[row, column].set_axis_off()
        number = classes.loc[index, "csnClassPopulation"]
        axes[0, column].set_title(f"{number} particles", fontsize=7)
        axes[1, column].set_title(f"{correlation:.2f}", fontsize=7)
    figure.suptitle("class averages (above), matching projections of the map (below)", fontsize=9)
    figure.savefig(picture, dpi=110)
    print(f"wrote {picture}")


def report_volume(session: Path, last: int, folder: Path) -> None:
    """Ab initio volume and refinement of the kept particles, against the known map."""
    given = read_input(session / layout.class2d_file(last, "selected.star"), session)
    diameter_angst = 1.25 * read_size(session / layout.SIZE)[0].long_axis_angst
    known, known_pixel = known_map()

    def compared(name: str, volume: np.ndarray, resolution_angst: float) -> None:
        mask = automatic_mask(volume, given.pixel_size_angst)
        match = compare_with_known(
            volume,
            given.pixel_size_angst,
            mask,
            known,
            known_pixel,
            resolution_angst=_ALIGNED_ANGST,
        )
        write_mrc(folder / f"{name}.mrc", volume, given.pixel_size_angst)
        print(
            f"{name}: own resolution {resolution_angst:.1f} A; against the map FSC 0.5 at "
            f"{match.resolution_angst:.1f} A, hand {match.hand}, correlation "
            f"{match.correlation:.2f}"
        )

    common = {"pixel_size_angst": given.pixel_size_angst, "diameter_angst": diameter_angst}
    started = cpu_s(resource.RUSAGE_SELF)
    first = ab_initio(given.source, given.optics, **common)[0]
    middle = cpu_s(resource.RUSAGE_SELF)
    print(f"{len(given.table)} particles; ab initio {middle - started:.0f} s of CPU")
    compared("ab_initio", first.volume, first.resolution_angst)
    found = refine(given.source, given.optics, first.volume, **common)
    print(f"refinement {cpu_s(resource.RUSAGE_SELF) - middle:.0f} s of CPU")
    compared("refined", found.volume, found.resolution_angst)


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--session", type=Path, help="kept, and gone on with if it is there")
    parser.add_argument("--picture", type=Path, default=Path("empiar10017.png"))
    arguments = parser.parse_args()
    if not (SHARED / "empiar10017" / "micrographs").is_dir():
        print(f"skipped: no reference data at {SHARED} (set CRYOSNAKE_SHARED_DATA)")
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.session or Path(temporary)
        session = run_session(folder)
        size = read_size(session / layout.SIZE)[0]
        print(
            f"size: diameter {size.diameter_angst:.0f} +- {size.uncertainty_angst:.0f} A, long "
            f"axis {size.long_axis_angst:.0f} A, box {size.box_px} px"
        )
        report_picks(session)
        last = report_classes(session)
        if not last:
            print("no round was reached")
            return
        draw_matches(session, last, arguments.picture)
        report_volume(session, last, folder)


if __name__ == "__main__":
    main()
