"""Rule `take_particles`: a batch of the given particles, as the later stages read it."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.given_particles import take_particles

with job_log(snakemake) as log:
    use_threads(snakemake.threads)
    number = take_particles(Path.cwd(), snakemake.wildcards.batch, load_config(snakemake.config))
    log.info("%d particles", number)
