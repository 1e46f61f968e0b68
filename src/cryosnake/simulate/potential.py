"""From atoms to a volume of phase shift: the scattering potential with the solvent taken out.

Volumes are (n, n, n) in (z, y, x) order, centre at n // 2; the sum over z is the phase shift of the
electron wave in radians relative to the ice that the particle displaces.
"""

import hashlib
import math
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
import torch
from scipy.fft import next_fast_len
from ttsim3d.scattering_potential import get_scattering_parameters
from ttsim3d.simulate3d import simulate3d

from cryosnake.ctf import wavelength_angst
from cryosnake.errors import BadInputError
from cryosnake.files import written_whole
from cryosnake.simulate.config import BUILT_IN

SHIPPED = Path(__file__).parent / "data" / "3j9i.cif.gz"
WATER_PER_ANGST3 = 0.0314  # low-density amorphous ice, 0.94 g/cm^3
_DEFAULT_B_ANGST2 = 50.0  # where a file has no B-factors
_NO_B_BELOW_ANGST2 = 5.0
_SHARPEST_B_ANGST2 = 10.0
_COARSEST_ANGST = 1.0  # voxels of the potential
_DOUBLE_RISE_ANGST = 152.0  # two 20S particles end to end


def scattering_factor_angst(element: str, frequency_per_angst: torch.Tensor) -> torch.Tensor:
    """Elastic electron scattering factor of an atom in angstrom (Peng 1996, Acta Cryst A52, five
    Gaussians, as tabulated in ttsim3d) at spatial frequencies in 1/angstrom."""
    a, b = get_scattering_parameters()
    s_squared = (frequency_per_angst / 2.0) ** 2
    return sum(
        ai * torch.exp(-bi * s_squared) for ai, bi in zip(a[element], b[element], strict=True)
    )


def relativistic_factor(voltage_kv: float) -> float:
    """The electron's mass over its rest mass."""
    return 1.0 + voltage_kv / 510.99895


def phase_per_scattering_factor(voltage_kv: float) -> float:
    """Phase shift in rad A^2 that a scattering factor of 1 A gives when projected: lambda gamma
    (Kirkland 2010, equations 5.6 and 5.14: sigma times 2 pi a0 e f)."""
    return wavelength_angst(voltage_kv) * relativistic_factor(voltage_kv)


def ice_phase_rad_per_angst(voltage_kv: float) -> float:
    """Mean phase shift in one angstrom of amorphous ice."""
    zero = torch.zeros(1)
    water = 2 * scattering_factor_angst("H", zero) + scattering_factor_angst("O", zero)
    return float(water) * WATER_PER_ANGST3 * phase_per_scattering_factor(voltage_kv)


def read_atoms(path: Path, assembly: str | None = None) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Heavy atoms of the first model of a PDB or mmCIF file, its assembly expanded.

    Returns
    -------
    positions (N, 3) as (z, y, x) in angstrom about their centre; elements; B-factors in angstrom^2.

    Raises
    ------
    BadInputError : no such file, not a structure, or no atoms.
    """
    try:
        structure = gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "a PDB or mmCIF file") from error
    if len(structure) == 0:
        raise BadInputError(path, "holds no model", "a PDB or mmCIF file with atoms")
    structure.setup_entities()
    names = [a.name for a in structure.assemblies]
    model = structure[0]
    if names:
        chosen = structure.assemblies[names.index(assembly) if assembly else 0]
        model = gemmi.make_assembly(chosen, model, gemmi.HowToNameCopiedChain.AddNumber)
    atoms = [
        (atom.pos.z, atom.pos.y, atom.pos.x, atom.element.name.upper(), atom.b_iso)
        for chain in model
        for residue in chain
        for atom in residue
        if not atom.is_hydrogen() and not residue.is_water()
    ]
    if not atoms:
        raise BadInputError(path, "holds no heavy atoms", "a PDB or mmCIF file with atoms")
    positions = np.array([a[:3] for a in atoms], np.float32)
    b_factors = np.array([a[4] for a in atoms], np.float32)
    if b_factors.mean() < _NO_B_BELOW_ANGST2:
        b_factors[:] = _DEFAULT_B_ANGST2
    return positions - positions.mean(0), [a[3] for a in atoms], b_factors


def _species_atoms(structure: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    if structure == "half_proteasome":
        return read_atoms(SHIPPED, "2")
    if structure in ("proteasome", "double_proteasome"):
        positions, elements, b_factors = read_atoms(SHIPPED, "1")
        if structure == "proteasome":
            return positions, elements, b_factors
        half = np.array([_DOUBLE_RISE_ANGST / 2, 0, 0], np.float32)
        return (
            np.concatenate([positions - half, positions + half]),
            elements * 2,
            np.concatenate([b_factors, b_factors]),
        )
    return read_atoms(Path(structure))


def _gaussian_blur(volume: torch.Tensor, sigma_px: float) -> torch.Tensor:
    n = volume.shape[-1]
    full = torch.fft.fftfreq(n)
    half = torch.fft.rfftfreq(n)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    filtered = torch.fft.rfftn(volume) * torch.exp(-2 * (math.pi * sigma_px) ** 2 * squared)
    return torch.fft.irfftn(filtered, s=volume.shape)


def _with_hydrogens(volume: torch.Tensor, spacing_angst: float) -> torch.Tensor:
    """Add the hydrogens that structures leave out: one per heavy atom on average in protein, at
    1.05 A in no particular direction, scattering f_H / f_C as much."""
    n = volume.shape[-1]
    full = torch.fft.fftfreq(n, spacing_angst)
    half = torch.fft.rfftfreq(n, spacing_angst)
    k = torch.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)
    ratio = scattering_factor_angst("H", k) / scattering_factor_angst("C", k)
    factor = 1.0 + ratio * torch.sinc(2.0 * 1.05 * k)  # sin(2 pi k r) / (2 pi k r)
    return torch.fft.irfftn(torch.fft.rfftn(volume) * factor, s=volume.shape)


def _crop_spectrum(volume: torch.Tensor, n: int) -> torch.Tensor:
    """Resample a cube to n voxels a side by cropping its transform about the centre voxel."""
    old = volume.shape[-1]
    spectrum = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(volume)))
    low = old // 2 - n // 2
    cut = spectrum[low : low + n, low : low + n, low : low + n]
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(cut)).real) * (n / old) ** 3


def atoms_to_phase(
    positions: np.ndarray,
    elements: list[str],
    b_factors: np.ndarray,
    *,
    pixel_size_angst: float,
    voltage_kv: float,
) -> torch.Tensor:
    """Phase volume of atoms in ice (see the module); large enough for every rotation.

    The potential is ttsim3d's (Himes and Grigorieff 2021, IUCrJ 8, equation 12), integrated over
    voxels of at most 1 A and cropped in Fourier space to `pixel_size_angst`. The displaced ice is
    the mean phase of ice wherever the potential blurred by 2.5 A is above half of that of ice.
    """
    radius_angst = float(np.linalg.norm(positions, axis=1).max()) + 6.0
    n = 2 * next_fast_len(math.ceil(radius_angst / pixel_size_angst))
    fine = 2 * math.ceil(max(n, n * pixel_size_angst / _COARSEST_ANGST) / 2)
    spacing_angst = pixel_size_angst * n / fine
    # The part of the B-factors that all atoms share is applied in Fourier space: ttsim3d's time
    # grows with the volume that an atom's blur fills.
    shared_b_angst2 = max(0.0, float(b_factors.min()) - _SHARPEST_B_ANGST2)
    # The sum over z of ttsim3d's volume is the projected lambda f per pixel area.
    volume = simulate3d(
        torch.from_numpy(positions),
        elements,
        torch.from_numpy(b_factors - shared_b_angst2),
        voltage_kv,
        spacing_angst,
        (fine,) * 3,
        1,
        False,
        apply_dqe=False,
        device="cpu",
    ) * relativistic_factor(voltage_kv)
    # exp(-B k^2 / 4) is a Gaussian blur with a variance of B / (8 pi^2).
    volume = _gaussian_blur(volume, math.sqrt(shared_b_angst2 / 8) / math.pi / spacing_angst)
    volume = _with_hydrogens(volume, spacing_angst)
    ice_rad_per_voxel = ice_phase_rad_per_angst(voltage_kv) * spacing_angst
    inside = (_gaussian_blur(volume, 2.5 / spacing_angst) > 0.5 * ice_rad_per_voxel).float()
    volume = volume - ice_rad_per_voxel * _gaussian_blur(inside, 1.0 / spacing_angst)
    if fine > n:
        volume = _crop_spectrum(volume, n) * (fine / n)  # a coarse voxel is deeper
    return volume.float()


def nanodisc_phase(*, pixel_size_angst: float, voltage_kv: float) -> torch.Tensor:
    """Phase volume of an empty lipid nanodisc: 110 A wide, 46 A thick, dense head groups, a core
    about as dense as ice, a protein belt. Excess potentials relative to ice (1 is that of ice):
    heads 0.6, core -0.05, belt 0.5."""
    n = 2 * math.ceil(80.0 / pixel_size_angst)  # room for the rim and its blur on all sides
    axis = (torch.arange(n) - n // 2) * pixel_size_angst
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = torch.sqrt(y**2 + x**2)
    inside = radius < 48
    excess = torch.zeros(n, n, n)
    excess[inside & (z.abs() < 23)] = 0.6
    excess[inside & (z.abs() < 15)] = -0.05
    excess[(radius >= 45) & (radius < 55) & (z.abs() < 12)] = 0.5
    blurred = _gaussian_blur(excess, 3.0 / pixel_size_angst)
    return blurred * ice_phase_rad_per_angst(voltage_kv) * pixel_size_angst


def species_phase(
    structure: str, *, pixel_size_angst: float, voltage_kv: float, cache_dir: Path | None = None
) -> torch.Tensor:
    """Phase volume of a species, taken from `cache_dir` where it has been computed before."""
    if structure == "nanodisc":
        return nanodisc_phase(pixel_size_angst=pixel_size_angst, voltage_kv=voltage_kv)
    source = SHIPPED if structure in BUILT_IN else Path(structure)
    if not source.is_file():
        raise BadInputError(source, "no such file", f"a PDB or mmCIF file, or one of {BUILT_IN}")
    cached = None
    if cache_dir is not None:
        key = hashlib.sha256(source.read_bytes())
        key.update(f"{structure} {pixel_size_angst} {voltage_kv} 2".encode())
        cached = Path(cache_dir) / f"potential_{key.hexdigest()[:16]}.npy"
        if cached.is_file():
            return torch.from_numpy(np.load(cached))
    volume = _computed_phase(structure, pixel_size_angst, voltage_kv)
    if cached is not None:
        with written_whole(cached) as temporary:
            np.save(temporary, volume.numpy())
    return volume


@lru_cache(maxsize=4)
def _computed_phase(structure: str, pixel_size_angst: float, voltage_kv: float) -> torch.Tensor:
    return atoms_to_phase(
        *_species_atoms(structure), pixel_size_angst=pixel_size_angst, voltage_kv=voltage_kv
    )
