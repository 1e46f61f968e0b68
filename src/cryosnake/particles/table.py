"""Particle tables: the optics and particles blocks that RELION 3.1 and cryoSPARC read."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.tables import read_table, write_star

#: What an optics group of particles is made of, taken over from the micrographs' group.
OPTICS_COLUMNS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnMicrographOriginalPixelSize",
    "rlnMicrographPixelSize",
]
_NAMES = ["rlnOpticsGroupName", "rlnOpticsGroup"]

#: The columns of every particle table; others that the coordinates carry come behind.
PARTICLE_COLUMNS = [
    "rlnImageName",
    "rlnMicrographName",
    "rlnOpticsGroup",
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfMaxResolution",
    "rlnCtfFigureOfMerit",
    "rlnAutopickFigureOfMerit",
    "csnParticleContrast",
    "csnParticleSignalRatio",
    "csnParticleOffset_angst",
    "csnNeighbourDistance_angst",
    "csnParticleFlags",
]


def with_optics_groups(
    micrographs: pd.DataFrame, optics: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Micrographs that carry their optics both as a group and as columns, and the groups.

    Parameters
    ----------
    micrographs : with `rlnOpticsGroup`, or with columns of their own (`OPTICS_COLUMNS`).
    optics : the groups, one a row; None: rows of equal optics make a group.

    Raises
    ------
    KeyError : a column of the optics is missing.
    ValueError : a micrograph is in a group that is not listed.
    """
    micrographs = micrographs.reset_index(drop=True)
    if optics is None:
        keys = micrographs[OPTICS_COLUMNS].astype(float).round(6)
        number = keys.groupby(OPTICS_COLUMNS, sort=False, dropna=False).ngroup() + 1
        micrographs = micrographs.assign(rlnOpticsGroup=number)
        optics = keys.assign(rlnOpticsGroup=number).drop_duplicates("rlnOpticsGroup")
        optics.insert(0, "rlnOpticsGroupName", [f"opticsGroup{n}" for n in optics.rlnOpticsGroup])
        return micrographs, optics.reset_index(drop=True)
    unknown = set(micrographs["rlnOpticsGroup"]) - set(optics["rlnOpticsGroup"])
    if unknown:
        raise ValueError(f"{unknown = } optics groups; listed are {list(optics.rlnOpticsGroup)}")
    values = optics.set_index("rlnOpticsGroup")[OPTICS_COLUMNS]
    own = micrographs.drop(columns=[c for c in OPTICS_COLUMNS if c in micrographs])
    return own.join(values, on="rlnOpticsGroup"), optics.reset_index(drop=True)


def particle_optics(
    optics: pd.DataFrame, box_px: int, output_px: int, *, phase_flipped: bool
) -> pd.DataFrame:
    """The optics groups of particles: those of the micrographs, with the images' size."""
    return optics.assign(
        rlnImagePixelSize=optics["rlnMicrographPixelSize"] * box_px / output_px,
        rlnImageSize=output_px,
        rlnImageDimensionality=2,
        rlnCtfDataAreCtfPremultiplied=0,
        csnPhaseFlipped=int(phase_flipped),
    )


def empty_particles() -> pd.DataFrame:
    """A particle table without rows."""
    return pd.DataFrame({column: [] for column in PARTICLE_COLUMNS})


def write_particles(path: str | os.PathLike, optics: pd.DataFrame, particles: pd.DataFrame) -> None:
    """Write a particle table whole or not at all; without particles, with an empty loop.

    Readers of STAR give a table with columns and no rows for it; RELION's programs end with an
    error, as they have nothing to do with it.
    """
    write_star(path, {"optics": optics, "particles": particles})


def write_no_particles(path: str | os.PathLike) -> None:
    """Write a particle table without particles and optics groups: of a step without a result."""
    nothing = pd.DataFrame({"rlnImageName": [], "rlnClassNumber": []})
    write_particles(path, pd.DataFrame({"rlnOpticsGroup": []}), nothing)


def read_particles(path: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Optics groups and particles of a table that `write_particles` or RELION wrote."""
    return read_table(path, "optics"), read_table(path, "particles")


def merge_particles(
    tables: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join particle tables, one below the other; groups of the same name and values become one.

    Groups of one name whose values differ are kept apart, under a name with a number.

    Parameters
    ----------
    tables : optics and particles of each.
    """
    groups: dict[tuple, int] = {}
    optics_rows: list[dict] = []
    parts: list[pd.DataFrame] = []
    for optics, particles in tables:
        numbers = {}
        for row in optics.to_dict("records"):
            number = row.pop("rlnOpticsGroup")
            key = tuple(sorted((k, _comparable(v)) for k, v in row.items()))
            if key not in groups:
                groups[key] = len(groups) + 1
                optics_rows.append({**row, "rlnOpticsGroup": groups[key]})
            numbers[number] = groups[key]
        if len(particles):
            parts.append(particles.assign(rlnOpticsGroup=particles["rlnOpticsGroup"].map(numbers)))
    optics = pd.DataFrame(optics_rows)
    repeated = optics["rlnOpticsGroupName"].groupby(optics["rlnOpticsGroupName"]).cumcount()
    optics["rlnOpticsGroupName"] = [
        f"{name}_{n + 1}" if n else name
        for name, n in zip(optics["rlnOpticsGroupName"], repeated, strict=True)
    ]
    optics = optics[[*_NAMES, *(c for c in optics if c not in _NAMES)]]
    if not parts:
        return optics, empty_particles()
    return optics, pd.concat(parts, ignore_index=True)


def regroup_particles(
    optics: pd.DataFrame,
    particles: pd.DataFrame,
    micrographs: pd.DataFrame,
    micrograph_optics: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give particles the optics groups that their micrographs have now.

    A batch knows its own micrographs only; the groups by beam-image shift are found over the whole
    session, when a subset is frozen.

    Parameters
    ----------
    optics, particles : of one group, or of groups with equal images.
    micrographs, micrograph_optics : the blocks of the session's micrographs.

    Raises
    ------
    ValueError : a particle's micrograph is not listed, or the images of the groups differ in size,
        pixel size or treatment.
    """
    images = [c for c in optics if c not in micrograph_optics and c not in _NAMES]
    if len(optics[images].round(6).drop_duplicates()) > 1:
        raise ValueError(f"optics groups of different images: {optics[images].to_dict('list')}")
    number = micrographs.set_index("rlnMicrographName")["rlnOpticsGroup"]
    missing = set(particles["rlnMicrographName"]) - set(number.index)
    if missing:
        raise ValueError(f"{len(missing)} micrographs are not listed, as {min(missing)}")
    particles = particles.assign(rlnOpticsGroup=particles["rlnMicrographName"].map(number))
    used = micrograph_optics["rlnOpticsGroup"].isin(particles["rlnOpticsGroup"])
    first = optics.iloc[0]
    groups = micrograph_optics[used].assign(**{c: first[c] for c in images})
    return groups.reset_index(drop=True), particles


def _comparable(value):
    if isinstance(value, float | np.floating):
        return "nan" if np.isnan(value) else round(float(value), 6)
    return value


def stack_path(image_name: str) -> tuple[int, Path]:
    """The number from 1 and the stack of an `rlnImageName` such as `000012@stack.mrcs`."""
    number, _, path = image_name.partition("@")
    if not path or not number.isdigit():
        raise ValueError(f"{image_name = } is not of the form 000001@stack.mrcs")
    return int(number), Path(path)
