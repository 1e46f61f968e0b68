"""Rule `reextract`: the particles of the chosen volume cut out anew, at the final pixel size."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.reextract import reextract

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    table = reextract(Path.cwd(), int(snakemake.wildcards.particles), config, "cpu")
    log.info("%d particles", len(table))
