"""Does the quality of particles fall, with time or on a grid square? Alerts from counts alone."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import fisher_exact

from cryosnake.decisions import Decision

#: A region, and what it is held against, must have so many particles.
ENOUGH_PARTICLES = 200
#: A region whose part of particles in good classes is below this share of the others' is poor.
POOR_RATIO = 0.7
#: The latest batches are judged together.
LATEST_BATCHES = 5
SIGNIFICANCE = 0.01


def quality_alerts(
    batches: Sequence[dict], squares: Sequence[dict], *, evidence: str
) -> list[Decision]:
    """Warn where the latest batches, or a grid square, put far fewer particles into good classes.

    Two things must hold: the part of particles in good classes is below `POOR_RATIO` times that of
    all others, and it is smaller beyond chance (Fisher's exact test, one-sided, divided by the
    number of regions). Particles of a micrograph are alike, which the test does not know: the
    ratio is what decides where there are many.

    Parameters
    ----------
    batches, squares : dicts with `particles` and `good` (part of them in classes that are kept),
        and `batch`, in order, or `square` (`-`: not known).
    evidence : where to look.

    Returns
    -------
    Decisions of rule `class2d_quality`, verdict `warn`: squares, then the latest batches (subject
    `session`).
    """
    regions = []
    number = np.array([one["particles"] for one in squares], int)
    good = np.array([one["good"] for one in squares], float) * number
    for i, one in enumerate(squares):
        if one["square"] != "-":
            words = f"grid square {one['square']}"
            counts = (number[i], good[i], number.sum() - number[i], good.sum() - good[i])
            regions.append((one["square"], words, counts))
    number = np.array([one["particles"] for one in batches], int)
    good = np.array([one["good"] for one in batches], float) * number
    if len(batches) >= 2 * LATEST_BATCHES:
        late = slice(-LATEST_BATCHES, None)
        early = slice(None, -LATEST_BATCHES)
        words = f"the latest {LATEST_BATCHES} batches"
        counts = (number[late].sum(), good[late].sum(), number[early].sum(), good[early].sum())
        regions.append(("session", words, counts))
    regions = [one for one in regions if min(one[2][0], one[2][2]) >= ENOUGH_PARTICLES]
    alerts = []
    for subject, words, (inside, good_inside, outside, good_outside) in regions:
        share, usual = good_inside / inside, good_outside / outside
        if not share < POOR_RATIO * usual:
            continue
        table = np.rint(
            [[good_inside, inside - good_inside], [good_outside, outside - good_outside]]
        )
        chance = min(1.0, fisher_exact(table, alternative="less").pvalue * len(regions))
        if chance >= SIGNIFICANCE:
            continue
        alerts.append(
            Decision(
                subject=subject,
                rule="class2d_quality",
                verdict="warn",
                value=f"{share:.0%} of the particles of {words} in good classes",
                threshold=f"at least {POOR_RATIO:g} of {usual:.0%}, that of the others",
                confidence=float(1.0 - chance),
                evidence=f"{inside:.0f} particles against {outside:.0f}; {evidence}",
            )
        )
    return alerts
