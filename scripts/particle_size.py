"""Rule `particle_size`: how large the particle is, measured once."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.size import measure_size

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    size = measure_size(Path.cwd(), config)
    log.info("%s", size)
