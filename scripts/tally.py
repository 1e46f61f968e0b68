"""Rule `tally`: count what is accepted so far; refresh the session's tables and report."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.milestones import write_tally
from cryosnake.stages.refresh import refresh_if_due

with job_log(snakemake) as log:
    config = load_config(snakemake.config)
    covered = int(snakemake.wildcards.batches)
    result = write_tally(Path.cwd(), config, covered, snakemake.params.before)
    log.info("%(accepted)d of %(movies)d movies accepted", result)
    if snakemake.params.refresh:
        refresh_if_due(Path.cwd(), config)
