"""Rule `live_class2d`: the classes with a batch more, and all that people look at."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.live_class2d import count_batch, refresh_is_due
from cryosnake.stages.refresh import refresh_all

with job_log(snakemake.log) as log:
    use_threads(snakemake.threads)
    config = load_config(snakemake.config)
    particles = int(snakemake.wildcards.particles)
    count_batch(Path.cwd(), particles, snakemake.wildcards.batch)
    if refresh_is_due(Path.cwd()):
        refresh_all(Path.cwd(), config)
