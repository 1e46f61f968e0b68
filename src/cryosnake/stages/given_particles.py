"""A session that starts from particles: their size, and each batch as the later stages read it."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.files import written_whole
from cryosnake.images import write_png
from cryosnake.particles.normalise import normalised
from cryosnake.particles.optics import ParticleCtf
from cryosnake.particles.rescale import rescaled
from cryosnake.particles.size import MeasuredSize, measure_particles
from cryosnake.particles.size_picture import draw_measured
from cryosnake.particles.stack import read_images, written_stack
from cryosnake.particles.table import read_particles, stack_path, write_particles
from cryosnake.picking.size_model import ParticleSize, read_size, write_size
from cryosnake.stages.files import write_decisions

#: Particles that are measured, drawn at random from the first batch.
_MEASURED = 600
#: Radius of the particle, at most, as a part of the box.
_MAX_RADIUS = 0.45
_CHUNK = 200


def measure_given(session: Path, config: Config) -> ParticleSize:
    """Measure the particles of the first batch; write the size with its picture and decisions.

    A diameter in the configuration is taken as it is, and a contradiction is told.

    Raises
    ------
    BadInputError : no diameter is configured, and the images cannot be measured.
    """
    session = Path(session)
    optics, table = read_particles(session / layout.batch_star(layout.batch_name(0)))
    group = optics[optics["rlnOpticsGroup"] == table["rlnOpticsGroup"].iloc[0]].iloc[0]
    table = table[table["rlnOpticsGroup"] == group["rlnOpticsGroup"]]
    rng = np.random.default_rng(config.compute.seed)
    chosen = np.sort(rng.permutation(len(table))[:_MEASURED])
    table = table.iloc[chosen].reset_index(drop=True)
    measured = measure_particles(
        read_all(table["rlnImageName"]),
        _ctf(group, table),
        float(group["rlnImagePixelSize"]),
        phase_flipped=bool(group.get("csnPhaseFlipped", 0)),
    )
    size, diameter = measured.size, config.picking.diameter_angst
    if diameter is not None:
        size = ParticleSize(diameter, 0.0, diameter, diameter, False, size.box_px)
    elif not size.sure:
        raise BadInputError(
            session / config.input.path,
            "the mean of the particles does not show how large they are",
            "picking.diameter_angst in the configuration",
        )
    write_png(session / layout.SIZE_PICTURE, draw_measured(measured))
    decisions = _size_decisions(size, measured, len(table))
    write_decisions(session / layout.SIZE_DECISIONS, decisions)
    write_size(session / layout.SIZE, size, {"particles": len(table), "method": "mean image"})
    return size


def _ctf(group: pd.Series, table: pd.DataFrame) -> ParticleCtf:
    columns = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    shift = table.get("rlnPhaseShift", pd.Series(0.0, index=table.index))
    return ParticleCtf(
        *(table[c].to_numpy(float) for c in columns),
        shift.to_numpy(float),
        float(group["rlnVoltage"]),
        float(group["rlnSphericalAberration"]),
        float(group["rlnAmplitudeContrast"]),
    )


def read_all(names: pd.Series) -> np.ndarray:
    """(N, n, n) float32 images of a column `rlnImageName` with absolute paths, in its order."""
    numbers, paths = zip(*(stack_path(name) for name in names), strict=True)
    numbers, paths = np.asarray(numbers), np.asarray(paths, object)
    images = None
    for path in dict.fromkeys(paths):
        here = np.flatnonzero(paths == path)
        part = read_images(path, numbers[here])
        if images is None:
            images = np.empty((len(names), *part.shape[1:]), np.float32)
        if part.shape[1:] != images.shape[1:]:
            raise BadInputError(path, f"images of {part.shape[1:]} px", f"{images.shape[1:]}")
        images[here] = part
    return images


def _size_decisions(size: ParticleSize, measured: MeasuredSize, number: int) -> list[Decision]:
    found = measured.size
    words = (
        f"diameter {found.diameter_angst:.0f} +- {found.uncertainty_angst:.0f} A, "
        f"long axis {found.long_axis_angst:.0f} A"
    )
    apart = abs(size.diameter_angst - found.diameter_angst) / found.diameter_angst
    decisions = [
        Decision(
            subject="session",
            rule="particle_size",
            verdict="info" if found.sure else "unsure",
            value=words if found.sure else "the mean image shows no particle",
            threshold="a mean image that stands out of its rim",
            evidence=f"{layout.SIZE_PICTURE}: mean of {number} particles",
        )
    ]
    if size is not found:
        decisions.append(
            Decision(
                subject="session",
                rule="particle_size",
                verdict="warn" if found.sure and apart > 0.2 else "info",
                value=f"picking.diameter_angst = {size.diameter_angst:g} A is taken",
                threshold=f"measured {found.diameter_angst:.0f} A, to within 20 %",
                evidence=layout.SIZE_PICTURE,
            )
        )
    if measured.dark and found.sure:
        decisions.append(
            Decision(
                subject="session",
                rule="particle_contrast",
                verdict="warn",
                value="the particles are darker than their surroundings",
                threshold="white particles, as after extraction with inverted contrast",
                evidence=layout.SIZE_PICTURE,
            )
        )
    return decisions


def take_particles(session: Path, batch: str, config: Config) -> int:
    """Write a batch as the later stages read it; returns the number of its particles.

    Images stay in the stacks that were given, unless they are larger than `particles.output_px`:
    then they are rescaled, and normalised anew, into a stack of the batch.
    """
    session = Path(session)
    optics, particles = read_particles(session / layout.batch_star(batch))
    counts = pd.DataFrame({"micrograph": particles["rlnMicrographName"]})
    counts = counts.groupby("micrograph", sort=False).size().rename("extracted").reset_index()
    optics = optics.assign(csnPhaseFlipped=optics.get("csnPhaseFlipped", 0))
    sizes = optics["rlnImageSize"].astype(int).unique()
    output_px = config.particles.output_px
    treated = "the images stay where they are"
    if len(sizes) == 1 and sizes[0] > output_px:
        if sizes[0] % 2:
            raise BadInputError(
                session / config.input.path,
                f"images of {sizes[0]} px, to be rescaled to {output_px} px",
                f"an even size, or particles.output_px of {sizes[0]} or more",
            )
        optics, particles = _rescaled(session, batch, optics, particles, config)
        treated = f"rescaled from {sizes[0]} to {output_px} px"
    with written_whole(session / layout.extracted_counts(batch)) as temporary:
        counts.to_csv(temporary, index=False)
    told = Decision(
        subject=batch,
        rule="extraction",
        verdict="info",
        value=f"{len(particles)} given particles",
        threshold="-",
        evidence=treated,
    )
    write_decisions(session / layout.particles_decisions(batch), [told])
    # the table last: it says that the batch is finished
    write_particles(session / layout.particles_star(batch), optics, particles)
    return len(particles)


def _rescaled(
    session: Path, batch: str, optics: pd.DataFrame, particles: pd.DataFrame, config: Config
) -> tuple[pd.DataFrame, pd.DataFrame]:
    side, output_px = int(optics["rlnImageSize"].iloc[0]), config.particles.output_px
    pixel_angst = optics["rlnImagePixelSize"].astype(float) * side / output_px
    size = read_size(session / layout.SIZE)[0]
    radius_px = min(size.long_axis_angst / 2 / pixel_angst.iloc[0], _MAX_RADIUS * output_px)
    name = layout.particles_stack(batch)
    with written_stack(
        session / name, pixel_angst.iloc[0], float16=config.particles.output_float16
    ) as stack:
        for start in range(0, len(particles), _CHUNK):
            images = torch.from_numpy(
                read_all(particles["rlnImageName"].iloc[start : start + _CHUNK])
            )
            small, _ = normalised(rescaled(images, output_px), radius_px, ramp=True)
            stack.append(small.numpy())
    names = [f"{number + 1:06d}@{name}" for number in range(len(particles))]
    optics = optics.assign(rlnImagePixelSize=pixel_angst, rlnImageSize=output_px)
    return optics, particles.assign(rlnImageName=names)
