"""Rule `training_set`: the micrographs that the picker is trained on."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.training import choose_training

with job_log(snakemake) as log:
    chosen = choose_training(Path.cwd(), load_config(snakemake.config))
    log.info("%d micrographs", len(chosen))
