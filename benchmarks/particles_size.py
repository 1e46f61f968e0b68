"""The particle's size from simulated particles alone, against that of their volume.

    python benchmarks/particles_size.py [--particles 600] [--seed 3]

Six structures, two boxes each, a signal-to-noise ratio of 0.03 to 0.1 inside the particle's circle,
15 % junk, a CTF. The truth is that of the volume, blurred to 4 A and cut at 0.15 of its typical
density: the circle with the mean area of 30 silhouettes, and the largest extent. The levels of
`cryosnake.particles.size` were chosen on these structures with this seed.
"""

import argparse

import numpy as np
import torch
from classes2d_common import simulated_stack
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from volumes3d_common import named, true_volume

from cryosnake.particles.optics import ParticleCtf
from cryosnake.particles.size import measure_particles

NAMES = ("proteasome", "half_proteasome", "nanodisc", "betagal", "apoferritin", "asymmetric")
BOXES_PX, PIXEL_ANGST = (64, 96), 4.0
_GRID_ANGST = 6.0


def true_size(name: str) -> tuple[float, float]:
    """Diameter of the mean silhouette and largest extent in angstrom."""
    structure, _ = named(name)
    volume = ndimage.gaussian_filter(true_volume(structure, 80, PIXEL_ANGST).numpy(), 1.0)
    typical = np.percentile(volume[volume > 0.05 * volume.max()], 90)
    points = np.argwhere(volume > 0.15 * typical) * PIXEL_ANGST
    extent = pdist(points[ConvexHull(points).vertices]).max() + PIXEL_ANGST
    points = points - points.mean(0)
    areas = []
    for turn in Rotation.random(30, random_state=0):
        at = np.round(turn.apply(points)[:, :2] / _GRID_ANGST).astype(int) + 45
        silhouette = np.zeros((90, 90), bool)
        silhouette[at[:, 0], at[:, 1]] = True
        filled = ndimage.binary_fill_holes(ndimage.binary_closing(silhouette))
        areas.append(filled.sum() * _GRID_ANGST**2)
    return float(2 * np.sqrt(np.mean(areas) / np.pi)), float(extent)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| structure | box (A) | diameter: true, found (A) | long axis: true, found (A) | sure |")
    print("|---|---|---|---|---|")
    for name in NAMES:
        structure, circle_angst = named(name)
        diameter, extent = true_size(name)
        for box_px in BOXES_PX:
            stack = simulated_stack(
                arguments.particles,
                species=[structure],
                junk=0.15,
                box_px=box_px,
                pixel_size_angst=PIXEL_ANGST,
                diameter_angst=circle_angst,
                seed=arguments.seed,
            )
            columns = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
            values = [stack.table[column].to_numpy(float) for column in columns]
            optics = ParticleCtf(*values, np.zeros(len(stack.table)), 300.0, 2.7, 0.1)
            size = measure_particles(np.asarray(stack.images), optics, PIXEL_ANGST).size
            print(
                f"| {name} | {box_px * PIXEL_ANGST:.0f} | {diameter:.0f}, "
                f"{size.diameter_angst:.0f} ({size.diameter_angst / diameter - 1:+.0%}) | "
                f"{extent:.0f}, {size.long_axis_angst:.0f} "
                f"({size.long_axis_angst / extent - 1:+.0%}) | "
                f"{'yes' if size.sure else 'no'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
