"""Rule `pick_training`: what one of the template-free pickers finds on the training micrographs."""

from pathlib import Path

from cryosnake.compute import leased_device, use_threads
from cryosnake.config import load_config
from cryosnake.session.job import job_log
from cryosnake.stages.training import pick_training

with job_log(snakemake):
    config = load_config(snakemake.config)
    use_threads(snakemake.threads)
    picker = snakemake.wildcards.picker
    on_gpu = picker == "network" or config.picking.denoise
    with leased_device(config.compute.device if on_gpu else "cpu") as device:
        pick_training(Path.cwd(), picker, config, device)
