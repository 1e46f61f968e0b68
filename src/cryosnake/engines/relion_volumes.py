"""RELION's initial model and 3D classification as engines.

The initial model is found by stochastic gradient descent with RELION 3.1, by the gradient algorithm
VDAM with 4.0 and later. Classification is by expectation-maximisation.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.engines.relion_command import GRADIENT_VERSION
from cryosnake.engines.relion_command3d import (
    SgdSchedule,
    class3d_command,
    initial_model_command,
)
from cryosnake.engines.relion_input import GivenParticles, write_volume_references
from cryosnake.engines.relion_job3d import Job3d
from cryosnake.engines.relion_output import read_classes
from cryosnake.engines.relion_output3d import read_poses, read_volumes
from cryosnake.engines.relion_run import keep_iteration
from cryosnake.errors import BadInputError
from cryosnake.tables import write_star

#: Mini-batches of VDAM, as RELION's own job has them.
VDAM_ITERATIONS = 200


@dataclass(frozen=True)
class RelionVolumes:
    """K volumes of N particles.

    Parameters
    ----------
    volumes : (K, n, n, n) float32 in the particles' box, (z, y, x); 0 for empty classes.
    table : K rows: rlnReferenceImage (RELION's own file), rlnClassDistribution (share of the
        posterior weight), csnVolumePopulation (particles whose best class it is),
        rlnEstimatedResolution (angstrom; where the signal-to-noise falls below 1; 999: none),
        rlnAccuracyRotations, rlnAccuracyTranslationsAngst.
    particles : with the index and in the order of the input table: rlnClassNumber (from 1; 0: not
        given to RELION because it holds NaN or is constant, or in no mini-batch), rlnAngleRot,
        rlnAngleTilt, rlnAnglePsi, rlnOriginXAngst, rlnOriginYAngst, rlnMaxValueProbDistribution.
    command : what was run, as it can be pasted into a shell in the working folder.
    version : RELION's.
    """

    volumes: np.ndarray
    table: pd.DataFrame
    particles: pd.DataFrame
    command: str
    version: str


def initial_model(
    particles_star: Path,
    folder: Path,
    *,
    work_dir: Path,
    volumes: int,
    diameter_angst: float,
    seed: int,
    threads: int,
    gpu: str | None = None,
    command: str = "relion_refine",
    schedule: SgdSchedule | None = None,
    quick: bool | None = None,
) -> RelionVolumes:
    """Volumes of particles, from nothing and without symmetry. The hand is arbitrary.

    Parameters
    ----------
    particles_star : optics and particles, of one image size and pixel size.
    folder : for RELION's files; those of an earlier attempt are removed, and in the end all but the
        last iteration's.
    work_dir : where rlnImageName is relative to, and RELION runs.
    diameter_angst : of the circular mask.
    threads : RELION's `--j`.
    gpu : devices as RELION's `--gpu` takes them, "" for all that are visible; None: CPU.
    command : the program, with arguments where it needs some (a container, say).
    schedule : of gradient descent with RELION 3.1; None: that of its own job. VDAM always takes 200
        mini-batches.
    quick : see `relion_command3d.Common`; None: without a GPU.

    Raises
    ------
    BadInputError : RELION cannot take this input; told before it starts.
    EngineError : RELION is missing, fails, or its output does not fit the input.
    """
    job = Job3d(particles_star, folder, work_dir, command, least=volumes, threads=threads, gpu=gpu)
    schedule = schedule or SgdSchedule()
    gradient = job.version >= GRADIENT_VERSION
    iterations = VDAM_ITERATIONS if gradient else schedule.batches
    line = initial_model_command(
        job.program,
        job.common(diameter_angst, seed, quick),
        volumes=volumes,
        schedule=schedule,
        iterations=iterations,
    )
    return _result(job, line, iterations, volumes, some_unseen=True)


def classify3d(
    particles_star: Path,
    folder: Path,
    *,
    work_dir: Path,
    references: Sequence[np.ndarray | str | os.PathLike],
    diameter_angst: float,
    seed: int,
    threads: int,
    low_pass_angst: float | None = None,
    volumes: int | None = None,
    iterations: int = 25,
    symmetry: str = "C1",
    gpu: str | None = None,
    command: str = "relion_refine",
    quick: bool | None = None,
) -> RelionVolumes:
    """Sort particles among volumes, which are refined on the way; in the order of the references.

    Parameters
    ----------
    references : (n, n, n) volumes in the particles' box, or MRC files of such at their pixel size;
        on any grey scale. RELION gets copies of them.
    low_pass_angst : to which they are cut at the start; None: a sixth of the diameter.
    volumes : number of classes, where there is one reference: RELION sorts the particles into so
        many at random at first. None: one for each reference.
    symmetry : point group.

    The others, and what is raised, are those of `initial_model`.
    """
    volumes = len(references) if volumes is None else volumes
    if len(references) not in (1, volumes):
        raise BadInputError(None, f"{len(references)} references", f"1 or {volumes}")
    job = Job3d(particles_star, folder, work_dir, command, least=volumes, threads=threads, gpu=gpu)
    files = write_volume_references(references, job.folder, job.given)
    given = files[0]
    if len(files) > 1:
        given = job.folder / "references.star"
        names = [job.path(file) for file in files]
        write_star(given, {"": pd.DataFrame({"rlnReferenceImage": names})})
    line = class3d_command(
        job.program,
        job.common(diameter_angst, seed, quick),
        references=job.path(given),
        volumes=volumes,
        iterations=iterations,
        low_pass_angst=diameter_angst / 6.0 if low_pass_angst is None else low_pass_angst,
        symmetry=symmetry,
    )
    return _result(job, line, iterations, volumes)


def _result(
    job: Job3d, line: list[str], iterations: int, volumes: int, *, some_unseen: bool = False
) -> RelionVolumes:
    """Run it, and read and keep its last iteration."""
    last = f"run_it{iterations:03d}"
    found, table, particles = job.run(
        line,
        lambda: read_result(job.folder / last, job.given, volumes, some_unseen=some_unseen),
    )
    keep_iteration(job.folder, last)
    return RelionVolumes(
        volumes=found,
        table=table,
        particles=particles.reindex(job.given.index, fill_value=0),
        command=shlex.join(line),
        version=job.text,
    )


def read_result(
    root: Path, given: GivenParticles, volumes: int, *, some_unseen: bool = False
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Volumes, table and particles (as in `RelionVolumes`) of a finished iteration.

    Parameters
    ----------
    root : of the iteration's files, such as `relion/run_it025`.
    some_unseen : particles may have no class.

    Raises
    ------
    BadInputError : a file is missing or does not fit.
    """
    particles = read_poses(
        Path(f"{root}_data.star"), given.names, volumes, given.box_angst, some_unseen=some_unseen
    )
    population = np.bincount(particles["rlnClassNumber"], minlength=volumes + 1)[1:]
    if not population.any():
        raise BadInputError(f"{root}_data.star", "no particle has a class", "classes 1 to K")
    table = read_classes(Path(f"{root}_model.star"), volumes)
    table.insert(2, "csnVolumePopulation", population)
    found = read_volumes(root, population, given.box_px, given.pixel_size_angst)
    return found, table, particles
