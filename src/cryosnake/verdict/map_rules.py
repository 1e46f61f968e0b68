"""Rules about the refined map: is it what its resolution says?"""

from cryosnake.decisions import Decision
from cryosnake.verdict.evidence import Evidence
from cryosnake.verdict.reason import DOUBT, MAP, NOISE, NOTE, Reason

#: Below this share of particles in good 2D classes, noise in 3D is noise in the data.
LITTLE = 0.3
#: With fewer particles in 2D, that no class is good may be chance.
ENOUGH_PARTICLES = 5000
#: What is advised where 2D suspects few views and 3D cannot tell.
USUAL_TILT_DEG = 30


def reason_of(
    decision: Decision, speaks_for: str, rank: int, advice: str, *, verdict: str | None = None
) -> Reason:
    """A decision as a reason."""
    return Reason(
        rule=decision.rule,
        speaks_for=speaks_for,
        verdict=verdict or decision.verdict,
        value=decision.value,
        threshold=decision.threshold,
        evidence=decision.evidence,
        advice=advice,
        rank=rank,
    )


def noise(evidence: Evidence) -> list[Reason]:
    """Particles that do not show the map, or no good 2D class at all."""
    if evidence.classified and not evidence.kept:
        sure = evidence.classified >= ENOUGH_PARTICLES
        return [
            Reason(
                rule="class2d",
                speaks_for="stop" if sure else "unsure",
                verdict="fail" if sure else "unsure",
                value=f"none of {evidence.classified} particles is in a good 2D class",
                threshold=f"some, of {ENOUGH_PARTICLES} particles or more",
                evidence="the montage of the 2D classes",
                advice="Stop and look at the micrographs: either there are no particles, or the "
                "picker found other things."
                if sure
                else "Wait for the next 2D round, and look at the picks meanwhile.",
                rank=NOISE if sure else DOUBT,
            )
        ]
    told = evidence.told("refine_noise", ("warn",))
    if told is None:
        return []
    if evidence.classified and evidence.kept < LITTLE * evidence.classified:
        advice = "Stop: neither 2D nor 3D shows a particle; check grid, concentration and picking."
        return [reason_of(told, "stop", NOISE, advice)]
    advice = "Do not use this map: look whether the 2D classes are real, go to thinner ice or more "
    advice += "defocus, and wait for the next round."
    return [reason_of(told, "change", MAP, advice)]


def orientation(evidence: Evidence) -> list[Reason]:
    """Preferred orientation, in the map or, before there is one, in the 2D classes."""
    in_map = evidence.told("refine_orientation")
    in_2d = evidence.told("views", ("warn",))
    if in_map is None:
        if in_2d is None:
            return []
        return [reason_of(in_2d, "change", MAP, _tilt(USUAL_TILT_DEG))]
    if in_map.verdict == "warn":
        found = (evidence.result or {}).get("orientation") or {}
        return [reason_of(in_map, "change", MAP, _tilt(found.get("tilt_deg")))]
    if in_map.verdict == "unsure" and in_2d is not None:
        return [
            reason_of(in_2d, "change", MAP, _tilt(USUAL_TILT_DEG)),
            reason_of(in_map, "go", NOTE, "See whether the map is stretched in one direction."),
        ]
    advice = "Nothing to do: the views are spread well enough."
    if in_map.verdict == "unsure":
        advice = "Look at the picture of the views again after the next round."
    return [reason_of(in_map, "go", NOTE, advice)]


def _tilt(tilt_deg: int | None) -> str:
    if not tilt_deg:
        return (
            "The particles lie in few orientations and no tilt that is worth it would help: try "
            "another grid, support film or detergent."
        )
    return f"Tilt the stage by {tilt_deg} degrees for the rest of the session."


def box(evidence: Evidence) -> list[Reason]:
    """Density that the box or its mask cuts; the map tells it better than 2D classes."""
    in_map = evidence.told("refine_box")
    if in_map is None:
        in_2d = evidence.told("mask_edge", ("warn",))
        if in_2d is None:
            return []
        advice = "The mask cuts the particle: set a larger class2d.mask_diameter_angst, and "
        return [reason_of(in_2d, "change", MAP, advice + "particles.box_px with it.")]
    if in_map.verdict != "warn":
        return [reason_of(in_map, "go", NOTE, "Nothing to do: the box is large enough.")]
    found = (evidence.result or {}).get("box") or {}
    pixel, needed_px = evidence.result.get("pixel_size_angst"), found.get("needed_box_px")
    needed = f"a box of {needed_px * pixel:.0f} A" if needed_px and pixel else "a larger box"
    if found.get("needed_mask_angst"):
        needed += f" and a mask of {found['needed_mask_angst']:.0f} A"
    advice = (
        f"The particle is cut: set particles.box_px and class2d.mask_diameter_angst for {needed}."
    )
    return [reason_of(in_map, "change", MAP, advice)]


def known_map(evidence: Evidence) -> list[Reason]:
    """A control sample that does not become the map that it should be."""
    told = evidence.told("refine_known_map")
    if told is None:
        return []
    if told.verdict == "warn":
        advice = "Check pixel size, voltage and sample: the map is not the known one."
        return [reason_of(told, "change", MAP, advice)]
    if told.verdict == "fail":
        return [reason_of(told, "go", NOTE, "Correct validation.known_map.")]
    return [reason_of(told, "go", NOTE, "Nothing to do: the known map comes out.")]


def choice(evidence: Evidence) -> list[Reason]:
    """Whether the right volume was refined."""
    reasons = []
    told = evidence.told("crossvalidation")
    if told is not None and told.verdict == "pass":
        reasons.append(reason_of(told, "go", NOTE, "Nothing to do: the class averages confirm it."))
    elif told is not None:
        advice = "Do not trust the volume yet: look at its projections beside the class averages, "
        reasons.append(reason_of(told, "unsure", DOUBT, advice + "and wait for the next round."))
    in_3d = evidence.told("class3d", ("fail", "unsure"))
    if in_3d is not None and told is None:
        advice = "No volume is clearly the particle yet: let the session go on to the next round."
        reasons.append(reason_of(in_3d, "unsure", DOUBT, advice))
    failed = evidence.told("refine", ("fail", "unsure"))
    if failed is not None and not evidence.told("refine_noise", ("warn",)):
        advice = "There is no map of the newest round: see the log, and wait for the next round."
        reasons.append(reason_of(failed, "unsure", DOUBT, advice))
    return reasons
