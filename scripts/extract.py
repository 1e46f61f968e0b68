"""Rule `extract`: the particles of a batch."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.extract import extract

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    counts = extract(Path.cwd(), snakemake.wildcards.batch, config, "cpu")
    log.info("%d of %d picks extracted", counts["extracted"].sum(), counts["picked"].sum())
