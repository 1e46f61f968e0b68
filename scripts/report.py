"""Rule `report`: the session's page, with the newest state of the classes and the verdict."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.refresh import publish

with job_log(snakemake):
    publish(Path.cwd(), load_config(snakemake.config))
