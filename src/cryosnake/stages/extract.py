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


def extraction_settings(config: Config, size: ParticleSize) -> ExtractionSettings:
    """How the session's particles are extracted, from their size and the configuration."""
    box_px = config.particles.box_px or size.box_px
    return ExtractionSettings(
        box_px=box_px,
        output_px=min(config.particles.output_px, box_px),
        radius_angst=size.long_axis_angst / 2,
        diameter_angst=size.diameter_angst,
        phase_flip=config.particles.phase_flip,
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
    result = extract_batch(
        micrographs,
        read_coordinates(session / layout.coordinates_star(batch)),
        image_reader(session),
        session / layout.particles_stack(batch),
        stack_name=layout.particles_stack(batch),
        settings=extraction_settings(config, read_size(session / layout.SIZE)[0]),
        device=device,
    )
    counts = result.micrographs
    with written_whole(session / layout.extracted_counts(batch)) as temporary:
        counts.rename(columns={"rlnMicrographName": "micrograph"}).to_csv(temporary, index=False)
    write_decisions(session / layout.particles_decisions(batch), _decisions(batch, counts))
    # the table last: it says that the batch is finished
    write_particles(session / layout.particles_star(batch), result.optics, result.particles)
    return counts


def _decisions(batch: str, counts: pd.DataFrame) -> list[Decision]:
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
    return decisions
