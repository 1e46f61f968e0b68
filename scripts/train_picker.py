"""Rule `train_picker`: a model of this sample, judged against what there is without it."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.training import train

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    with leased_device(config.compute.device) as device:
        trained = train(Path.cwd(), int(snakemake.wildcards.version), config, device)
    log.info("picked with %s: %s", trained.chosen, trained.judgement.why)
