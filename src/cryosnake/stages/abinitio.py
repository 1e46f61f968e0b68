"""First volumes of the particles of good 2D classes: no template, no symmetry."""

import logging
from pathlib import Path

import numpy as np
import torch

from cryosnake import layout
from cryosnake.classes2d.particle_table import ParticleInput, particle_input
from cryosnake.compute import device_number
from cryosnake.config.model import Config
from cryosnake.engines.relion_volumes import initial_model
from cryosnake.errors import BadInputError
from cryosnake.particles import read_particles, write_particles
from cryosnake.stages.class2d import PROBLEMS, mask_diameter
from cryosnake.stages.volume_files import Volumes, no_volumes, volume_table, write_volumes
from cryosnake.volumes3d import VolumeResult, ab_initio

log = logging.getLogger("cryosnake")

#: Ab initio volumes need no more particles than this for each.
MOST_PER_VOLUME = 20_000
#: With fewer particles for each volume there is nothing to be had.
LEAST_PER_VOLUME = 50


def reconstruct(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> Volumes:
    """Volumes of the particles that a 2D round selected.

    What prevents them is written in their place, and does not end the session.
    """
    return volumes_from_nothing(
        Path(session),
        f"{layout.class2d_folder(particles)}/selected.star",
        layout.abinitio_folder(particles),
        particles,
        config.abinitio.volumes,
        config,
        device,
        threads,
    )


def volumes_from_nothing(
    session: Path,
    table: str,
    folder: str,
    particles: int,
    volumes: int,
    config: Config,
    device: torch.device | str,
    threads: int,
) -> Volumes:
    """Ab initio volumes of the particles of a table, written to a folder below the session."""
    about = {
        "csnVolumeEngine": config.abinitio.engine,
        "csnRoundParticles": particles,
        "csnEmptyShare": 0.0,
        "csnProblem": "-",
    }
    try:
        given = kept_input(session, table, MOST_PER_VOLUME * volumes, config.compute.seed)
        diameter_angst = mask_diameter(session, config, given)
        about |= sizes(given, diameter_angst)
        least = LEAST_PER_VOLUME * volumes
        if len(given.table) < least:
            raise BadInputError(session / table, f"{len(given.table)} particles", f"{least}")
        engine = _relion if config.abinitio.engine == "relion" else _native
        found = engine(session, folder, given, volumes, diameter_angst, config, device, threads)
        result = Volumes(folder, about, found[0], found[1])
    except PROBLEMS as error:
        log.exception("no ab initio volumes")
        result = no_volumes(folder, about, str(error) or type(error).__name__)
    write_volumes(session, result)
    return result


def sizes(given: ParticleInput, diameter_angst: float) -> dict:
    """Box and mask of particles, for the table of the volumes."""
    return {
        "csnMaskDiameter_angst": diameter_angst,
        "rlnPixelSize": given.pixel_size_angst,
        "rlnImageSize": given.box_px,
    }


def kept_input(session: Path, table: str, most: int, seed: int) -> ParticleInput:
    """Particles of a table, `most` of them drawn at random where there are more.

    Raises
    ------
    BadInputError : it has no particle, or one that cannot be used.
    """
    path = session / table
    groups, rows = read_particles(path)
    if len(rows) > most:
        drawn = np.random.default_rng(seed).choice(len(rows), most, replace=False)
        rows = rows.iloc[np.sort(drawn)].reset_index(drop=True)
    return particle_input(path, groups, rows, session)


def _native(session, folder, given, volumes, diameter_angst, config, device, threads):
    found: list[VolumeResult] = ab_initio(
        given.source,
        given.optics,
        pixel_size_angst=given.pixel_size_angst,
        diameter_angst=diameter_angst,
        volumes=volumes,
        restarts=config.abinitio.restarts,
        seed=config.compute.seed,
        device=device,
        budget_mb=config.compute.memory_mb / 2,
        report=log.info,
    )
    return _table(folder, found), [one.volume for one in found]


def _table(folder: str, found: list[VolumeResult]):
    return volume_table(
        folder,
        [one.share for one in found],
        [one.population for one in found],
        [one.resolution_angst for one in found],
        np.full(len(found), np.nan),
    )


def _relion(session, folder, given, volumes, diameter_angst, config, device, threads):
    work = session / folder / "relion"
    found = initial_model(
        given_to_relion(work, given),
        work,
        work_dir=session,
        volumes=volumes,
        diameter_angst=diameter_angst,
        seed=config.compute.seed,
        threads=threads,
        gpu=device_number(device),
        command=config.class3d.relion_command,
    )
    log.info("RELION %s: %s", found.version, found.command)
    return relion_table(folder, found), list(found.volumes)


def given_to_relion(work: Path, given: ParticleInput) -> Path:
    """The particles as a table in RELION's folder, which is made if need be."""
    path = work / "given.star"
    write_particles(path, given.groups, given.table)
    return path


def relion_table(folder: str, found):
    """The table of the volumes of a RELION result, which tells no evidence."""
    return volume_table(
        folder,
        found.table["rlnClassDistribution"],
        found.table["csnVolumePopulation"],
        found.table["rlnEstimatedResolution"],
        np.full(len(found.table), np.nan),
    )
