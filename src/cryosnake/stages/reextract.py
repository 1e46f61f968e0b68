"""Extracting the particles of a refinement again: recentred, and at its pixel size."""

import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.particles import (
    BatchResult,
    ExtractionSettings,
    extract_batch,
    read_particles,
    write_particles,
)
from cryosnake.picking.size_model import read_size
from cryosnake.stages.class2d import PROBLEMS
from cryosnake.stages.extract import MAX_RADIUS
from cryosnake.stages.files import image_reader, write_decisions
from cryosnake.stages.refine_box import refinement_box
from cryosnake.stages.refine_files import problem_of, stack_file, told
from cryosnake.stages.warm_start import NAME
from cryosnake.tables import star_text, write_star

log = logging.getLogger("cryosnake")

#: The box has room for what the CTF of this share of the particles carries out.
_DEFOCUS_SHARE = 90
#: Below this share of particles that could be cut out anew, those that were given go on.
LEAST_EXTRACTED = 0.5
_PLACE = [
    "rlnMicrographName",
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
]
_PIXEL = "rlnMicrographPixelSize"


def reextract(session: Path, particles: int, config: Config, device) -> pd.DataFrame:
    """Cut the particles of the chosen volume out of their micrographs anew.

    Without micrographs (the session began with particles, or the files are gone) the images that
    were given go on as they are. A problem is written in place of the table.

    Returns
    -------
    The table of the particles; without rows where there is a problem.
    """
    session = Path(session)
    try:
        groups, table, decisions = _extracted(session, particles, config, device)
    except PROBLEMS as error:
        log.exception("the particles of a refinement could not be extracted")
        return _failure(session, particles, told(error))
    write_decisions(stack_file(session, particles, "decisions.star"), decisions)
    write_particles(stack_file(session, particles, "particles.star"), groups, table)
    return table


def _extracted(
    session: Path, particles: int, config: Config, device
) -> tuple[pd.DataFrame, pd.DataFrame, list[Decision]]:
    source = session / layout.validation_file(particles, "particles.star")
    problem = problem_of(session / layout.validation_file(particles, "crossvalidation.star"))
    if problem is not None:
        raise RuntimeError(problem)
    groups, table = read_particles(source)
    if "rlnImageName" not in table:
        raise BadInputError(source, "no column rlnImageName", "one")
    table = table.assign(**{NAME: table["rlnImageName"]})  # the same in all rounds
    subject = f"refine {particles}"
    why = _no_micrographs(session, groups, table)
    if why is None:
        groups = _with_pixel_sizes(groups)
        settings = _settings(session, config, groups, table)
        found = _cut_out(session, particles, groups, table, settings, device)
        got, counts = len(found.particles), found.micrographs
        if got >= LEAST_EXTRACTED * len(table):
            told_so = _result(subject, found, len(table), settings)
            return found.optics, found.particles, told_so
        first = counts.loc[counts["problem"] != "-", "problem"]
        why = f"only {got} of {len(table)} could be cut out" + (
            f": {first.iloc[0]}" if len(first) else f", {int(counts['border'].sum())} at the border"
        )
    stack_file(session, particles, "particles.mrcs").unlink(missing_ok=True)
    return groups, table, [_unchanged(subject, why, len(table))]


def _no_micrographs(session: Path, groups: pd.DataFrame, table: pd.DataFrame) -> str | None:
    """Why particles cannot be extracted again, or None."""
    missing = [column for column in _PLACE if column not in table]
    if missing:
        return f"the table has no column {missing[0]}"
    if not {_PIXEL, "rlnMicrographOriginalPixelSize"} & set(groups):
        return f"the optics groups have no column {_PIXEL}"
    names = table["rlnMicrographName"].unique()
    if not any((session / name).is_file() for name in names):
        return f"none of the {len(names)} micrographs is there"
    return None


def _with_pixel_sizes(groups: pd.DataFrame) -> pd.DataFrame:
    """Optics groups with both pixel sizes of a micrograph: as stored, and as it was collected."""
    sizes = [_PIXEL, "rlnMicrographOriginalPixelSize"]
    for column, other in (sizes, sizes[::-1]):
        if column not in groups:
            groups = groups.assign(**{column: groups[other]})
    return groups


def _settings(
    session: Path, config: Config, groups: pd.DataFrame, table: pd.DataFrame
) -> ExtractionSettings:
    size = read_size(session / layout.SIZE)[0]
    used = groups[groups["rlnOpticsGroup"].isin(table["rlnOpticsGroup"])]
    pixel_angst = float(used[_PIXEL].median())
    defocus = table[["rlnDefocusU", "rlnDefocusV"]].mean(axis=1).abs().to_numpy()
    defocus_angst = float(np.nanpercentile(defocus, _DEFOCUS_SHARE))
    if not math.isfinite(defocus_angst):
        raise ValueError("no particle has a defocus")
    box_px, output_px = refinement_box(
        size,
        pixel_angst,
        config,
        defocus_angst=defocus_angst,
        voltage_kv=float(used["rlnVoltage"].median()),
    )
    return ExtractionSettings(
        box_px=box_px,
        output_px=output_px,
        radius_angst=min(size.long_axis_angst / 2, MAX_RADIUS * box_px * pixel_angst),
        diameter_angst=size.diameter_angst,
        phase_flip=config.particles.phase_flip,
        float16=config.particles.output_float16,
        seed=config.compute.seed,
        flatten=not config.ctf.fit,
    )


def _cut_out(
    session: Path,
    particles: int,
    groups: pd.DataFrame,
    table: pd.DataFrame,
    settings: ExtractionSettings,
    device,
) -> BatchResult:
    """Particles by micrograph; each one's own defocus is in the table."""
    micrographs = table[["rlnMicrographName", "rlnOpticsGroup"]]
    return extract_batch(
        micrographs.drop_duplicates("rlnMicrographName"),
        table,
        image_reader(session),
        stack_file(session, particles, "particles.mrcs"),
        stack_name=layout.refine_file(particles, "stack/particles.mrcs"),
        settings=settings,
        optics=groups,
        device=device,
    )


def _result(
    subject: str, found: BatchResult, given: int, settings: ExtractionSettings
) -> list[Decision]:
    counts = found.micrographs
    lost = counts[counts["problem"] != "-"]
    pixel_angst = float(found.optics["rlnImagePixelSize"].iloc[0])
    evidence = (
        f"{int(counts['border'].sum())} boxes cross the border, {int(counts['flat'].sum())} have "
        f"no background; {len(lost)} of {len(counts)} micrographs cannot be used"
    )
    if len(lost):
        evidence += f", as {lost['rlnMicrographName'].iloc[0]}: {lost['problem'].iloc[0]}"
    return [
        Decision(
            subject=subject,
            rule="reextraction",
            verdict="warn" if len(lost) else "info",
            value=f"{len(found.particles)} of {given} particles in boxes of "
            f"{settings.output_px} px of {pixel_angst:.3f} A",
            threshold="every particle whose box lies on its micrograph",
            evidence=evidence,
        )
    ]


def _unchanged(subject: str, why: str, number: int) -> Decision:
    return Decision(
        subject=subject,
        rule="reextraction",
        verdict="info",
        value=f"the images of {number} particles as they were given",
        threshold="micrographs to extract from again",
        evidence=why,
    )


def _failure(session: Path, particles: int, problem: str) -> pd.DataFrame:
    """No particles, and why."""
    nothing = pd.DataFrame({"rlnImageName": []})
    stack_file(session, particles, "particles.mrcs").unlink(missing_ok=True)
    decision = Decision(
        subject=f"refine {particles}",
        rule="reextraction",
        verdict="fail",
        value=problem,
        threshold="the particles of the chosen volume",
        evidence="the log of rule reextract",
    )
    write_decisions(stack_file(session, particles, "decisions.star"), [decision])
    write_star(
        stack_file(session, particles, "particles.star"),
        {"general": {"csnProblem": star_text(problem)}, "particles": nothing},
    )
    return nothing
