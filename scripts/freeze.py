"""Rule `freeze`: the subset of micrographs that a stage starts from, never changed afterwards."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.milestones import freeze

with job_log(snakemake) as log:
    batches = [Path(table).parent.name for table in snakemake.input]
    table = freeze(
        Path.cwd(), load_config(snakemake.config), snakemake.wildcards.milestone, batches
    )
    log.info("%d micrographs of %d batches", len(table), len(batches))
