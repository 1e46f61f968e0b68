"""Particles that a STAR file lists: RELION 3.1's optics and particles, with paths made absolute."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cryosnake.columns import COLUMNS
from cryosnake.errors import BadInputError
from cryosnake.given.files import project_folder
from cryosnake.no_ctf import NO_CTF
from cryosnake.tables import read_table

_OPTICS = ("rlnVoltage", "rlnImagePixelSize", "rlnImageSize", "rlnOpticsGroup")
_OPTICS_CTF = ("rlnSphericalAberration", "rlnAmplitudeContrast")
_PARTICLES = ("rlnImageName", "rlnOpticsGroup")
_PARTICLES_CTF = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@dataclass(frozen=True)
class GivenParticles:
    """A particle table, as it is taken in.

    Parameters
    ----------
    optics, particles : its blocks; `rlnImageName` has absolute paths, and `rlnMicrographName` is
        there, `-` where the table does not say. Without a CTF, it is 1 everywhere.
    """

    optics: pd.DataFrame
    particles: pd.DataFrame

    @property
    def stacks(self) -> list[str]:
        """The image stacks, in order of first appearance."""
        return list(dict.fromkeys(name.partition("@")[2] for name in self.particles.rlnImageName))


def read_given_particles(path: Path, *, ctf: bool) -> GivenParticles:
    """Read a table of particles that another program made.

    Parameters
    ----------
    ctf : False: the images are taken as they are, whatever the table says of a CTF.

    Raises
    ------
    BadInputError : no optics or no particles, a column is missing, images that have been multiplied
        by the CTF, volumes for images, or a stack that is not there.
    """
    path = Path(os.path.abspath(path))
    optics, particles = read_table(path, "optics"), read_table(path, "particles")
    wanted = (
        ("optics", optics, (*_OPTICS, *(_OPTICS_CTF if ctf else ()))),
        ("particles", particles, (*_PARTICLES, *(_PARTICLES_CTF if ctf else ()))),
    )
    for block, table, columns in wanted:
        for column in columns:
            if column not in table:
                hint = "; or ctf.fit: false" if column in (*_OPTICS_CTF, *_PARTICLES_CTF) else ""
                raise BadInputError(path, f"data_{block} has no column {column}", f"one{hint}")
    if particles.empty:
        raise BadInputError(path, "holds no particle", "at least one")
    for column, good, what in (
        ("rlnCtfDataAreCtfPremultiplied", 0, "images that are not multiplied by their CTF"),
        ("rlnImageDimensionality", 2, "two-dimensional images"),
    ):
        if column in optics and (optics[column].astype(float) != good).any():
            raise BadInputError(path, f"{column} is not {good}", what)
    particles = _with_paths(path, particles)
    if not ctf:
        values = {c: NO_CTF[c] for c in NO_CTF if c in _OPTICS_CTF}
        optics = optics.assign(**values)
        particles = particles.assign(**{c: NO_CTF[c] for c in NO_CTF if c not in values})
    return GivenParticles(_known(optics), _known(particles))


def _with_paths(path: Path, particles: pd.DataFrame) -> pd.DataFrame:
    parts = particles["rlnImageName"].astype(str).str.extract(r"^(?P<number>\d+)@(?P<stack>.+)$")
    if parts["stack"].isna().any():
        name = particles.loc[parts["stack"].isna(), "rlnImageName"].iloc[0]
        raise BadInputError(path, f"rlnImageName = {name}", "000001@path/of/stack.mrcs")
    given = list(parts["stack"].unique())
    folder = project_folder(path, given)
    placed = {stack: os.path.normpath(folder / stack) for stack in given}
    for stack, place in placed.items():
        if not os.path.exists(place):
            raise BadInputError(
                path, f"names {stack}, and there is no {place}", "a stack of images"
            )
    names = parts["number"].str.zfill(6) + "@" + parts["stack"].map(placed)
    micrographs = particles.get("rlnMicrographName", pd.Series("-", index=particles.index))
    return particles.assign(rlnImageName=names, rlnMicrographName=micrographs.fillna("-"))


def _known(table: pd.DataFrame) -> pd.DataFrame:
    """Without `csn` columns of another version, which could not be written."""
    return table.drop(columns=[c for c in table if c.startswith("csn") and c not in COLUMNS])
