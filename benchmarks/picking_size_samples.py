"""Samples of known size for the benchmark of the particle size: structures, bodies built from atoms
at the density of protein, and how large each really is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from picking_common import SHARED
from scipy.ndimage import binary_closing, binary_fill_holes

from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.potential import SHIPPED, read_atoms

#: Heavy atoms in a cubic angstrom of protein: 1.35 g/cm^3, 13.4 Da each with their hydrogens.
ATOMS_PER_ANGST3 = 0.058
#: What an atom adds to the outline on each side.
ATOM_RADIUS_ANGST = 1.7
_STACK_RISE_ANGST = 152.0  # of 20S particles end to end


@dataclass(frozen=True)
class Truth:
    """How large a particle is.

    Attributes
    ----------
    diameter_angst : of the circle with the area of the silhouette, mean over random views.
    long_axis_angst, short_axis_angst : largest and smallest of the extents along the three
        principal axes, without a two-hundredth of the atoms at each end.
    max_extent_angst : the largest extent of the silhouette in any view.
    """

    diameter_angst: float
    long_axis_angst: float
    short_axis_angst: float
    max_extent_angst: float


def measure(positions: np.ndarray, *, views: int = 60, seed: int = 0) -> Truth:
    """Sizes of a structure from its atoms (N, 3) in angstrom."""
    rng = np.random.default_rng(seed)
    centred = positions - positions.mean(0)
    axes = np.linalg.svd(centred[:: max(1, len(centred) // 20_000)], full_matrices=False)[2]
    along = centred @ axes.T
    low, high = np.percentile(along, [0.5, 99.5], axis=0)
    extents = np.sort(high - low + 2 * ATOM_RADIUS_ANGST)[::-1]
    step_angst = 2.0
    diameters, widest = [], 0.0
    for _ in range(views):
        basis = np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
        plane = centred @ basis.T
        widest = max(widest, float(np.ptp(np.percentile(plane[:, 0], [0.05, 99.95]))))
        low2 = plane.min(0) - 10.0
        cells = np.ceil((plane.max(0) + 10.0 - low2) / step_angst).astype(int)
        filled = np.zeros(cells, bool)
        filled[tuple(((plane - low2) / step_angst).astype(int).T)] = True
        filled = binary_fill_holes(binary_closing(filled, iterations=3))
        diameters.append(np.sqrt(4 * filled.sum() * step_angst**2 / np.pi))
    return Truth(
        float(np.mean(diameters)),
        float(extents[0]),
        float(extents[2]),
        widest + 2 * ATOM_RADIUS_ANGST,
    )


def body(
    extents_angst: tuple[float, float, float],
    *,
    shell_angst: float | None = None,
    lumps: float = 0.12,
    seed: int = 0,
) -> np.ndarray:
    """Atoms (N, 3) at the density of protein in an ellipsoid with a lumpy surface.

    Parameters
    ----------
    extents_angst : the ellipsoid's three axes, whole length.
    shell_angst : thickness of the wall of a hollow body, or None for a solid one.
    lumps : relative height of the bumps, root mean square.
    """
    rng = np.random.default_rng(seed)
    spacing = ATOMS_PER_ANGST3 ** (-1 / 3)
    half = np.array(extents_angst) / 2
    sides = [np.arange(-h * 1.35, h * 1.35, spacing) for h in half]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    reach = np.linalg.norm(points / half, axis=1)
    points, reach = points[reach < 1.35], reach[reach < 1.35]
    direction = points / half / np.maximum(reach, 1e-6)[:, None]
    waves = rng.normal(size=(24, 3)) * 3.0
    phases = rng.uniform(0, 2 * np.pi, 24)
    bumps = np.zeros(len(points), np.float32)
    for wave, phase in zip(waves, phases, strict=True):
        bumps += np.cos(direction @ wave + phase)
    surface = 1.0 + lumps * bumps / np.sqrt(12.0)
    inside = reach < surface
    if shell_angst is not None:
        inside &= reach > surface * (1.0 - shell_angst / half.min())
    points = points[inside]
    return points + rng.normal(0, 0.25 * spacing, points.shape).astype(np.float32)


def stacked_proteasomes(number: int) -> np.ndarray:
    """Atoms of 20S particles end to end, a rod of some 152 angstrom for each."""
    positions, _, _ = read_atoms(SHIPPED, "1")
    shifts = (np.arange(number) - (number - 1) / 2) * _STACK_RISE_ANGST
    return np.concatenate([positions + np.array([z, 0, 0], np.float32) for z in shifts])


def write_cif(path: Path, positions: np.ndarray) -> Path:
    """Write atoms (N, 3), in (z, y, x) order, as mmCIF: carbon, nitrogen and oxygen in the
    proportions of protein."""
    elements = np.array(list("CCCCCCCCCCCCNNNOOOOC"))
    columns = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
        "label_entity_id label_seq_id Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv "
        "auth_seq_id auth_asym_id pdbx_PDB_model_num"
    )
    lines = ["data_body", "loop_", *(f"_atom_site.{name}" for name in columns.split())]
    for i, (z, y, x) in enumerate(positions):
        element = elements[i % len(elements)]
        residue = i // 20 + 1
        lines.append(
            f"ATOM {i + 1} {element} {element}{i % 20} . ALA A 1 {residue} {x:.2f} {y:.2f} {z:.2f} "
            f"1 50 {residue} A 1"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class Sample:
    """A sample of the benchmark.

    Attributes
    ----------
    structure : a name of the simulator's, or a file of `structures`.
    atoms : makes its atoms where it is not a file: the simulator's own or a body.
    pixel_size_angst : of the micrographs.
    cover : share of the area that particles cover.
    """

    name: str
    atoms: Callable[[], np.ndarray]
    structure: str | None = None
    pixel_size_angst: float = 1.5
    cover: float = 0.22

    def prepared(self, folder: Path) -> tuple[str, Truth] | None:
        """What the simulator takes as its structure, and the truth; None where the file that it
        needs is not at hand."""
        if self.structure is not None and self.structure.endswith(".pdb"):
            path = SHARED / "structures" / self.structure
            return (str(path), measure(read_atoms(path)[0])) if path.is_file() else None
        positions = self.atoms()
        if self.structure is not None:
            return self.structure, measure(positions)
        path = folder / f"{self.name}.cif"
        write_cif(path, positions)
        return str(path), measure(positions)

    def config(self, structure: str, truth: Truth, *, seed: int, movies: int) -> SimulationConfig:
        """Micrographs of 2048 pixels a side with 40 electrons per square angstrom, in which
        particles lie at least a tenth more than their length apart."""
        area_angst2 = np.pi / 4 * truth.diameter_angst**2
        return SimulationConfig(
            movies=movies,
            seed=seed,
            height_px=2048,
            width_px=2048,
            frames=2,
            dose_e_per_angst2_per_frame=20.0,
            pixel_size_angst=self.pixel_size_angst,
            defocus_min_angst=10000.0,
            defocus_max_angst=30000.0,
            species=[{"structure": structure}],
            particles_per_um2=self.cover / area_angst2 * 1e8,
            min_distance_angst=1.1 * truth.long_axis_angst,
            ice_thickness_angst=max(350.0, 1.1 * truth.long_axis_angst),
            drift_scale=0.0,
            local_motion_angst=0.0,
        )


def _shipped(assembly: str) -> Callable[[], np.ndarray]:
    return lambda: read_atoms(SHIPPED, assembly)[0]


def _body(*extents_angst: float, **options) -> Callable[[], np.ndarray]:
    return lambda: body(extents_angst, **options)


#: The samples of the figure.
FINAL = [
    Sample("globule-86", _body(83, 83, 83, seed=11)),
    Sample("half-20S", _shipped("2"), "half_proteasome"),
    Sample("apoferritin", _body(), "6z6u.pdb"),
    Sample("beta-gal", _body(), "5a1a.pdb"),
    Sample("20S", _shipped("1"), "proteasome"),
    Sample("disc-190", _body(190, 190, 75, lumps=0.06, seed=12)),
    Sample("irregular-230", _body(235, 215, 190, lumps=0.18, seed=13), pixel_size_angst=2.0),
    Sample("shell-320", _body(320, 320, 320, shell_angst=30, lumps=0.05, seed=14), None, 2.0, 0.3),
    Sample("shell-500", _body(490, 490, 490, shell_angst=24, lumps=0.03, seed=15), None, 2.0, 0.3),
    Sample("rod-190", _body(190, 60, 55, lumps=0.06, seed=16), cover=0.12),
    Sample("two 20S", lambda: stacked_proteasomes(2), "double_proteasome", cover=0.12),
    Sample("three 20S", lambda: stacked_proteasomes(3), pixel_size_angst=2.0, cover=0.1),
]
#: Other samples, with which the estimators were tuned.
TUNE = [
    Sample("globule-100", _body(95, 95, 90, seed=1)),
    Sample("half-20S", _shipped("2"), "half_proteasome"),
    Sample("disc-150", _body(150, 150, 80, lumps=0.08, seed=2)),
    Sample("20S", _shipped("1"), "proteasome", cover=0.3),
    Sample("globule-190", _body(190, 190, 180, lumps=0.1, seed=3)),
    Sample("shell-260", _body(260, 260, 260, shell_angst=25, lumps=0.06, seed=4), None, 2.0),
    Sample("shell-430", _body(430, 430, 430, shell_angst=22, lumps=0.04, seed=5), None, 2.0),
    Sample("rod-150", _body(150, 60, 60, lumps=0.08, seed=6), cover=0.12),
    Sample("rod-260", _body(260, 80, 70, lumps=0.08, seed=7), cover=0.12),
    Sample("two 20S", lambda: stacked_proteasomes(2), "double_proteasome", cover=0.15),
    Sample("rod-400", _body(400, 100, 90, lumps=0.05, seed=8), pixel_size_angst=2.0, cover=0.1),
]
