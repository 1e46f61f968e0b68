"""Rule `class3d`: particles sorted among the ab initio volumes."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.class3d import classify
from cryosnake.stages.refresh import refresh_all

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    particles = int(snakemake.wildcards.particles)
    with leased_device(config.compute.device) as device:
        found = classify(Path.cwd(), particles, config, device, snakemake.threads)
    log.info("%s", found.problem or f"{len(found.volumes)} volumes")
    refresh_all(Path.cwd(), config)
