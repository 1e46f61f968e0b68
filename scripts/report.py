"""Rule `report`: the session's page, with the newest state of the classes."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.session.publish import publish_report
from cryosnake.stages.live_class2d import refresh_live

with job_log(snakemake.log):
    config = load_config(snakemake.config)
    refresh_live(Path.cwd(), config)
    publish_report(Path.cwd(), config)
