"""Rule `report`: the session's page."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.publish import publish_report

with job_log(snakemake.log):
    publish_report(Path.cwd(), load_config(snakemake.config))
