"""Rule `ingest`: wait for movies, close the batches that are due."""

import re
from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.ingest import take_in, write_tick
from cryosnake.session.job import job_log

with job_log(snakemake) as log:
    tick = take_in(Path.cwd(), load_config(snakemake.config), snakemake.params.owner_pid)
    number = int(re.search(r"tick_(\d+)", snakemake.output[0]).group(1))
    write_tick(Path.cwd(), number, tick)
    log.info("%s: %s; %d batches", tick.outcome, tick.why, tick.batches)
