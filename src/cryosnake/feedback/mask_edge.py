"""Does density reach the edge of the mask? The box or the mask is too small."""

import numpy as np

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import MOSTLY_CUT, Classes, graded

RULE = "mask_edge"
#: Share of the particles in classes that are cut from which it is suspected.
SUSPICIOUS = 0.25
#: The mask that a particle needs, over its long axis.
ROOM = 1.1
_THRESHOLD = f"below {MOSTLY_CUT:.0%} of the particles in classes that the mask cuts"


def decide(classes: Classes) -> Decision:
    """Warn where the density of most averages goes on to the edge of the mask."""
    seen = classes.seen
    if not len(seen):
        return classes.nothing(RULE, _THRESHOLD)
    shares, contact = classes.shares(seen), classes.value("contact")[seen]
    touching = classes.cut[seen]
    part = float(shares[touching].sum())
    level, confidence = graded(part, SUSPICIOUS, MOSTLY_CUT)
    because = f"{int(touching.sum())} of {len(seen)} classes are cut by the mask"
    if level != "clear":
        because += (
            f", along {np.average(contact[touching], weights=shares[touching]):.0%} of its "
            f"circumference; {_needed(classes)}"
        )
    return classes.decide(
        RULE,
        seen,
        level=level,
        value=f"{part:.0%} of the particles in classes that are cut by the mask of "
        f"{classes.mask_diameter_angst:.0f} A",
        threshold=_THRESHOLD,
        confidence=confidence,
        because=because,
    )


def _needed(classes: Classes) -> str:
    """What mask and box are needed, as far as the measured size tells."""
    box_angst = classes.averages.shape[-1] * classes.pixel_size_angst
    needed = ROOM * classes.long_axis_angst
    if needed <= classes.mask_diameter_angst:
        return (
            f"the measured long axis of {classes.long_axis_angst:.0f} A would fit: it is too "
            f"small, and how far the density goes on cannot be seen"
        )
    enough = "is enough" if needed < box_angst else "is too small"
    return f"a mask of {needed:.0f} A is needed, and the box of {box_angst:.0f} A {enough} for it"
