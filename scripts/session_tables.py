"""Rule `session_tables`: all movies so far, their metrics, and every decision."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.tables import refresh

with job_log(snakemake) as log:
    table = refresh(Path.cwd(), load_config(snakemake.config))
    log.info("%d of %d movies accepted", table["csnAccepted"].sum(), len(table))
