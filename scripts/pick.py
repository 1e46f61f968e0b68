"""Rule `pick`: the coordinates of a batch, by what the training chose."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.pick import pick

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    with leased_device(config.compute.device) as device:
        counts = pick(Path.cwd(), snakemake.wildcards.batch, config, device)
    log.info("%d particles on %d micrographs", counts["picks"].sum(), len(counts))
