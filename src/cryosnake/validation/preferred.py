"""Preferred orientation: the verdict, its evidence, and the stage tilt that would help.

Views and map have to agree. `preferred`: the views leave directions of Fourier space out (`score`
below 0.5), and the map is uneven (`area_ratio` below 0.5) or holds less in just these directions
(`gap_ratio` below 0.6). `none`: no gaps, and an even map. Anything else is `unsure`: a map may be
uneven because particles were misaligned or are junk, and views may be few yet enough.
"""

import math
from dataclasses import dataclass

import numpy as np

from cryosnake.validation.directional import DirectionalFsc
from cryosnake.validation.sampling import Sampling, sampling, tilted_views

MIN_AREA_RATIO = 0.5  # below, cryoSPARC's guide calls a map anisotropic
MIN_GAP_RATIO = 0.6
MIN_SCORE = 0.5  # views from all sides of one axis give 0.81; a gap of 19 degrees gives 0.5
_TILTS_DEG = (0, 10, 20, 30, 40)  # beyond, ice and drift cost more than views bring
_GAIN = 0.05  # a steeper tilt must raise the score by this
_MIN_VIEWS = 200
_WORST, _BEST = 5, 10  # per cent of the cones, by how well the views sample them


@dataclass(frozen=True)
class PreferredOrientation:
    """Whether particles prefer an orientation so much that the map suffers.

    Attributes
    ----------
    verdict : `preferred`, `none` or `unsure`.
    area_ratio, score, empty_fraction : of the map's cones and of the views' sampling.
    gap_ratio : mean area below the curves of the cones that are sampled least (5 %) over that of
        those that are sampled best (10 %).
    confidence : 0.5 to 1, from how far both measures are from their thresholds.
    tilt_deg : recommended stage tilt; None where the verdict is not `preferred`.
    score_at_tilt : {tilt in degrees: score that the same particles would give}.
    evidence : a sentence.
    """

    verdict: str
    area_ratio: float
    score: float
    empty_fraction: float
    gap_ratio: float
    confidence: float
    tilt_deg: int | None
    score_at_tilt: dict[int, float]
    evidence: str


def preferred_orientation(
    directional: DirectionalFsc, views: np.ndarray, *, seed: int = 1
) -> PreferredOrientation:
    """Verdict from the cones of a map and the views (N, 3) of its particles."""
    now = sampling(views, seed=seed)
    ratio, in_gaps = directional.area_ratio, gap_ratio(directional, now)
    gaps = now.score < MIN_SCORE
    scores: dict[int, float] = {}
    tilt_deg = None
    verdict, confidence = "unsure", 0.5
    worse = min(ratio / MIN_AREA_RATIO, in_gaps / MIN_GAP_RATIO)
    if len(views) >= _MIN_VIEWS and gaps and worse < 1.0:
        verdict = "preferred"
        confidence = _confidence(worse, now.score / MIN_SCORE)
        scores = {tilt: sampling(tilted_views(views, tilt)).score for tilt in _TILTS_DEG}
        tilt_deg = recommended_tilt_deg(scores)
    elif len(views) >= _MIN_VIEWS and not gaps and ratio >= MIN_AREA_RATIO:
        verdict = "none"
        confidence = _confidence(ratio / MIN_AREA_RATIO, now.score / MIN_SCORE)
    return PreferredOrientation(
        verdict=verdict,
        area_ratio=ratio,
        score=now.score,
        empty_fraction=now.empty_fraction,
        gap_ratio=in_gaps,
        confidence=confidence,
        tilt_deg=tilt_deg,
        score_at_tilt=scores,
        evidence=_sentence(directional, now, in_gaps, len(views), tilt_deg, scores),
    )


def _confidence(*over_threshold: float) -> float:
    """0.5 where one of the measures is at its threshold, 1 where all are 50 % away from it."""
    return 0.5 + 0.5 * min(1.0, 2.0 * min(abs(value - 1.0) for value in over_threshold))


def gap_ratio(directional: DirectionalFsc, now: Sampling) -> float:
    """How much less of the map there is in the cones that views sample least; chosen by the views
    alone, so that noise of the curves does not choose them."""
    near = math.cos(math.radians(directional.cone_deg))
    within = np.abs(directional.directions @ now.directions.T) >= near
    density = (within @ np.minimum(now.density, 1.0)) / within.sum(1)
    low, high = np.percentile(density, [_WORST, 100 - _BEST])
    best = directional.areas[density >= high].mean()
    return float(directional.areas[density <= low].mean() / best) if best > 0 else 0.0


def recommended_tilt_deg(score_at_tilt: dict[int, float]) -> int:
    """The least tilt whose score passes the threshold; else the last one that was worth it, since
    every degree of tilt costs resolution through thicker ice and drift (Tan 2017)."""
    tilts = sorted(score_at_tilt)
    chosen = tilts[0]
    for tilt in tilts:
        if score_at_tilt[tilt] >= score_at_tilt[chosen] + _GAIN:
            chosen = tilt
        if score_at_tilt[chosen] >= MIN_SCORE:
            break
    return chosen


def _sentence(
    directional: DirectionalFsc,
    now: Sampling,
    in_gaps: float,
    number: int,
    tilt_deg: int | None,
    scores: dict[int, float],
) -> str:
    text = (
        f"resolution by direction {directional.best_angst:.1f} to {directional.worst_angst:.1f} A "
        f"(area ratio {directional.area_ratio:.2f}, even above {MIN_AREA_RATIO}); "
        f"sampling score of {number} views {now.score:.2f} (even above {MIN_SCORE}), "
        f"{100 * now.empty_fraction:.0f} % of the directions hardly seen; the map holds "
        f"{in_gaps:.2f} as much where views are fewest (even above {MIN_GAP_RATIO})"
    )
    if tilt_deg is not None:
        text += f"; at {tilt_deg} degrees of tilt the score would be {scores[tilt_deg]:.2f}"
    return text
