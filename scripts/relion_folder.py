"""Rule `relion_folder`: the newest results as a folder that RELION opens."""

from pathlib import Path

from cryosnake.session.job import job_log
from cryosnake.session.relion_folder import write_relion_folder

with job_log(snakemake) as log:
    log.info("%s", ", ".join(write_relion_folder(Path.cwd())))
