"""Rules about the goal: is the target reached, or what would it take?"""

import math

from cryosnake.validation.forecast import in_words
from cryosnake.verdict.evidence import Evidence
from cryosnake.verdict.reason import DOUBT, GOAL, Reason

#: More hours than this, even at best, are not worth it on this grid.
MOST_HOURS = 48.0


def goal(evidence: Evidence) -> list[Reason]:
    """What the forecast says of the target resolution."""
    found = evidence.forecast
    if not evidence.refined or not found:
        return []
    said = found.get("verdict")
    if said == "reached":
        return [_reached(evidence)]
    if said == "out of reach":
        advice = "Stop, or collect at a higher magnification (or set a finer "
        advice += "refine.pixel_size_angst): more particles at this pixel size do not reach it."
        return [_reason(evidence, "stop", "warn", advice, GOAL)]
    if said == "forecast":
        return [_in_hours(evidence)]
    if len(found.get("points") or []) > 2 and found.get("b_factor_angst2") is None:
        advice = "More particles have not helped so far: look for heterogeneity or thick ice."
        return [_reason(evidence, "unsure", "unsure", advice, DOUBT)]
    # nothing speaks against the map; only the hours are not known yet
    advice = "Go on to the next round: with more particles the forecast becomes sure."
    return [_reason(evidence, "go", "unsure", advice, GOAL)]


def _reached(evidence: Evidence) -> Reason:
    if evidence.confirmed:
        advice = "Stop and take the next sample: this one is good enough."
        return _reason(evidence, "stop", "pass", advice, GOAL)
    advice = "The figure is reached, but the class averages do not confirm the volume: look at it."
    return _reason(evidence, "unsure", "unsure", advice, DOUBT)


def _in_hours(evidence: Evidence) -> Reason:
    hours, low = (_number(evidence.forecast.get(key)) for key in ("hours", "hours_low"))
    if math.isnan(hours):
        return _reason(evidence, "go", "info", "Go on; how long is not known without a pace.", GOAL)
    at_best = hours if math.isnan(low) else low
    if at_best > MOST_HOURS:
        advice = f"Stop, or change the grid: even at best it takes {at_best:.0f} hours more."
        return _reason(evidence, "stop", "warn", advice, GOAL)
    if hours > MOST_HOURS:
        advice = f"It may take {hours:.0f} hours more: go on to the next round, then decide."
        return _reason(evidence, "unsure", "unsure", advice, DOUBT)
    return _reason(evidence, "go", "info", f"Go on for about {max(hours, 0.1):.2g} hours.", GOAL)


def _reason(evidence: Evidence, speaks_for: str, verdict: str, advice: str, rank: int) -> Reason:
    found = evidence.forecast
    value = f"{evidence.result['resolution_angst']:.2f} A from {evidence.result['particles']:,} "
    value += "particles"
    expected, hours = _number(found.get("particles")), _number(found.get("hours"))
    if math.isfinite(expected):
        value += f"; the target needs about {in_words(expected)} particles"
    if math.isfinite(hours):
        value += f", {hours:.1f} hours more"
    return Reason(
        rule="forecast",
        speaks_for=speaks_for,
        verdict=verdict,
        value=value,
        threshold=f"{found['target_angst']:g} A within {MOST_HOURS:.0f} hours",
        evidence=str(found.get("evidence", "-")),
        advice=advice,
        rank=rank,
    )


def _number(value) -> float:
    return math.nan if value is None else float(value)
