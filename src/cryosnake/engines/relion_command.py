"""The command line of RELION's 2D classification, for each of its versions.

Those of 4 and 5 are what their own job "2D classification" runs (`relion_refine --help`, and the
job's note.txt); only 3.1.3 was at hand to run.
"""

import shlex
import subprocess

from cryosnake.engines.command import EngineError
from cryosnake.engines.relion_output import parse_version

#: The first version that has the gradient algorithm VDAM (Kimanius 2021), re-centres classes and
#: reads 16-bit stacks.
GRADIENT_VERSION = (4, 0)


def relion_version(program: list[str]) -> tuple[str, tuple[int, int]]:
    """Version of a RELION program, as text and as (major, minor).

    Raises
    ------
    EngineError : it does not answer like RELION, or is older than 3.1, which has no optics groups.
    """
    command = [*program, "--version"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(
            f"{program[0]} does not run ({error})", shlex.join(command), None, ""
        ) from error
    printed = done.stdout + done.stderr
    found = parse_version(printed)
    if found is None or found[1] < (3, 1):
        problem = "does not say its version" if found is None else f"is version {found[0]}"
        raise EngineError(
            f"{program[0]} {problem}; RELION 3.1 or later is needed",
            shlex.join(command),
            done.returncode,
            printed[-1000:],
        )
    return found


def class2d_command(
    program: list[str],
    version: tuple[int, int],
    *,
    particles: str,
    output: str,
    classes: int,
    iterations: int,
    diameter_angst: float,
    seed: int,
    threads: int,
    gpu: str | None,
    references: str | None,
    phase_flipped: bool,
    vdam: bool,
) -> list[str]:
    """The command line of a classification; paths are relative to where it runs.

    Parameters
    ----------
    output : root of the names of what it writes, such as `Class2D/run`.
    gpu : devices as `--gpu` takes them, "" for all; None: no GPU.
    references : STAR file of the averages to start from.
    """
    gradient_version = version >= GRADIENT_VERSION
    command = [*program, "--i", particles, "--o", output]
    if vdam:
        command += ["--grad", "--class_inactivity_threshold", "0.1", "--grad_write_iter", "10"]
    command += ["--iter", str(iterations), "--K", str(classes), "--tau2_fudge", "2"]
    command += ["--particle_diameter", f"{diameter_angst:g}", "--flatten_solvent", "--zero_mask"]
    command += ["--ctf"]
    if phase_flipped:
        command += ["--ctf_phase_flipped"]
    if gradient_version:
        command += ["--center_classes"]
    command += ["--oversampling", "1", "--psi_step", "12", "--offset_range", "5"]
    command += ["--offset_step", "2", "--norm", "--scale", "--pad", "2", "--pool", "30"]
    command += ["--random_seed", str(seed), "--j", str(threads)]
    if references is not None:
        command += ["--ref", references]
        if not gradient_version:  # else it compares them without CTF; from 4.0 on the default
            command += ["--ctf_corrected_ref"]
        if not vdam:  # averages of another engine are not on RELION's grey scale
            command += ["--firstiter_cc"]
    if gpu is not None:
        command += ["--gpu", gpu]
    return command
