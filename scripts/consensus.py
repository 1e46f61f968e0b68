"""Rule `consensus`: where the pickers agree, and how far each can be trusted."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.training import agree

with job_log(snakemake) as log:
    picks = agree(Path.cwd(), load_config(snakemake.config))
    log.info("%d particles by consensus", len(picks))
