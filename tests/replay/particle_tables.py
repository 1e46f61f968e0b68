"""True-to-life tables of particles, written as text: a session has millions of rows."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.files import write_text
from cryosnake.particles.table import PARTICLE_COLUMNS
from cryosnake.stages.files import COORDINATES

_MOST = 1000
_SIDE_PX = 4000
_OPTICS = {
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnOpticsGroup": 1,
    "rlnVoltage": "300.000000",
    "rlnSphericalAberration": "2.700000",
    "rlnAmplitudeContrast": "0.100000",
    "rlnMicrographOriginalPixelSize": "0.830000",
    "rlnMicrographPixelSize": "0.830000",
    "rlnImagePixelSize": "4.000000",
    "rlnImageSize": 64,
    "rlnImageDimensionality": 2,
    "rlnCtfDataAreCtfPremultiplied": 0,
    "csnPhaseFlipped": 0,
}
#: What a 2D classification adds to a particle.
CLASSIFIED = ["rlnClassNumber", "csnLogEvidence"]


def loop(block: str, columns: list[str], lines: list[str]) -> str:
    """A loop of a STAR file."""
    labels = "".join(f"_{name} #{i}\n" for i, name in enumerate(columns, start=1))
    rows = "\n".join(lines)
    return f"data_{block}\n\nloop_\n{labels}{rows}\n\n\n"


def write_coordinates(path: Path, counts: pd.DataFrame) -> None:
    """Coordinates of micrographs.

    Parameters
    ----------
    counts : `micrograph` and `picks`.
    """
    lines = [
        f"{name}\t{place}\t2.100000"
        for name, number in zip(counts["micrograph"], counts["picks"], strict=True)
        for place in _places()[:number]
    ]
    write_text(path, loop("coordinates", COORDINATES, lines))


def write_particles(path: Path, stack: str, micrographs: pd.DataFrame) -> None:
    """The particles of a batch.

    Parameters
    ----------
    stack : name of their images.
    micrographs : `micrograph`, `extracted`, and their defocus.
    """
    lines, index = [], 0
    for row in micrographs.itertuples():
        ctf = f"{row.rlnDefocusU:.6f}\t{row.rlnDefocusV:.6f}\t{row.rlnDefocusAngle:.6f}"
        tail = f"0.000000\t0.000000\t{ctf}\t0.000000\t4.000000\t0.200000\t2.100000"
        tail += "\t1.000000\t0.800000\t3.000000\t210.000000\t-"
        for place in _places()[: row.extracted]:
            index += 1
            lines.append(f"{index:06d}@{stack}\t{row.micrograph}\t1\t{place}\t{tail}")
    optics = loop("optics", list(_OPTICS), ["\t".join(str(v) for v in _OPTICS.values())])
    write_text(path, optics + loop("particles", PARTICLE_COLUMNS, lines))


def write_assigned(path: Path, particles: Path, classes: int) -> int:
    """The particles of a batch assigned to classes; returns how many."""
    _, columns, lines = split(particles)
    name, micrograph = columns.index("rlnImageName"), columns.index("rlnMicrographName")
    values = (line.split("\t", micrograph + 1) for line in lines)
    assigned = [
        f"{v[name]}\t{v[micrograph]}\t{1 + i * 7 % classes}\t41.500000"
        for i, v in enumerate(values)
    ]
    general = "data_general\n\n_csnProblem\t\t\t-\n\n\n"
    labels = ["rlnImageName", "rlnMicrographName", *CLASSIFIED]
    write_text(path, general + loop("particles", labels, assigned))
    return len(assigned)


def write_classified(path: Path, particles: Path, classes: int) -> int:
    """A table of particles with the class of each; returns how many there are."""
    head, columns, lines = split(particles)
    lines = [f"{line}\t{1 + i * 7 % classes}\t41.500000" for i, line in enumerate(lines)]
    write_text(path, head + loop("particles", [*columns, *CLASSIFIED], lines))
    return len(lines)


def write_part(path: Path, particles: Path, share: float, most: int) -> int:
    """The first particles of a table; returns how many."""
    head, columns, lines = split(particles)
    part = lines[: min(most, round(share * len(lines)))]
    write_text(path, head + loop("particles", columns, part))
    return len(part)


def split(path: Path) -> tuple[str, list[str], list[str]]:
    """What stands before the particles of a table, their columns, and their lines."""
    head, _, rest = Path(path).read_text().partition("data_particles\n")
    columns, lines = [], []
    for line in rest.split("\n"):
        if line.startswith("_"):
            columns.append(line.split()[0][1:])
        elif line and line != "loop_":
            lines.append(line)
    return head, columns, lines


@lru_cache(maxsize=1)
def _places() -> list[str]:
    places = np.random.default_rng(0).uniform(100, _SIDE_PX - 100, (_MOST, 2))
    return [f"{x:.6f}\t{y:.6f}" for x, y in places]
