"""Rule `crossvalidate`: the volume that the class averages speak for."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.crossvalidate import crossvalidate
from cryosnake.stages.refresh import refresh_all

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    found = crossvalidate(Path.cwd(), int(snakemake.wildcards.particles), config)
    log.info("%s", found.evidence if found else "no cross-validation")
    refresh_all(Path.cwd(), config)
