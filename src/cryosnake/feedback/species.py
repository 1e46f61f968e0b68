"""Do the averages weigh the same? Several species, or oligomers of one."""

import numpy as np

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import Classes, graded, weighted_quantile

RULE = "species"
#: Mass over the median mass outside of which a class is of another particle. Classes of one species
#: scatter by 5 to 12 % (weak ones by 17 %): low frequencies are lost to the CTF and to the filter.
LIGHT, HEAVY = 0.70, 1.50
#: What is lighter than this is debris, which `fragments` counts.
DEBRIS = 0.20
#: Share of the particles in such classes.
MIXED, SUSPICIOUS = 0.10, 0.05
_THRESHOLD = f"below {MIXED:.0%} outside of {LIGHT:g} to {HEAVY:g} of the median mass"


def relative_mass(classes: Classes, chosen: np.ndarray) -> np.ndarray:
    """(M,) mass over the median over the particles. The median is taken twice, without debris the
    second time."""
    mass = classes.value("mass")[chosen]
    shares = classes.shares(chosen)
    whole = mass >= DEBRIS * weighted_quantile(mass, shares, 0.5)
    return mass / weighted_quantile(mass[whole], shares[whole], 0.5)


def decide(classes: Classes) -> Decision:
    """Warn where good classes differ in mass: the integral of a projection is the same in all views
    of an object (the central slice at frequency 0)."""
    good = classes.good
    if not len(good):
        return classes.nothing(RULE, _THRESHOLD)
    if classes.mostly_cut:
        return classes.unmeasurable(RULE, _THRESHOLD)
    shares, relative = classes.shares(good), relative_mass(classes, good)
    light = (relative < LIGHT) & (relative >= DEBRIS)
    heavy = relative > HEAVY
    part = float(shares[light | heavy].sum())
    level, confidence = graded(part, SUSPICIOUS, MIXED)
    low, high = (weighted_quantile(relative, shares, q) for q in (0.1, 0.9))
    because = f"mass of {len(good)} good classes between {low:.2f} and {high:.2f} (10 and 90 %)"
    diameter = classes.value("diameter_angst")[good]
    for name, chosen in (("lighter", light), ("heavier", heavy)):
        if chosen.any():
            because += (
                f"; {name}: {shares[chosen].sum():.0%} at "
                f"{np.average(relative[chosen], weights=shares[chosen]):.2f} of the mass, "
                f"{np.average(diameter[chosen], weights=shares[chosen]):.0f} A across"
            )
    return classes.decide(
        RULE,
        good,
        level=level,
        value=f"{part:.0%} of the particles in classes of another mass",
        threshold=_THRESHOLD,
        confidence=confidence,
        because=because,
    )
