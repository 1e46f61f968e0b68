"""Are particles broken, or stuck together?"""

import numpy as np

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import Classes, graded, weighted_quantile
from cryosnake.feedback.species import relative_mass

RULE = "fragments"
#: A class is of pieces where both its mass, over the median mass, and the diameter of its outline,
#: over the larger ones, are below these. What is small but not light is the end of a rod, what is
#: light but not small is flat, or another species.
LIGHT, SMALL = 0.45, 0.75
_LARGER = 0.8  # share of the particles in classes that are smaller than the larger ones
#: Share of the particles in classes of pieces.
BROKEN, BROKEN_SUSPICIOUS = 0.10, 0.05
#: Share of the particles in classes with a neighbour. A crowded micrograph has a fifth of them.
CLUSTERED, CLUSTERED_SUSPICIOUS = 0.30, 0.22
_THRESHOLD = f"below {BROKEN:.0%} in pieces, below {CLUSTERED:.0%} with a neighbour"


def decide(classes: Classes) -> Decision:
    """Warn where many particles are pieces of the others, or have neighbours in contact."""
    seen = classes.seen
    if not len(seen):
        return classes.nothing(RULE, _THRESHOLD)
    if classes.mostly_cut:
        return classes.unmeasurable(RULE, _THRESHOLD)
    shares = classes.shares(seen)
    neighbour = (classes.label[seen] == "clip") & ~classes.kept[seen]
    pieces = np.zeros(len(seen), bool)
    whole = ~neighbour
    if whole.any():
        diameter = classes.value("diameter_angst")[seen[whole]]
        larger_angst = weighted_quantile(diameter, shares[whole], _LARGER)
        light = relative_mass(classes, seen[whole]) < LIGHT
        pieces[whole] = light & (diameter < SMALL * larger_angst)
    broken, clustered = float(shares[pieces].sum()), float(shares[neighbour].sum())
    verdicts = [
        graded(broken, BROKEN_SUSPICIOUS, BROKEN),
        graded(clustered, CLUSTERED_SUSPICIOUS, CLUSTERED),
    ]
    order = ("clear", "suspicion", "alarm")
    level = max((name for name, _ in verdicts), key=order.index)
    confidence = [sure for name, sure in verdicts if name == level]
    return classes.decide(
        RULE,
        seen,
        level=level,
        value=f"{broken:.0%} of the particles in classes of pieces, "
        f"{clustered:.0%} with a neighbour",
        threshold=_THRESHOLD,
        confidence=min(confidence) if level == "clear" else max(confidence),
        because=f"{int(pieces.sum())} of {len(seen)} classes are smaller and lighter than the "
        f"others, {int(neighbour.sum())} show a neighbour",
    )
