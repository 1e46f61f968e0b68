"""Rule `preprocess`: motion, CTF and quality of one batch."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.preprocess.batch import preprocess_batch
from cryosnake.session.job import job_log

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    with leased_device(config.compute.device) as device:
        log.info("computing on %s", device)
        table = preprocess_batch(Path.cwd(), snakemake.wildcards.batch, config, device)
    log.info("%d of %d movies accepted", table["csnAccepted"].sum(), len(table))
