"""Rule `particle_size`, where the session starts from particles: how large they are."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.given_particles import measure_given

with job_log(snakemake) as log:
    use_threads(snakemake.threads)
    size = measure_given(Path.cwd(), load_config(snakemake.config))
    log.info("%s", size)
