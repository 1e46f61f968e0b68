"""Do the averages contradict the measured size?"""

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import Classes, graded

RULE = "size_contradiction"
#: How far the longest outlines may be from the measured long axis, and the mean diameter of the
#: outlines from the measured diameter.
APART, SUSPICIOUS = 0.25, 0.20
_SHORTER = "; either the measured axis is too long, or the particle is only seen along it"
_THRESHOLD = f"within {APART:.0%}"


def decide(classes: Classes) -> Decision:
    """Warn where the longest good averages are of another length than the measured long axis."""
    good = classes.good
    if not len(good):
        return classes.nothing(RULE, _THRESHOLD)
    seen_angst, diameter_angst = classes.extents_angst
    apart = seen_angst / classes.long_axis_angst - 1.0
    if classes.mostly_cut and apart < APART:
        return classes.unmeasurable(RULE, _THRESHOLD)
    level, confidence = graded(abs(apart), SUSPICIOUS, APART)
    return classes.decide(
        RULE,
        good,
        level=level,
        value=f"the longest averages measure {seen_angst:.0f} A, the measured long axis is "
        f"{classes.long_axis_angst:.0f} A ({apart:+.0%})",
        threshold=_THRESHOLD,
        confidence=confidence,
        because=f"outlines of {len(good)} good classes, {diameter_angst:.0f} A across; measured "
        f"{classes.diameter_angst:.0f} A" + (_SHORTER if apart < -SUSPICIOUS else ""),
    )
