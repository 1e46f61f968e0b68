"""Between particle tables and the classification: what goes in, and what comes out, as columns."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ClassAverages, ParticlePoses
from cryosnake.errors import BadInputError
from cryosnake.particles.table import read_particles, stack_path

_OF_PARTICLES = ["rlnImageName", "rlnOpticsGroup", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
_OF_OPTICS = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
_OF_IMAGES = ["rlnImagePixelSize", "rlnImageSize"]
#: The table of the classes, as an engine leaves it.
CLASS_COLUMNS = (
    "rlnReferenceImage",
    "rlnClassDistribution",
    "csnClassPopulation",
    "rlnEstimatedResolution",
    "rlnAccuracyRotations",
    "rlnAccuracyTranslationsAngst",
    "csnClassEvidence",
    "csnClassContrast",
    "csnClassProbability",
)
#: RELION's way to say that a resolution or an accuracy is not known.
UNKNOWN = 999.0


@dataclass(frozen=True)
class ParticleInput:
    """Particles of a table, as `classify2d` takes them.

    Parameters
    ----------
    groups, table : the blocks `optics` and `particles`.
    source : list of (path, indices from 0), in the order of the table.
    """

    groups: pd.DataFrame
    table: pd.DataFrame
    source: list[tuple[Path, np.ndarray]]
    optics: Optics
    pixel_size_angst: float
    box_px: int


def read_input(path: Path, folder: Path) -> ParticleInput:
    """Read a particle table and what a classification needs of it; see `particle_input`."""
    return particle_input(path, *read_particles(path), folder)


def particle_input(
    path: Path, groups: pd.DataFrame, table: pd.DataFrame, folder: Path
) -> ParticleInput:
    """What a classification needs of a particle table.

    Parameters
    ----------
    path : of the table, for messages.
    groups, table : its blocks `optics` and `particles`.
    folder : what the stacks in `rlnImageName` are relative to.

    Raises
    ------
    BadInputError : a column is missing or not a number everywhere, optics groups of different
        images or microscopes, or no particle.
    """
    if table.empty:
        raise BadInputError(path, "no particle", "at least one")
    for block, columns, name in ((groups, _OF_OPTICS + _OF_IMAGES, "optics"),
                                 (table, _OF_PARTICLES, "particles")):  # fmt: skip
        for column in columns:
            if column not in block:
                raise BadInputError(path, f"data_{name} has no column {column}", "one")
    used = groups[groups["rlnOpticsGroup"].isin(table["rlnOpticsGroup"])]
    for column in _OF_OPTICS + _OF_IMAGES + ["csnPhaseFlipped"]:
        values = used.get(column, pd.Series([0.0])).astype(float).round(6).unique()
        if len(values) != 1 or not np.isfinite(values[0]):
            raise BadInputError(
                path, f"{column} = {', '.join(map(str, values))} in the optics groups", "one value"
            )
    first = used.iloc[0]
    for column in _OF_PARTICLES[2:]:
        bad = ~np.isfinite(pd.to_numeric(table[column], errors="coerce"))
        if bad.any():
            name = table.loc[bad, "rlnImageName"].iloc[0]
            raise BadInputError(
                path, f"{column} of {int(bad.sum())} particles, as of {name}", "a number"
            )
    phase = table["rlnPhaseShift"].to_numpy(float) if "rlnPhaseShift" in table else None
    return ParticleInput(
        groups=groups,
        table=table,
        source=_source(table["rlnImageName"], Path(folder)),
        optics=Optics(
            *(table[c].to_numpy(float) for c in _OF_PARTICLES[2:]),
            voltage_kv=float(first["rlnVoltage"]),
            cs_mm=float(first["rlnSphericalAberration"]),
            amplitude_contrast=float(first["rlnAmplitudeContrast"]),
            phase_shift_deg=phase,
            phase_flipped=bool(first.get("csnPhaseFlipped", 0)),
        ),
        pixel_size_angst=float(first["rlnImagePixelSize"]),
        box_px=int(first["rlnImageSize"]),
    )


def _source(names: pd.Series, folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Stacks and indices, one pair for each run of particles of the same stack."""
    numbers, paths = zip(*(stack_path(name) for name in names), strict=True)
    paths = pd.Series(paths)
    run = (paths != paths.shift()).cumsum()
    indices = np.asarray(numbers) - 1
    return [
        (folder / paths[rows[0]], indices[rows])
        for rows in (np.asarray(one) for one in run.groupby(run).groups.values())
    ]


def assignment_columns(poses: ParticlePoses) -> dict[str, np.ndarray]:
    """What a classification knows of each particle, as columns of its table.

    `rlnClassNumber` counts from 1; it is 0 for images that cannot be used.
    """
    return {
        "rlnClassNumber": poses.class_index + 1,
        "rlnAnglePsi": poses.psi_deg,
        "rlnOriginXAngst": poses.origin_x_angst,
        "rlnOriginYAngst": poses.origin_y_angst,
        "rlnMaxValueProbDistribution": poses.probability,
        "csnLogEvidence": poses.log_evidence,
        "csnParticleScale": poses.contrast,
    }


def reference_images(stack_name: str, number: int) -> list[str]:
    """Names of the images of a stack, as `rlnReferenceImage` has them."""
    return [f"{index + 1:06d}@{stack_name}" for index in range(number)]


def class_table(classes: ClassAverages, particles: pd.DataFrame, stack_name: str) -> pd.DataFrame:
    """One row a class.

    Parameters
    ----------
    particles : with the columns of `assignment_columns`, of all particles of the classes.
    stack_name : of the file with the averages.
    """
    means = particles.groupby("rlnClassNumber")[
        ["csnLogEvidence", "csnParticleScale", "rlnMaxValueProbDistribution"]
    ].mean()
    means = means.reindex(range(1, len(classes) + 1))

    def known(values: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(values), values, UNKNOWN)

    columns = (
        reference_images(stack_name, len(classes)),
        classes.share,
        classes.population.astype(int),
        known(classes.resolution_angst),
        known(classes.accuracy_rotation_deg),
        known(classes.accuracy_shift_angst),
        means["csnLogEvidence"].to_numpy(),
        means["csnParticleScale"].to_numpy(),
        means["rlnMaxValueProbDistribution"].to_numpy(),
    )
    return pd.DataFrame(dict(zip(CLASS_COLUMNS, columns, strict=True)))


def mask_diameter_angst(wanted_angst: float, box_px: int, pixel_size_angst: float) -> float:
    """The diameter wanted, or the largest that leaves a soft edge and background in the box."""
    return min(wanted_angst, math.floor(box_px - 6) * pixel_size_angst)
