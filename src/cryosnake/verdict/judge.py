"""The verdict: all rules asked, and their reasons weighed."""

from cryosnake.verdict import goal_rules, map_rules, sample_rules
from cryosnake.verdict.evidence import Evidence
from cryosnake.verdict.reason import DOUBT, NOTE, Reason, Verdict

#: Every rule, by what it looks at.
RULES = (
    map_rules.noise,
    map_rules.orientation,
    map_rules.box,
    map_rules.known_map,
    map_rules.choice,
    goal_rules.goal,
    sample_rules.acceptance,
    sample_rules.heterogeneity,
    sample_rules.alarms,
)


def judge(evidence: Evidence) -> Verdict:
    """Go on, change something, stop, or unsure.

    Of the reasons that speak against going on, the one of the lowest rank decides; with none, the
    verdict is go. Reasons are sorted so that what decides is first.
    """
    reasons = [reason for rule in RULES for reason in rule(evidence)]
    reasons += _progress(evidence) + _unreadable(evidence)
    against = [reason for reason in reasons if reason.speaks_for != "go"]
    verdict = min(against, key=lambda reason: reason.rank).speaks_for if against else "go"
    reasons.sort(key=lambda one: (one.speaks_for != verdict, one.speaks_for == "go", one.rank))
    return Verdict(verdict, reasons)


def _progress(evidence: Evidence) -> list[Reason]:
    """How far the session is, while there is no map."""
    if evidence.result is not None:
        return []
    begun = bool(evidence.classified and evidence.kept)
    if begun:
        value = f"{evidence.kept} of {evidence.classified} particles are in good 2D classes"
    elif evidence.classified:
        return []  # that none is good is a reason of its own
    else:
        value = f"{evidence.accepted} micrographs are accepted; no 2D classes yet"
    return [
        Reason(
            rule="progress",
            speaks_for="go" if begun else "unsure",
            verdict="info" if begun else "unsure",
            value=value,
            threshold="a refined map",
            evidence="-",
            advice="Go on: the first map comes after the next steps."
            if begun
            else "Go on: it is too early to tell.",
            rank=NOTE if begun else DOUBT,
        )
    ]


def _unreadable(evidence: Evidence) -> list[Reason]:
    return [
        Reason(
            rule="verdict",
            speaks_for="unsure",
            verdict="fail",
            value=problem,
            threshold="files that can be read",
            evidence="-",
            advice="Remove the damaged file and run again: it is made anew.",
            rank=DOUBT,
        )
        for problem in evidence.problems
    ]
