"""A job of RELION in three dimensions: its program asked for its version, its input written."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cryosnake.engines.command import engine_environment, split_command
from cryosnake.engines.relion_command import GRADIENT_VERSION, relion_version
from cryosnake.engines.relion_command3d import Common
from cryosnake.engines.relion_input import GivenParticles, write_input
from cryosnake.engines.relion_run import Read, prepared, run_relion

#: What RELION is not to know of earlier results: it would keep them where it has no better ones.
EARLIER = (
    "rlnClassNumber",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnMaxValueProbDistribution",
    "rlnRandomSubset",
)


class Job3d:
    """A program and its particles.

    Parameters
    ----------
    particles_star : optics and particles, of one image size and pixel size.
    folder : made if missing; `run_*` of an earlier attempt are removed.
    work_dir : where rlnImageName is relative to, and RELION runs.
    command : the program, with arguments where it needs some.
    least : so many usable particles are needed.
    threads, gpu : as RELION takes them; gpu None: CPU.

    Attributes
    ----------
    program, text, version : how it is started; its version as text and as (major, minor).
    given : the particles.

    Raises
    ------
    BadInputError : RELION cannot take this input.
    EngineError : there is no such program, or it is not RELION 3.1 or later.
    """

    def __init__(
        self,
        particles_star: Path,
        folder: Path,
        work_dir: Path,
        command: str,
        *,
        least: int,
        threads: int,
        gpu: str | None,
    ):
        self.folder, self.work_dir = Path(folder), Path(work_dir)
        self.threads, self.gpu = threads, gpu
        self.program = split_command(command)
        self.text, self.version = relion_version(self.program)
        prepared(self.folder)
        self.given: GivenParticles = write_input(
            particles_star,
            self.folder / "input.star",
            work_dir=self.work_dir,
            least=least,
            half_precision=self.version >= GRADIENT_VERSION,
            without=EARLIER,
        )

    def path(self, file: Path) -> str:
        """A file of the job, from where RELION runs."""
        return os.path.relpath(file, self.work_dir)

    def common(self, diameter_angst: float, seed: int, quick: bool | None) -> Common:
        """What every command line holds; quick None: without a GPU."""
        return Common(
            version=self.version,
            particles=self.path(self.folder / "input.star"),
            output=self.path(self.folder / "run"),
            diameter_angst=diameter_angst,
            seed=seed,
            threads=self.threads,
            gpu=self.gpu,
            phase_flipped=self.given.phase_flipped,
            quick=self.gpu is None if quick is None else quick,
        )

    def run(self, line: Sequence[str], read: Callable[[], Read]) -> Read:
        """Run a command line; see `run_relion`."""
        environment = engine_environment(self.threads, hide_gpus=self.gpu is None)
        if os.geteuid() == 0:  # in containers; Open MPI refuses it otherwise
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return run_relion(
            line, read, folder=self.folder, work_dir=self.work_dir, environment=environment
        )
