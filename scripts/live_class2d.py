"""Rule `live_class2d`: the classes with a batch more, and all that people look at."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.live_class2d import count_batch
from cryosnake.stages.refresh import refresh_if_due

with job_log(snakemake) as log:
    use_threads(snakemake.threads)
    config = load_config(snakemake.config)
    particles = int(snakemake.wildcards.particles)
    count_batch(Path.cwd(), particles, snakemake.wildcards.batch)
    refresh_if_due(Path.cwd(), config)
