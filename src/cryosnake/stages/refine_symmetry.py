"""The symmetry of a refinement: the one that is configured, and the one that the map shows."""

import logging

import numpy as np

from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.stages.postprocess import Postprocessed
from cryosnake.validation.align_maps import Pose, moved
from cryosnake.validation.symmetry import CONVINCING, SymmetryFound, find_symmetry

log = logging.getLogger("cryosnake")

#: A reference is held against a group to this part of the diameter: as far as first volumes go.
_DETAIL = 0.1


def on_axes(
    reference: np.ndarray, pixel_size_angst: float, diameter_angst: float, group: str
) -> np.ndarray | None:
    """The reference (n, n, n) with its axes where RELION has the group's; None where it does not
    have the group."""
    try:
        found = find_symmetry(
            reference, pixel_size_angst, None, _DETAIL * diameter_angst, groups=(group,)
        )
    except BadInputError as error:
        log.warning("symmetry of the reference: %s", error)
        return None
    if not found or not found[0].convincing:
        log.warning("the reference is not %s: %s", group, found[0].evidence if found else "-")
        return None
    log.info("the reference is %s: %s", group, found[0].evidence)
    turn = found[0].rotation
    pose = Pose(turn, -turn @ found[0].centre_angst, False, found[0].correlation)
    return moved(reference, pose, pixel_size_angst)


def symmetries(
    found: Postprocessed, halves: np.ndarray, pixel_size_angst: float
) -> list[SymmetryFound]:
    """Groups that a map shows, the largest first."""
    try:
        tried = find_symmetry(
            found.volume,
            pixel_size_angst,
            found.mask,
            found.resolution_angst,
            halves=(halves[0], halves[1]),
        )
    except BadInputError as error:
        log.info("no symmetry is looked for: %s", error)
        return []
    return [one for one in tried if one.convincing]


def as_row(found: SymmetryFound) -> dict:
    """A group as `result.json` has it."""
    return {
        "group": found.group,
        "correlation": found.correlation,
        "expected": found.expected,
        "axis": found.rotation[2],
        "rotation": found.rotation,
        "centre_angst": found.centre_angst,
        "resolution_angst": found.resolution_angst,
        "evidence": found.evidence,
    }


def symmetry_told(
    subject: str, configured: str, applied: str, found: list[SymmetryFound]
) -> Decision:
    """What is told of the symmetry; a group that was refused is a failure."""
    refused = configured != applied
    shown = f"{found[0].group}, correlation {found[0].correlation:.2f}" if found else "none"
    value = f"{shown}; applied: {applied}"
    if refused:
        value += f", since the reference does not have {configured}"
    return Decision(
        subject=subject,
        rule="symmetry",
        verdict="fail" if refused else "info",
        value=value,
        threshold=f"each rotation correlates by {CONVINCING:g} of what the noise allows",
        evidence=found[0].evidence if found else "no group of rotations reaches that",
    )
