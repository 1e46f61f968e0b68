"""Rule `stream_class2d`: the particles of a batch, assigned to the classes of the last round."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.stream_class2d import stream

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    with leased_device(config.compute.device) as device:
        particles = int(snakemake.wildcards.particles)
        number = stream(Path.cwd(), particles, snakemake.wildcards.batch, config, device)
    log.info("%d particles assigned", number)
