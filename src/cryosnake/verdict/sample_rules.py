"""Rules about sample and microscope: what most of the time is lost to."""

from cryosnake.verdict.evidence import Evidence
from cryosnake.verdict.map_rules import reason_of
from cryosnake.verdict.reason import DOUBT, NOTE, SAMPLE, Reason

#: Fewer movies say nothing of a grid.
LEAST_MOVIES = 50
_OF_FILTER = {
    "dose": "check the dose and the gain reference",
    "drift": "wait longer after stage moves, or check the stage",
    "spectrum": "check the gain reference and the detector",
    "class": "choose squares with thinner, cleaner ice",
    "ctf": "check focus and astigmatism, and choose thinner ice",
    "input": "check the transfer of the movies",
}


def acceptance(evidence: Evidence) -> list[Reason]:
    """Most micrographs are rejected."""
    if evidence.movies < LEAST_MOVIES:
        return []
    share = evidence.accepted / evidence.movies
    low = share < evidence.low_acceptance
    most = max(evidence.rejected_by, key=evidence.rejected_by.get, default=None)
    advice = "Nothing to do: most micrographs are good."
    listed = ", ".join(f"{name} {n}" for name, n in sorted(evidence.rejected_by.items()))
    if low:
        advice = f"Most micrographs are lost: {_OF_FILTER.get(most, 'look at the rejected ones')}."
    return [
        Reason(
            rule="acceptance",
            speaks_for="change" if low else "go",
            verdict="warn" if low else "pass",
            value=f"{100 * share:.0f} % of {evidence.movies} micrographs are accepted",
            threshold=f"{100 * evidence.low_acceptance:.0f} %",
            evidence=f"rejected by: {listed or 'none'}",
            advice=advice,
            rank=SAMPLE if low else NOTE,
        )
    ]


def heterogeneity(evidence: Evidence) -> list[Reason]:
    """Two species in 2D, two structures in 3D: both together are an alarm."""
    in_2d = evidence.told("species", ("warn",))
    in_3d = evidence.told("class3d_heterogeneity", ("warn",))
    close = evidence.told("class3d", ("unsure",))
    sorted_in_3d = evidence.told("class3d") is not None
    advice = "The sample is a mixture: purify it further, or count only the part of the particles "
    advice += "that the refined structure keeps."
    if in_2d is not None and (in_3d is not None or not sorted_in_3d):
        return [reason_of(in_2d, "change", SAMPLE, advice)]
    if close is not None and in_3d is not None:
        advice = "Two structures have nearly as many particles: look which one is yours."
        return [reason_of(close, "unsure", DOUBT, advice)]
    told = in_3d or in_2d
    if told is None:
        return []
    return [reason_of(told, "go", NOTE, "Look at the volumes; the most populated one goes on.")]


#: Rules of 2D whose alarm asks for a change, and what to do.
_ALARMS = {
    "featureless": "Check the preparation: most particles are empty discs, detergent or vesicles.",
    "fragments": "Check the sample: particles come apart or stick together; try a fresher or more "
    "dilute one.",
    "size_contradiction": "Set picking.diameter_angst to the size that the 2D classes show.",
    "minority": "Most picks are junk: improve the preparation, or pick more strictly.",
}


def alarms(evidence: Evidence) -> list[Reason]:
    """What 2D classes tell of the sample."""
    found = [
        reason_of(told, "change", SAMPLE, advice)
        for rule, advice in _ALARMS.items()
        if (told := evidence.told(rule, ("warn",))) is not None
    ]
    few = evidence.told("class2d", ("warn",))
    if few is not None and evidence.kept and not evidence.told("minority", ("warn",)):
        found.append(reason_of(few, "change", SAMPLE, _ALARMS["minority"]))
    return found
