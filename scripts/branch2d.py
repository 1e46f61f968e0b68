"""Rule `branch2d`: a round of the branch in 2D."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.branch2d import classify_again

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    particles = int(snakemake.wildcards.particles)
    with leased_device(config.compute.device) as device:
        number = int(snakemake.wildcards.number)
        classes = classify_again(Path.cwd(), particles, number, config, device, snakemake.threads)
    log.info("%s", f"{int(classes['csnClassKept'].sum())} of {len(classes)} classes are kept")
