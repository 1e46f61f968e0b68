"""Rule `assess_class2d`: which classes are good, and what they say of the sample."""

from pathlib import Path

from cryosnake.compute import use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.assess_class2d import assess_round

with job_log(snakemake) as log:
    use_threads(snakemake.threads)
    config = load_config(snakemake.config)
    classes = assess_round(Path.cwd(), int(snakemake.wildcards.particles), config)
    log.info("%d of %d classes are kept", classes["csnClassKept"].sum(), len(classes))
