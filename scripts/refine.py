"""Rule `refine`: the chosen volume refined, and what it is worth."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.refine import refine_volume
from cryosnake.stages.refresh import refresh_all

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    particles = int(snakemake.wildcards.particles)
    with leased_device(config.compute.device) as device:
        result = refine_volume(Path.cwd(), particles, config, device, snakemake.threads)
    log.info("%s", result["problem"] or f"{result['resolution_angst']} A")
    refresh_all(Path.cwd(), config)
