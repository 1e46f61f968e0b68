"""The command lines of RELION's initial model, 3D classification and auto-refinement.

Those of 3.1 were run. Those of 4 and 5 are what their own jobs run (the note.txt of a job, and
`relion_refine --help`); they were not at hand to run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryosnake.engines.relion_command import GRADIENT_VERSION


@dataclass(frozen=True)
class SgdSchedule:
    """Stochastic gradient descent of RELION 3.1: first, middle and last mini-batches. The numbers
    are those of its own job.

    Parameters
    ----------
    first, middle, last : number of mini-batches.
    first_angst, last_angst : resolution of the first and of the last.
    first_particles, last_particles : images of a mini-batch.
    """

    first: int = 50
    middle: int = 200
    last: int = 50
    first_angst: float = 35.0
    last_angst: float = 15.0
    first_particles: int = 100
    last_particles: int = 500

    @property
    def batches(self) -> int:
        """All of them."""
        return self.first + self.middle + self.last


@dataclass(frozen=True)
class Common:
    """What the three have in common; paths are relative to where they run.

    Parameters
    ----------
    version : (major, minor).
    particles, output : STAR file, and root of the names of what is written (`Class3D/run`).
    diameter_angst : of the circular mask.
    gpu : devices as `--gpu` takes them, "" for all; None: no GPU.
    quick : at most 50 poses of a particle count, and references are not padded. Without a GPU
        RELION 3.1 hardly ends otherwise.
    """

    version: tuple[int, int]
    particles: str
    output: str
    diameter_angst: float
    seed: int
    threads: int
    gpu: str | None
    phase_flipped: bool
    quick: bool

    def first(self, program: Sequence[str]) -> list[str]:
        """How the line begins."""
        return [*program, "--i", self.particles, "--o", self.output]

    def rest(self, *, symmetry: str, healpix_order: int, padding: int) -> list[str]:
        """How it ends."""
        line = ["--particle_diameter", f"{self.diameter_angst:g}", "--flatten_solvent"]
        line += ["--zero_mask", "--ctf"]
        if self.phase_flipped:
            line += ["--ctf_phase_flipped"]
        line += ["--sym", symmetry, "--oversampling", "1", "--healpix_order", str(healpix_order)]
        line += ["--offset_range", "6", "--offset_step", "2"]
        line += ["--dont_combine_weights_via_disc", "--pool", "30"]
        line += ["--pad", "1" if self.quick else str(padding)]
        if self.quick:
            line += ["--maxsig", "50"]
            if self.version < GRADIENT_VERSION:
                line += ["--skip_gridding"]
        line += ["--random_seed", str(self.seed), "--j", str(self.threads)]
        return line if self.gpu is None else [*line, "--gpu", self.gpu]

    def referenced(self, references: str, low_pass_angst: float) -> list[str]:
        """References that are corrected for the CTF, but not on RELION's grey scale."""
        line = ["--ref", references, "--firstiter_cc", "--ini_high", f"{low_pass_angst:g}"]
        return line if self.version >= GRADIENT_VERSION else [*line, "--ctf_corrected_ref"]


def initial_model_command(
    program: Sequence[str], common: Common, *, volumes: int, schedule: SgdSchedule, iterations: int
) -> list[str]:
    """Volumes from nothing.

    Parameters
    ----------
    schedule : of SGD, before version 4.0; iterations : mini-batches of VDAM, from then on.
    """
    line = [*common.first(program), "--denovo_3dref"]
    if common.version >= GRADIENT_VERSION:
        line += ["--grad", "--iter", str(iterations), "--grad_write_iter", str(iterations)]
        line += ["--auto_sampling", "--tau2_fudge", "4"]
    else:
        line += ["--sgd", "--sgd_write_iter", str(schedule.batches)]
        line += ["--sgd_ini_iter", str(schedule.first), "--sgd_fin_iter", str(schedule.last)]
        line += ["--sgd_inbetween_iter", str(schedule.middle)]
        line += ["--sgd_ini_resol", f"{schedule.first_angst:g}"]
        line += ["--sgd_fin_resol", f"{schedule.last_angst:g}"]
        line += ["--sgd_ini_subset", str(schedule.first_particles)]
        line += ["--sgd_fin_subset", str(schedule.last_particles)]
    line += ["--K", str(volumes)]
    return line + common.rest(symmetry="C1", healpix_order=1, padding=1)


def class3d_command(
    program: Sequence[str],
    common: Common,
    *,
    references: str,
    volumes: int,
    iterations: int,
    low_pass_angst: float,
    symmetry: str,
) -> list[str]:
    """Particles sorted among references, by expectation-maximisation.

    Parameters
    ----------
    references : STAR file of them, or the one volume that all classes begin with.
    """
    line = [*common.first(program), *common.referenced(references, low_pass_angst)]
    line += ["--iter", str(iterations), "--K", str(volumes), "--tau2_fudge", "4"]
    line += ["--norm", "--scale"]
    order = 1 if common.quick else 2
    return line + common.rest(symmetry=symmetry, healpix_order=order, padding=2)


def refine3d_command(
    program: Sequence[str],
    common: Common,
    *,
    reference: str,
    low_pass_angst: float,
    symmetry: str,
) -> list[str]:
    """Gold-standard refinement.

    Parameters
    ----------
    program : begins with what starts the processes, such as `mpirun -n 3`.
    reference : volume.
    """
    line = [*common.first(program), *common.referenced(reference, low_pass_angst)]
    line += ["--auto_refine", "--split_random_halves", "--low_resol_join_halves", "40"]
    line += ["--auto_ignore_angles", "--auto_resol_angles"]
    line += ["--auto_local_healpix_order", "3" if common.quick else "4"]
    line += ["--norm", "--scale"]
    return line + common.rest(symmetry=symmetry, healpix_order=2, padding=2)
