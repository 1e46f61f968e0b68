"""Rule `freeze_particles`: the particles that a round of 2D classification starts from."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.particle_subsets import freeze_particles

with job_log(snakemake) as log:
    batches = [Path(table).parent.name for table in snakemake.input.tables]
    config = load_config(snakemake.config)
    particles = int(snakemake.wildcards.particles)
    number = freeze_particles(Path.cwd(), config, particles, batches)
    log.info("%d particles of %d batches", number, len(batches))
