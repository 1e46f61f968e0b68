"""Extracting the particles of a batch."""

from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.files import written_whole
from cryosnake.particles import ExtractionSettings, extract_batch, write_particles
from cryosnake.picking.size_model import ParticleSize, read_size
from cryosnake.stages.files import image_reader, read_batch, read_coordinates, write_decisions

#: Radius of the particle, at most, as a part of the box.
MAX_RADIUS = 0.45


def extraction_settings(
    config: Config, size: ParticleSize, pixel_size_angst: float
) -> ExtractionSettings:
    """How the session's particles are extracted, from their size and the configuration."""
    box_px = config.particles.box_px or size.box_px
    return ExtractionSettings(
        box_px=box_px,
        output_px=min(config.particles.output_px, box_px),
        # a box that is configured may be too small for the particle: some background there must be
        radius_angst=min(size.long_axis_angst / 2, MAX_RADIUS * box_px * pixel_size_angst),
        diameter_angst=size.diameter_angst,
        phase_flip=config.particles.phase_flip,
        # an image that is taken as it is has a spectrum that nothing else accounts for
        flatten=not config.ctf.fit,
        float16=config.particles.output_float16,
        seed=config.compute.seed,
    )


def extract(session: Path, batch: str, config: Config, device) -> pd.DataFrame:
    """Extract a batch's particles: stack, table, counts and decisions; returns the counts.

    Raises
    ------
    OSError : the stack cannot be written (the disk is full).
    """
    session = Path(session)
    micrographs = read_batch(session, layout.batch_table(batch))
    size = read_size(session / layout.SIZE)[0]
    pixel_angst = float(micrographs["rlnMicrographPixelSize"].median()) if len(micrographs) else 1.0
    settings = extraction_settings(config, size, pixel_angst)
    result = extract_batch(
        micrographs,
        read_coordinates(session / layout.coordinates_star(batch)),
        image_reader(session),
        session / layout.particles_stack(batch),
        stack_name=layout.particles_stack(batch),
        settings=settings,
        device=device,
    )
    counts = result.micrographs
    with written_whole(session / layout.extracted_counts(batch)) as temporary:
        counts.rename(columns={"rlnMicrographName": "micrograph"}).to_csv(temporary, index=False)
    write_decisions(
        session / layout.particles_decisions(batch), _decisions(batch, counts, settings, size)
    )
    # the table last: it says that the batch is finished
    write_particles(session / layout.particles_star(batch), result.optics, result.particles)
    return counts


def _decisions(
    batch: str, counts: pd.DataFrame, settings: ExtractionSettings, size: ParticleSize
) -> list[Decision]:
    decisions = [
        Decision(
            subject=row["rlnMicrographName"],
            rule="extraction",
            verdict="fail",
            value=row["problem"],
            threshold="a readable micrograph that fits its coordinates",
            evidence=f"{row['picked']} picks are not extracted",
        )
        for row in counts[counts["problem"] != "-"].to_dict("records")
    ]
    picked, extracted = int(counts["picked"].sum()), int(counts["extracted"].sum())
    decisions.append(
        Decision(
            subject=batch,
            rule="extraction",
            verdict="info",
            value=f"{extracted} of {picked} picks extracted",
            threshold="-",
            evidence=f"{int(counts['border'].sum())} boxes cross the border, "
            f"{int(counts['flat'].sum())} have no background to normalise by",
        )
    )
    if settings.radius_angst < size.long_axis_angst / 2:
        decisions.append(
            Decision(
                subject=batch,
                rule="extraction",
                verdict="warn",
                value=f"particles.box_px = {settings.box_px}",
                threshold=f"a box for the long axis of {size.long_axis_angst:.0f} A: "
                f"{size.box_px} px",
                evidence=layout.SIZE_PICTURE,
            )
        )
    return decisions
