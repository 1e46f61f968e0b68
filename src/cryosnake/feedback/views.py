"""Do a few views hold most particles? The suspicion of preferred orientation."""

import math

import numpy as np

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import Classes, graded, weighted_quantile
from cryosnake.feedback.similarity import similarities, standardised
from cryosnake.feedback.sphere import misfit, radial_profile

RULE = "views"
#: Averages that correlate above this, in the band of `similarity`, are the same view: noise-free
#: projections do up to some 15 degrees apart.
SAME_VIEW = 0.8
#: Share of the particles in the largest group of like views. Of particles that lie anywhere it is a
#: quarter to a half: of a barrel or a rod, half of the views lie within 30 degrees of its side.
DOMINANT, SUSPICIOUS = 0.75, 0.65
#: Averages must resolve this part of the particle, else its views are blobs and look alike.
RESOLVED = 1 / 7
#: Long over short extent below which an outline counts as round.
ROUND = 1.18
#: Share of the profile's power that no sphere explains; see `sphere.misfit`.
NO_SPHERE = 0.08
#: An outline that much longer than the round ones, at the same mass, is another view of the same
#: particle, which then is no sphere.
LONGER, SAME_MASS = 1.25, 0.25
#: Measured long over short axis above which it is none either.
ELONGATED = 1.4
_WORSE = {"clear": "suspicion", "suspicion": "alarm", "alarm": "alarm"}
_IMPOSSIBLE = "{:.0%} of the mean profile cannot come from anything that is seen from everywhere"
_THRESHOLD = f"below {DOMINANT:.0%} in one group of like views (correlation above {SAME_VIEW:g})"


def groups(similarity: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    """Members of groups of like views, the largest first: again and again, the class with most
    particles like it and all these."""
    alike = similarity >= SAME_VIEW
    np.fill_diagonal(alike, True)
    left = np.ones(len(shares), bool)
    found = []
    while left.any():
        reach = np.where(left, (alike & left) @ shares, -1.0)
        members = alike[int(np.argmax(reach))] & left
        found.append(np.flatnonzero(members))
        left &= ~members
    return found


def groups_of_views(classes: Classes, chosen: np.ndarray) -> list[np.ndarray]:
    """Groups of like views among the chosen classes (M,), as indices into these."""
    long_angst, diameter_angst = classes.extents_angst
    fields = [
        standardised(
            classes.averages[k],
            classes.measures[k].centre_px,
            pixel_size_angst=classes.pixel_size_angst,
            long_angst=long_angst,
            diameter_angst=diameter_angst,
        )
        for k in chosen
    ]
    return groups(similarities(fields), classes.shares(chosen))


def decide(classes: Classes) -> Decision:
    """Warn where one group of views dominates and the particle is not as good as a sphere."""
    good = classes.good
    if not len(good):
        return classes.nothing(RULE, _THRESHOLD)
    shares = classes.shares(good)
    views = groups_of_views(classes, good)
    parts = np.array([shares[members].sum() for members in views])
    effective = float(np.exp(-(parts * np.log(parts)).sum()))
    level, confidence = graded(float(parts[0]), SUSPICIOUS, DOMINANT)
    because = f"{len(good)} good classes fall into {len(views)} groups of like views"
    unexplained = misfit(mean_profile(classes, good))
    if unexplained > NO_SPHERE and not classes.mostly_cut:
        level, confidence = _WORSE[level], max(confidence, 0.5)
        because += f"; {_IMPOSSIBLE.format(unexplained)}"
    elif level != "clear":
        sentence, tellable = _cannot_be_a_sphere(classes, good, good[views[0]])
        because += f"; {sentence}"
        if not tellable:
            level, confidence = "open", 0.5
    return classes.decide(
        RULE,
        good,
        level=level,
        value=f"{parts[0]:.0%} of the particles in the largest group of like views, "
        f"{effective:.1f} effective views",
        threshold=_THRESHOLD,
        confidence=confidence,
        because=because,
    )


def _cannot_be_a_sphere(
    classes: Classes, good: np.ndarray, largest: np.ndarray
) -> tuple[str, bool]:
    """A sentence on whether the dominating views, the classes `largest`, can be told from those of
    a sphere, and whether so."""
    shares = classes.shares(largest)
    coarse_angst = weighted_quantile(classes.resolution_angst[largest], shares, 0.5)
    if coarse_angst > RESOLVED * math.sqrt(math.prod(classes.extents_angst)):
        return f"but at {coarse_angst:.0f} A the views of so small a particle look alike", False
    long_angst, short_angst = classes.value("long_angst"), classes.value("short_angst")
    elongation = weighted_quantile(long_angst[largest] / short_angst[largest], shares, 0.5)
    if elongation > ROUND:
        return f"its outline is no circle (axes 1 to {elongation:.2f})", True
    unexplained = misfit(mean_profile(classes, largest))
    if unexplained > NO_SPHERE:
        return f"its outline is a circle, but {_IMPOSSIBLE.format(unexplained)}", True
    mass = classes.value("mass")
    others = np.setdiff1d(good, largest)
    extent = weighted_quantile(long_angst[largest], shares, 0.5)
    usual = weighted_quantile(mass[largest], shares, 0.5)
    side = others[
        (long_angst[others] > LONGER * extent) & (np.abs(mass[others] / usual - 1) < SAME_MASS)
    ]
    if len(side):
        return (
            f"its outline is a circle of {extent:.0f} A, but other averages of the same mass are "
            f"{long_angst[side].max():.0f} A long",
            True,
        )
    measured = classes.long_axis_angst / classes.short_axis_angst
    if measured > ELONGATED:
        return f"its outline is a circle, but the measured axes are 1 to {measured:.2f}", True
    return "its outline is a circle: a sphere from everywhere, or one view, 2D cannot tell", False


def mean_profile(classes: Classes, chosen: np.ndarray) -> np.ndarray:
    """Radial mean of the chosen averages, by their particles, out to the mask."""
    radius_px = int(0.5 * classes.mask_diameter_angst / classes.pixel_size_angst)
    radius_px = min(radius_px, classes.averages.shape[-1] // 2 - 1)
    profiles = [
        radial_profile(classes.averages[k], classes.measures[k].centre_px, radius_px)
        for k in chosen
    ]
    return np.average(profiles, axis=0, weights=classes.population[chosen])
