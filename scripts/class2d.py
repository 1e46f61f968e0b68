"""Rule `class2d`: a round of 2D classification."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.class2d import classify

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    with leased_device(config.compute.device) as device:
        table = classify(
            Path.cwd(), int(snakemake.wildcards.particles), config, device, snakemake.threads
        )
    log.info("%d classes", len(table))
