"""Particles sorted among the ab initio volumes, and the structure that goes on."""

import logging
from pathlib import Path

import numpy as np
import torch

from cryosnake import layout
from cryosnake.classes2d.particle_table import ParticleInput
from cryosnake.compute import device_number
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.engines.relion_volumes import classify3d as relion_classify
from cryosnake.errors import BadInputError
from cryosnake.particles import write_no_particles, write_particles
from cryosnake.stages.abinitio import given_to_relion, kept_input, relion_table, sizes
from cryosnake.stages.class2d import PROBLEMS
from cryosnake.stages.class2d_files import read_assessed
from cryosnake.stages.files import write_decisions
from cryosnake.stages.volume_files import (
    Volumes,
    no_volumes,
    read_volumes,
    volume_name,
    volume_table,
    write_volumes,
)
from cryosnake.validation.choice import Choice, choose_volume
from cryosnake.volumes3d import classify3d
from cryosnake.volumes3d.pose_columns import pose_columns

log = logging.getLogger("cryosnake")

#: Of the particles of a round: where good classes hold fewer, junk rules.
_MINORITY = 0.3


def classify(
    session: Path, particles: int, config: Config, device: torch.device | str, threads: int
) -> Volumes:
    """Sort the particles that a 2D round selected among its ab initio volumes, and choose.

    What prevents it is written in place of the result, and does not end the session.
    """
    session, folder = Path(session), layout.class3d_folder(particles)
    found, choice = sorted_among(
        session,
        f"{layout.class2d_folder(particles)}/selected.star",
        read_volumes(session, layout.abinitio_folder(particles)),
        folder,
        particles,
        config,
        device,
        threads,
    )
    subject = f"class3d {particles}"
    told = _minority(session, particles) + decisions(subject, "class3d", found, choice)
    write_decisions(session / folder / "decisions.star", told)
    return found


def sorted_among(
    session: Path,
    table: str,
    references: Volumes,
    folder: str,
    particles: int,
    config: Config,
    device: torch.device | str,
    threads: int,
) -> tuple[Volumes, Choice | None]:
    """Classify the particles of a table from reference volumes; written to a folder.

    Returns
    -------
    The volumes, with the chosen one marked, and the choice; None where there is no result.
    """
    about = {
        "csnVolumeEngine": config.class3d.engine,
        "csnRoundParticles": particles,
        "csnEmptyShare": 0.0,
        "csnProblem": "-",
    }
    (session / folder).mkdir(parents=True, exist_ok=True)
    choice = None
    try:
        if references.problem:
            raise BadInputError(session / references.folder, references.problem, "volumes")
        given = kept_input(session, table, config.class3d.particles_max, config.compute.seed)
        about |= sizes(given, references.diameter_angst)
        engine = _relion if config.class3d.engine == "relion" else _native
        rows, volumes, columns = engine(session, folder, given, references, config, device, threads)
        sorted_table = given.table.assign(**columns)
        about["csnEmptyShare"] = float((sorted_table["rlnClassNumber"] > len(volumes)).mean())
        found = Volumes(folder, about, rows, volumes)
        choice = choose_volume(
            found.facts(),
            pixel_size_angst=found.pixel_size_angst,
            diameter_angst=found.diameter_angst,
        )
    except PROBLEMS as error:
        log.exception("no 3D classification")
        found = no_volumes(folder, about, str(error) or type(error).__name__)
        for name in ("particles.star", "selected.star"):
            write_no_particles(session / folder / name)
    else:
        chosen = np.arange(len(rows)) == (-1 if choice.index is None else choice.index)
        rows["csnVolumeChosen"] = chosen.astype(int)
        going_on = sorted_table["rlnClassNumber"].isin([i + 1 for i in choice.together])
        write_particles(session / folder / "particles.star", given.groups, sorted_table)
        write_particles(session / folder / "selected.star", given.groups, sorted_table[going_on])
    write_volumes(session, found)
    return found, choice


def _native(session, folder, given: ParticleInput, references, config, device, threads):
    found = classify3d(
        given.source,
        given.optics,
        references.volumes,
        pixel_size_angst=given.pixel_size_angst,
        diameter_angst=references.diameter_angst,
        seed=config.compute.seed,
        device=device,
        budget_mb=config.compute.memory_mb / 2,
        report=log.info,
    )
    columns = pose_columns(found.poses) | {"csnParticleResidual": found.residual_sigma}
    number, evidence = columns["rlnClassNumber"], columns["csnLogEvidence"]
    means = [
        evidence[number == k + 1].mean() if (number == k + 1).any() else np.nan
        for k in range(len(found.volumes))
    ]
    rows = volume_table(
        folder,
        [one.share for one in found.volumes],
        [one.population for one in found.volumes],
        [one.resolution_angst for one in found.volumes],
        means,
    )
    return rows, [one.volume for one in found.volumes], columns


def _relion(session, folder, given: ParticleInput, references, config, device, threads):
    work = session / folder / "relion"
    found = relion_classify(
        given_to_relion(work, given),
        work,
        work_dir=session,
        references=[
            session / references.folder / volume_name(number)
            for number in range(1, len(references.volumes) + 1)
        ],
        diameter_angst=references.diameter_angst,
        iterations=config.class3d.relion_iterations,
        seed=config.compute.seed,
        threads=threads,
        gpu=device_number(device),
        command=config.class3d.relion_command,
    )
    log.info("RELION %s: %s", found.version, found.command)
    return relion_table(folder, found), list(found.volumes), dict(found.particles)


def decisions(subject: str, rule: str, found: Volumes, choice: Choice | None) -> list[Decision]:
    """What is told of a 3D classification and of the choice among its volumes."""
    if choice is None:
        return [
            Decision(
                subject=subject,
                rule=rule,
                verdict="fail",
                value=str(found.problem),
                threshold="volumes",
                evidence=f"the log of the job; engine {found.about['csnVolumeEngine']}",
            )
        ]
    told = [
        Decision(
            subject=subject,
            rule=rule,
            verdict=choice.verdict,
            value=choice.value,
            threshold="the most populated volume that looks like a particle",
            evidence=choice.evidence,
        )
    ]
    if choice.others:
        told.append(
            Decision(
                subject=subject,
                rule=f"{rule}_heterogeneity",
                verdict="warn",
                value=f"{len(choice.others)} more of another structure",
                threshold="one structure",
                evidence=f"{found.folder}/volumes.png",
            )
        )
    if found.about["csnVolumeEngine"] == "native":
        share = f"{100 * found.about['csnEmptyShare']:.1f} %"
        told.append(
            Decision(
                subject=subject,
                rule=f"{rule}_junk",
                verdict="info",
                value=f"{share} of the particles show none of the volumes",
                threshold="-",
                evidence=f"{found.folder}/volumes.star",
            )
        )
    return told


def _minority(session: Path, particles: int) -> list[Decision]:
    """Told where the good 2D classes, from which 3D starts, are a small part of the set."""
    classes = read_assessed(session, layout.class2d_folder(particles))
    kept = classes.loc[classes["csnClassKept"] == 1, "csnClassPopulation"].sum()
    total = classes["csnClassPopulation"].sum()
    if not kept or kept >= _MINORITY * total:
        return []
    return [
        Decision(
            subject=f"class3d {particles}",
            rule="minority",
            verdict="warn",
            value=f"{kept} of {total} particles are in good 2D classes; 3D starts from these alone",
            threshold=f"{100 * _MINORITY:.0f} %",
            evidence=f"{layout.class2d_folder(particles)}/montage.png",
        )
    ]
