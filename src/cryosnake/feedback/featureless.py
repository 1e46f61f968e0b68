"""Are the averages smooth discs without features? Empty detergent, empty nanodiscs, vesicles."""

import numpy as np
from scipy import ndimage

from cryosnake.decisions import Decision
from cryosnake.feedback.classes import Classes, graded
from cryosnake.feedback.measure import DETAIL_BLUR_ANGST, Measures
from cryosnake.feedback.species import LIGHT, relative_mass
from cryosnake.feedback.views import groups_of_views

RULE = "featureless"
#: Detail (see `detail`) below which a class shows nothing but its outline and a rim. Proteins have
#: 0.10 to 0.30.
SMOOTH = 0.085
#: A class can be judged where it is better resolved than this, in angstrom and as part of its
#: diameter (domains show at 15 angstrom, whatever the particle), and where its noise is below that
#: share of its density. Classes lighter than the others may be noisier: the others show that the
#: data hold detail.
RESOLVED_ANGST, RESOLVED = 17.0, 1 / 4.5
NOISY, NOISY_LIGHT = 0.13, 0.30
#: Share of the particles that can be judged, of the light or of the other ones, in smooth classes.
EMPTY, SUSPICIOUS = 0.45, 0.35
#: Smooth classes must show this many different views: seen along its axis, a protein of high
#: symmetry is a smooth ring as well.
FEWEST_VIEWS = 2
#: Share of the particles in classes that can be judged, of the light or the other ones, below which
#: nothing is said about them; light ones must be that share of all.
JUDGED = 0.4
LIGHT_SHARE = 0.08
_DEGREE = 6
_ORDER = ("clear", "open", "suspicion", "alarm")
_THRESHOLD = (
    f"below {EMPTY:.0%} of the particles, or of the light ones, in classes with a detail below "
    f"{SMOOTH:g}"
)


def detail(average: np.ndarray, measures: Measures, pixel_size_angst: float) -> float:
    """Density inside the outline that its shape alone does not explain, over the mean density.

    The model is a polynomial of degree 6 in |u| and |v|, the places along the outline's principal
    axes (without linear terms, so that it is smooth at the centre): even in both, as every view of
    a disc, a shell or an ellipsoid is. What remains is measured by its root mean square after a
    blur of `DETAIL_BLUR_ANGST`, the noise around the outline taken out (in squares).
    """
    image = np.nan_to_num(np.asarray(average, float))
    smooth = ndimage.gaussian_filter(image, DETAIL_BLUR_ANGST / pixel_size_angst)
    inside = smooth[measures.outline]
    places = np.argwhere(measures.outline).astype(float)
    places -= places.mean(0)
    axes = np.linalg.eigh(places.T @ places)[1]
    u, v = np.abs(places @ axes).T / max(len(places), 1) ** 0.5
    terms = [
        u**i * v**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i) if i != 1 and j != 1
    ]
    model = np.stack(terms, 1)
    rest = inside - model @ np.linalg.lstsq(model, inside, rcond=None)[0]
    squared = (rest.std() / max(inside.mean(), 1e-12)) ** 2 - measures.noise**2
    return float(np.sqrt(max(squared, 0.0)))


def decide(classes: Classes) -> Decision:
    """Warn where several different views, of all particles or of those that are lighter than the
    others, show nothing but an outline."""
    good = classes.good
    if not len(good):
        return classes.nothing(RULE, _THRESHOLD)
    light = relative_mass(classes, good) < LIGHT
    if classes.shares(good)[light].sum() < LIGHT_SHARE:
        light[:] = False
    found = [_judged(classes, "good", good[~light], NOISY)]
    if light.any():
        found.append(_judged(classes, "light", good[light], NOISY_LIGHT))
    level, confidence, value, because = max(found, key=lambda one: _ORDER.index(one[0]))
    return classes.decide(
        RULE,
        good,
        level=level,
        value=value,
        threshold=_THRESHOLD,
        confidence=confidence,
        because=because,
    )


def _judged(
    classes: Classes, name: str, chosen: np.ndarray, noisy: float
) -> tuple[str, float, str, str]:
    """Level, confidence, value and sentence on some of the classes."""
    finest_angst = np.minimum(RESOLVED_ANGST, RESOLVED * classes.value("diameter_angst"))
    resolved = classes.resolution_angst <= finest_angst
    judged = chosen[(classes.value("noise")[chosen] <= noisy) & resolved[chosen]]
    if classes.population[judged].sum() < JUDGED * classes.population[chosen].sum():
        blind = len(chosen) - len(judged)
        because = f"{blind} of {len(chosen)} {name} averages are too noisy or too coarse to tell"
        return "open", 0.0, "-", because
    details = np.array(
        [detail(classes.averages[k], classes.measures[k], classes.pixel_size_angst) for k in judged]
    )
    smooth = details < SMOOTH
    part = float(classes.shares(judged)[smooth].sum())
    level, confidence = graded(part, SUSPICIOUS, EMPTY)
    because = (
        f"detail of {len(judged)} {name} classes from {details.min():.2f} to {details.max():.2f}"
    )
    if level != "clear":
        views = len(groups_of_views(classes, judged[smooth]))
        because += f"; the {int(smooth.sum())} smooth ones show {views} different views"
        if views < FEWEST_VIEWS:
            level, confidence = "suspicion", 0.3
            because += ", which may be one along an axis of symmetry"
    value = f"{part:.0%} of the particles of {name} classes in such without features"
    return level, confidence, value, because
