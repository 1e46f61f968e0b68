"""Poses of an earlier refinement, for particles that were in it."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.stages.refine_files import Refinement, read_refinement
from cryosnake.validation.align_maps import align_maps
from cryosnake.validation.choice import SAME
from cryosnake.validation.resize import resized
from cryosnake.volumes3d import VolumePoses
from cryosnake.volumes3d.pose_columns import poses_of

log = logging.getLogger("cryosnake")

#: The particle's name before it was extracted again, the same in all rounds.
NAME = "rlnImageOriginalName"
#: Fewer particles with a pose are no start.
LEAST = 200
#: Both maps are held against each other to this part of the diameter.
_DETAIL = 1 / 6
_REACH = 0.06  # of the diameter: both are centred
_PLACE = ("rlnCoordinateX", "rlnCoordinateY")
_ORIGIN = ("rlnOriginXAngst", "rlnOriginYAngst")


def earlier_refinement(session: Path, particles: int) -> Refinement | None:
    """The newest refinement with a resolution of a round of fewer particles."""
    paths = (session / layout.REFINE).glob("*/result.json")
    numbers = (int(path.parent.name) for path in paths if path.parent.name.isdigit())
    for number in sorted((n for n in numbers if n < particles), reverse=True):
        found = read_refinement(session, number)
        if found.problem is None and found.result["resolution_angst"] is not None:
            return found
    return None


def earlier_poses(
    session: Path,
    particles: int,
    groups: pd.DataFrame,
    table: pd.DataFrame,
    reference: np.ndarray,
    pixel_size_angst: float,
    diameter_angst: float,
) -> VolumePoses | None:
    """Poses that the particles of a table had in the refinement before; None where there is none,
    where it has another structure than the reference, or where it knows few of the particles.

    Particles that are new have an angle `rot_deg` of NaN, and half set -1.
    """
    try:
        before = earlier_refinement(session, particles)
        if before is None or NAME not in table:
            return None
        found = align_maps(
            reference,
            resized(
                before.map("map"),
                before.result["pixel_size_angst"],
                len(reference),
                pixel_size_angst,
            ),
            pixel_size_angst,
            _DETAIL * diameter_angst,
            max_shift_angst=_REACH * diameter_angst,
        )
        if found.best.correlation < SAME:
            log.info("round %d refined another structure; starting anew", before.particles)
            return None
        known = before.particle_blocks()[1]
    except BadInputError as error:
        log.warning("starting anew: %s", error)
        return None
    columns = moved_along(groups, table, known)
    number = int((columns["rlnClassNumber"] > 0).sum())
    if number < LEAST:
        log.info("round %d knows %d of the particles; starting anew", before.particles, number)
        return None
    log.info("%d of %d particles have poses of round %d", number, len(table), before.particles)
    return poses_of(columns)


def moved_along(groups: pd.DataFrame, table: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """What is known of the particles of a table, in its order, with origins about its own boxes.

    A particle lies at coordinate - origin / pixel size, whatever box was cut about it. Those that
    are not known have class 0, half set 0 and an angle that is NaN.
    """
    if NAME not in known:
        known = known.iloc[:0].assign(**{NAME: []})
    known = known.drop_duplicates(NAME).set_index(NAME)
    found = known.reindex(table[NAME])
    for place, origin in zip(_PLACE, _ORIGIN, strict=True):
        if place in table and place in found and "rlnMicrographPixelSize" in groups:
            pixel = groups.set_index("rlnOpticsGroup")["rlnMicrographPixelSize"]
            pixel_angst = table["rlnOpticsGroup"].map(pixel).to_numpy(float)
            apart_px = table[place].to_numpy(float) - found[place].to_numpy(float)
            found[origin] = found[origin].to_numpy(float) + apart_px * pixel_angst
    whole = ["rlnClassNumber", "rlnRandomSubset"]
    found[whole] = found[whole].fillna(0).astype(int)
    return found.reset_index()
