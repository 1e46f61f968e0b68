"""Which volume the good class averages speak for, and whose particles are refined."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.images import write_png, write_volume
from cryosnake.particles import read_particles, write_no_particles, write_particles
from cryosnake.stages.class2d import PROBLEMS
from cryosnake.stages.class2d_files import Round, read_assessed, read_round
from cryosnake.stages.files import write_decisions
from cryosnake.stages.newest import publish
from cryosnake.stages.volume_files import Volumes, read_volumes, volume_name
from cryosnake.tables import star_text, write_star
from cryosnake.validation.average_set import AverageSet
from cryosnake.validation.choice import structures
from cryosnake.validation.class_match import matched_projections
from cryosnake.validation.crossvalidate import Candidate, CrossValidation, cross_validate
from cryosnake.validation.match_picture import draw_matches

log = logging.getLogger("cryosnake")

#: Fewer averages do not judge.
LEAST_AVERAGES = 3
#: The averages' own resolutions are optimistic: what is finer than this part of the mask's diameter
#: is not compared.
_FINEST = 1 / 12
_COLUMNS = [
    "csnVolume",
    "csnVolumeScore",
    "csnVolumeSpread",
    "csnVolumeError",
    "csnVolumeConfidence",
    "csnVolumeHand",
    "csnVolumeChosen",
    "rlnReferenceImage",
]


def crossvalidate(session: Path, particles: int, config: Config) -> CrossValidation | None:
    """Hold the volumes of both 3D classifications against the class averages of the 2D branch.

    Writes the scores, the picture, the winning volume and its particles. What prevents it is
    written in their place; then the result is None.

    Raises
    ------
    BadInputError : a file of the branches is damaged.
    """
    session = Path(session)
    subject = f"crossvalidation {particles}"
    about = {"csnRoundParticles": particles, "csnProblem": "-"}
    found = None
    try:
        two, three = _three(session, particles)
        averages, stack = _averages(session, particles, config)
        names = {**_named(two, "class3d", chosen=True), **_named(three, "branch3d")}
        found = cross_validate(
            [_candidate(name, *entry) for name, entry in names.items()],
            averages,
            seed=config.compute.seed,
        )
    except PROBLEMS as error:
        log.exception("no cross-validation")
        about["csnProblem"] = star_text(str(error) or type(error).__name__)
        _write_nothing(session, particles, about)
        told = Decision(
            subject=subject,
            rule="crossvalidation",
            verdict="fail",
            value=about["csnProblem"],
            threshold=f"volumes and at least {LEAST_AVERAGES} good class averages",
            evidence=layout.validation_file(particles, "branch2d"),
        )
        write_decisions(session / layout.validation_file(particles, "decisions.star"), [told])
        return None
    about |= {
        "csnVolumeVerdict": found.verdict,
        "csnVolumeFeatureless": found.featureless,
        "csnVolumeConfidence": found.confidence,
    }
    _write_winner(session, particles, found, names, three)
    _draw(session, particles, found, names, averages)
    images = [f"{source.folder}/{volume_name(k + 1)}" for source, k in names.values()]
    told = Decision(
        subject=subject,
        rule="crossvalidation",
        verdict=found.verdict,
        value=f"{found.winner.name}: score {found.winner.score:.3f}",
        threshold="the best of all volumes and better than a featureless ball, both sure to 95 %",
        confidence=found.confidence,
        evidence=f"{found.evidence}; averages of {stack}",
    )
    write_decisions(session / layout.validation_file(particles, "decisions.star"), [told])
    _write_table(session, particles, about, found.table().assign(rlnReferenceImage=images))
    return found


def _three(session: Path, particles: int) -> tuple[Volumes, Volumes]:
    """The volumes of the first 3D classification and of the branch."""
    found = [
        read_volumes(session, layout.class3d_folder(particles)),
        read_volumes(session, layout.branch3d_folder(particles)),
    ]
    if all(one.problem for one in found):
        raise BadInputError(session / found[1].folder, found[1].problem, "volumes")
    return found[0], found[1]


def _averages(session: Path, particles: int, config: Config) -> tuple[AverageSet, str]:
    """The good averages of the last round of the 2D branch that has enough of them, and where they
    lie."""
    for number in range(len(config.validation.rounds2d), 0, -1):
        folder = layout.branch2d_folder(particles, number)
        found: Round = read_round(session, folder)
        if found.failed:
            continue
        classes = read_assessed(session, folder)
        kept = classes["csnClassKept"].to_numpy() == 1
        if kept.sum() >= LEAST_AVERAGES:
            median = float(classes.loc[kept, "rlnEstimatedResolution"].median())
            finest = _FINEST * found.mask_diameter_angst
            resolution = max(median, finest, 2.5 * found.pixel_size_angst)
            averages = AverageSet(
                found.averages[kept],
                found.pixel_size_angst,
                found.mask_diameter_angst,
                # a class without a resolution tells 999; its coarse shape may still be compared
                min(resolution, found.mask_diameter_angst / 5),
            )
            return averages, folder
    raise BadInputError(
        session / layout.validation_file(particles, "branch2d"),
        f"no round with {LEAST_AVERAGES} good class averages",
        "good averages to judge by",
    )


def _named(source: Volumes, name: str, *, chosen: bool = False) -> dict[str, tuple[Volumes, int]]:
    """The volumes of a classification that hold something by name, or the chosen one alone."""
    wanted = source.table["csnVolumePopulation"].to_numpy() > 0
    wanted &= [bool(np.ptp(one)) for one in source.volumes]
    if chosen:
        wanted &= source.table["csnVolumeChosen"].to_numpy() == 1
    return {f"{name} {k + 1}": (source, k) for k, one in enumerate(wanted) if one}


def _candidate(name: str, source: Volumes, k: int) -> Candidate:
    facts = source.facts()[k]
    # a volume without a resolution may claim the coarsest: it is compared there alone
    resolution = min(facts.resolution_angst, source.diameter_angst / 5)
    return Candidate(name, facts.volume, source.pixel_size_angst, resolution)


def _write_winner(
    session: Path, particles: int, found: CrossValidation, names: dict, branch: Volumes
) -> None:
    """The winning volume, and the particles of its structure with their poses."""
    source, k = names[found.winner.name]
    path = session / layout.validation_file(particles, "chosen.mrc")
    write_volume(path, source.volumes[k], source.pixel_size_angst)
    if source is branch:
        groups, table = read_particles(session / branch.folder / "particles.star")
        alike = structures(
            branch.facts(),
            pixel_size_angst=branch.pixel_size_angst,
            diameter_angst=branch.diameter_angst,
        )
        together = next(group for group in alike if k in group)
        table = table[table["rlnClassNumber"].isin([i + 1 for i in together])]
    else:
        groups, table = read_particles(session / source.folder / "selected.star")
    write_particles(session / layout.validation_file(particles, "particles.star"), groups, table)


def _draw(
    session: Path, particles: int, found: CrossValidation, names: dict, averages: AverageSet
) -> None:
    projections = {
        one.name: matched_projections(
            averages,
            names[one.name][0].volumes[names[one.name][1]],
            names[one.name][0].pixel_size_angst,
            one.matches,
        )
        for one in found.volumes
    }
    picture = draw_matches(
        np.asarray(averages.images),
        projections,
        {one.name: one.matches.correlation for one in found.volumes},
        averages.pixel_size_angst,
        diameter_angst=names[found.winner.name][0].diameter_angst,
        hands={one.name: one.hand for one in found.volumes},
        chosen=found.winner.name,
    )
    write_png(session / layout.validation_file(particles, "crossvalidation.png"), picture)


def _write_nothing(session: Path, particles: int, about: dict) -> None:
    write_no_particles(session / layout.validation_file(particles, "particles.star"))
    _write_table(session, particles, about, pd.DataFrame(columns=_COLUMNS))


def _write_table(session: Path, particles: int, about: dict, table: pd.DataFrame) -> None:
    """The scores of the round, last: they say that all is there."""
    path = session / layout.validation_file(particles, "crossvalidation.star")
    write_star(path, {"general": about, "volumes": table})
    publish(session, layout.VALIDATION, particles, [path.name], path.name)
