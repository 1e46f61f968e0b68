"""The 3D branch of the validation: volumes from nothing again, and particles sorted among them."""

from pathlib import Path

import torch

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.stages.abinitio import volumes_from_nothing
from cryosnake.stages.class3d import decisions, sorted_among
from cryosnake.stages.files import write_decisions
from cryosnake.stages.volume_files import Volumes


def reconstruct_again(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> Volumes:
    """Ab initio volumes of the particles that the 3D classification kept, and those sorted among
    them."""
    session, folder = Path(session), layout.branch3d_folder(particles)
    kept = f"{layout.class3d_folder(particles)}/selected.star"
    volumes = config.validation.volumes
    start = volumes_from_nothing(
        session, kept, f"{folder}/abinitio", particles, volumes, config, device, threads
    )
    found, choice = sorted_among(session, kept, start, folder, particles, config, device, threads)
    told = decisions(f"branch3d {particles}", "branch3d", found, choice)
    write_decisions(session / folder / "decisions.star", told)
    return found
