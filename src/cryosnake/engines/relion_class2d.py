"""RELION's 2D classification as an engine of the 2D rounds.

Expectation-maximisation with RELION 3.1, the gradient algorithm VDAM with 4.0 and later.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.engines.command import engine_environment, split_command
from cryosnake.engines.relion_command import GRADIENT_VERSION, class2d_command, relion_version
from cryosnake.engines.relion_input import write_input, write_references
from cryosnake.engines.relion_output import (
    read_assignments,
    read_averages,
    read_classes,
)
from cryosnake.engines.relion_run import keep_iteration, prepared, run_relion

#: Mini-batches of VDAM, as RELION's own jobs have them.
VDAM_ITERATIONS = 200


@dataclass(frozen=True)
class RelionResult:
    """A finished classification of N particles into K classes.

    Parameters
    ----------
    averages : (K, n, n) float32 in the particles' box; 0 for empty classes.
    classes : K rows with the columns of `averages.star`; rlnReferenceImage names RELION's own file.
        csnClassProbability is the mean of rlnMaxValueProbDistribution, which is of class and pose
        together, and 0 in empty classes. RELION has no csnClassEvidence and csnClassContrast: nan.
    particles : with the index and in the order of the input table: rlnClassNumber (0: the image
        holds NaN or is constant, and was kept from RELION), rlnAnglePsi, rlnOriginXAngst,
        rlnOriginYAngst, rlnMaxValueProbDistribution, and csnLogEvidence, csnParticleScale as nan.
    command : what was run, as it can be pasted into a shell in the working folder.
    version : RELION's.
    optimiser : `run_itNNN_optimiser.star`, which relion_class_ranker starts from.
    """

    averages: np.ndarray
    classes: pd.DataFrame
    particles: pd.DataFrame
    command: str
    version: str
    optimiser: Path


def classify(
    particles_star: Path,
    folder: Path,
    *,
    work_dir: Path,
    classes: int,
    diameter_angst: float,
    seed: int,
    threads: int,
    iterations: int = 25,
    gpu: str | None = None,
    command: str = "relion_refine",
    initial: Path | None = None,
    vdam: bool | None = None,
) -> RelionResult:
    """Classify particles with RELION.

    Parameters
    ----------
    particles_star : optics and particles, of one image size and pixel size.
    folder : for RELION's files; those of an earlier attempt are removed, and in the end all but the
        last iteration's.
    work_dir : where rlnImageName is relative to, and RELION runs.
    diameter_angst : of the circular mask.
    threads : RELION's `--j`.
    iterations : of expectation-maximisation; VDAM always takes 200 mini-batches.
    gpu : devices as RELION's `--gpu` takes them, "" for all that are visible; None: CPU.
    command : the program, with arguments where it needs some (a container, say).
    initial : averages (`classes`, n, n) to start from, in the particles' box.
    vdam : RELION's gradient algorithm; None: wherever there is one (4.0 and later).

    Raises
    ------
    BadInputError : RELION cannot take this input; told before it starts.
    EngineError : RELION is missing, fails, or its output does not fit the input.
    ValueError : VDAM is asked of a RELION that has none.
    """
    folder, work_dir = Path(folder), Path(work_dir)
    program = split_command(command)
    text, version = relion_version(program)
    has_vdam = version >= GRADIENT_VERSION
    if vdam and not has_vdam:
        raise ValueError(f"RELION {text} has no VDAM; it came with 4.0")
    vdam = has_vdam if vdam is None else vdam
    iterations = VDAM_ITERATIONS if vdam else iterations

    prepared(folder)
    given = write_input(
        particles_star,
        folder / "input.star",
        work_dir=work_dir,
        least=classes,
        half_precision=version >= GRADIENT_VERSION,
    )
    references = None
    if initial is not None:
        references = folder / "references.star"
        write_references(initial, references, work_dir=work_dir, classes=classes, given=given)
    line = class2d_command(
        program,
        version,
        particles=os.path.relpath(folder / "input.star", work_dir),
        output=os.path.relpath(folder / "run", work_dir),
        classes=classes,
        iterations=iterations,
        diameter_angst=diameter_angst,
        seed=seed,
        threads=threads,
        gpu=gpu,
        references=None if references is None else os.path.relpath(references, work_dir),
        phase_flipped=given.phase_flipped,
        vdam=vdam,
    )
    last = f"run_it{iterations:03d}"
    averages, table, assigned = run_relion(
        line,
        lambda: read_result(folder / last, given.names, classes=classes, box_angst=given.box_angst),
        folder=folder,
        work_dir=work_dir,
        environment=engine_environment(threads, hide_gpus=gpu is None),
    )
    keep_iteration(folder, last)
    return RelionResult(
        averages=averages,
        classes=table,
        particles=_with_unused(assigned, given.index),
        command=shlex.join(line),
        version=text,
        optimiser=folder / f"{last}_optimiser.star",
    )


def read_result(
    root: Path, names: pd.Series, *, classes: int, box_angst: float
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Averages, classes and assignments (as in `RelionResult`) of a finished iteration.

    Parameters
    ----------
    root : of the iteration's files, such as `relion/run_it025`.
    names : rlnImageName of the particles that RELION was given.

    Raises
    ------
    BadInputError : a file is missing or does not fit.
    """
    assigned = read_assignments(Path(f"{root}_data.star"), names, classes, box_angst)
    index = assigned["rlnClassNumber"].to_numpy() - 1
    population = np.bincount(index, minlength=classes)
    probability = np.bincount(index, assigned["rlnMaxValueProbDistribution"], minlength=classes)
    table = read_classes(Path(f"{root}_model.star"), classes).assign(
        csnClassPopulation=population,
        csnClassEvidence=np.nan,
        csnClassContrast=np.nan,
        csnClassProbability=probability / np.maximum(population, 1),
    )
    table.insert(2, "csnClassPopulation", table.pop("csnClassPopulation"))
    averages = read_averages(Path(f"{root}_classes.mrcs"), population)
    return averages, table, assigned


def _with_unused(assigned: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """All particles of the input, with class 0 for those that RELION was not given."""
    particles = assigned.reindex(index, fill_value=0)
    return particles.assign(csnLogEvidence=np.nan, csnParticleScale=np.nan)
