"""RELION's auto-refinement as an engine: gold-standard half maps from one reference."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.engines.command import split_command
from cryosnake.engines.relion_command3d import refine3d_command
from cryosnake.engines.relion_input import GivenParticles, write_volume_references
from cryosnake.engines.relion_job3d import Job3d
from cryosnake.engines.relion_output3d import read_poses, read_resolution, read_volume

#: Files of the half maps, as relion_postprocess wants them.
HALVES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")


@dataclass(frozen=True)
class RelionRefined:
    """A refined volume of N particles.

    Parameters
    ----------
    volume : (n, n, n) float32 of all particles in their box, (z, y, x), filtered by RELION.
    halves : (2, n, n, n) float32, unfiltered.
    half_files : where RELION has written them.
    particles : with the index and in the order of the input table: rlnClassNumber (1; 0: not given
        to RELION because it holds NaN or is constant), rlnAngleRot, rlnAngleTilt, rlnAnglePsi,
        rlnOriginXAngst, rlnOriginYAngst, rlnMaxValueProbDistribution, rlnRandomSubset (1 or 2; 0:
        not given).
    resolution_angst : of the half maps without a mask, at FSC 0.143; inf: none.
    command : what was run, as it can be pasted into a shell in the working folder.
    version : RELION's.
    """

    volume: np.ndarray
    halves: np.ndarray
    half_files: tuple[Path, Path]
    particles: pd.DataFrame
    resolution_angst: float
    command: str
    version: str


def auto_refine(
    particles_star: Path,
    folder: Path,
    *,
    work_dir: Path,
    reference: np.ndarray | str | os.PathLike,
    low_pass_angst: float,
    diameter_angst: float,
    seed: int,
    threads: int,
    symmetry: str = "C1",
    gpu: str | None = None,
    command: str = "relion_refine_mpi",
    mpi: str = "mpirun --oversubscribe -n 3",
    quick: bool | None = None,
) -> RelionRefined:
    """Refine a volume against two half sets of particles.

    Parameters
    ----------
    particles_star : optics and particles, of one image size and pixel size.
    folder : for RELION's files; those of an earlier attempt are removed, and in the end those of
        all iterations.
    work_dir : where rlnImageName is relative to, and RELION runs.
    reference : (n, n, n) volume in the particles' box, or an MRC file of such at their pixel size;
        on any grey scale.
    low_pass_angst : to which it is cut.
    diameter_angst : of the circular mask.
    threads : of each process (RELION's `--j`).
    symmetry : point group.
    gpu : devices as RELION's `--gpu` takes them, "" for all that are visible; None: CPU.
    command : the program, with arguments where it needs some (a container, say).
    mpi : starts an odd number of processes, at least three: one leads, and hardly works.
    quick : see `relion_command3d.Common`; None: without a GPU.

    Raises
    ------
    BadInputError : RELION cannot take this input; told before it starts.
    EngineError : RELION or MPI is missing, fails, or its output does not fit the input.
    """
    starter = split_command(mpi)
    job = Job3d(particles_star, folder, work_dir, command, least=2, threads=threads, gpu=gpu)
    (file,) = write_volume_references([reference], job.folder, job.given)
    line = refine3d_command(
        [*starter, *job.program],
        job.common(diameter_angst, seed, quick),
        reference=job.path(file),
        low_pass_angst=low_pass_angst,
        symmetry=symmetry,
    )
    volume, halves, particles, resolution_angst = job.run(
        line, lambda: read_refined(job.folder, job.given)
    )
    for stale in job.folder.glob("run_it*"):
        stale.unlink()
    return RelionRefined(
        volume=volume,
        halves=halves,
        half_files=(job.folder / HALVES[0], job.folder / HALVES[1]),
        particles=particles.reindex(job.given.index, fill_value=0),
        resolution_angst=resolution_angst,
        command=shlex.join(line),
        version=job.text,
    )


def read_refined(
    folder: Path, given: GivenParticles
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, float]:
    """Volume, halves, particles and resolution (as in `RelionRefined`) of a finished refinement.

    Raises
    ------
    BadInputError : a file is missing, as when it did not converge, or does not fit.
    """
    sizes = (given.box_px, given.pixel_size_angst)
    particles = read_poses(folder / "run_data.star", given.names, 1, given.box_angst, halves=True)
    resolution_angst = read_resolution(
        folder / "run_model.star",
        "model_general",
        "rlnCurrentResolution",
        finest_angst=1.99 * given.pixel_size_angst,
    )
    halves = np.stack([read_volume(folder / name, *sizes) for name in HALVES])
    return read_volume(folder / "run_class001.mrc", *sizes), halves, particles, resolution_angst
