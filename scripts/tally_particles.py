"""Rule `tally_particles`: count the particles of the batches so far."""

from pathlib import Path

from cryosnake.config import load_config
from cryosnake.session.dag import SessionDag
from cryosnake.session.job import job_log
from cryosnake.session.particle_subsets import write_particle_tally

with job_log(snakemake) as log:
    dag = SessionDag(Path.cwd(), load_config(snakemake.config), main=False)
    covered = int(snakemake.wildcards.batches)
    result = write_particle_tally(Path.cwd(), dag.particle_tallies, covered)
    log.info("%d particles in %d batches", result["so_far"][-1][1], covered)
