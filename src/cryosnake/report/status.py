"""How the session is doing, in words for someone who is woken up by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cryosnake.config.model import Config
from cryosnake.curation import FLAG_COLUMNS
from cryosnake.report.table import latest

#: Fewer judged movies than this are too few for a verdict.
ENOUGH_MOVIES = 10
_BATCHES_BEHIND = 3
_SHARE_TO_MENTION = 0.1
_Z = 1.645  # two-sided 90 %
#: Subjects of the steps that are done again with more particles.
_ROUND = (
    r"^(?P<step>class2d|abinitio|class3d|branch2d|branch3d|crossvalidation|refine|forecast)"
    r" (?P<round>\d+)"
)


@dataclass(frozen=True)
class Finding:
    """Something an operator should know: what it is, what to do, and `problem` or `watch`."""

    what: str
    advice: str
    level: str


@dataclass(frozen=True)
class Status:
    """The headline of the report.

    Parameters
    ----------
    level : `good`, `watch`, `problem`, `unsure` (too early) or `waiting` (no movies).
    headline : one sentence.
    summary : what was seen and what was accepted.
    findings : what is wrong and what to do, the worst first.
    """

    level: str
    headline: str
    summary: str
    findings: list[Finding]


ADVICE = {
    "input": "Look at the first rows of the table of rejected movies. Usual causes: the transfer"
    " from the camera was interrupted, the disk is full, or the gain reference is of another size.",
    "dose": "Check the beam on the screen: emission, apertures, beam centring. Thick ice or a grid"
    " bar in the view also lowers the dose.",
    "drift": "Let the stage settle longer after a move, look at the holder or the cryo-box, and"
    " avoid broken or loose foil.",
    "spectrum": "The four quarters of the view do not look alike: thick or uneven ice, the edge of"
    " the carbon, or a beam that does not fill the view.",
    "class": "See the rejected pictures below for what the views have in common.",
    "ctf": "See the CTF pictures of rejected micrographs below.",
}

RULE_ADVICE = {
    "acquisition": "Find out which value is right, and set it in the session's config.yaml, which"
    " wins over the metadata.",
    "gain": "Look at the micrographs below: a gain reference that does not fit shows as stripes or"
    " blocks. Set acquisition.gain or acquisition.gain_orientation in config.yaml.",
    "yield": "Look at pictures of that region below: few particles in good ice want another square"
    " or another grid; particles that are there but not picked want another picking model.",
    "particle_contrast": "Invert the contrast of the particles in the program that extracted them,"
    " and start a session with those.",
    "class2d": "Look at the classes that are left out. A label that is wrong can be corrected by"
    " hand in the file that class2d.overrides names; junk in most classes wants a better model.",
    "class2d_mask": "Set particles.box_px so that the box has room for the mask, or a smaller"
    " class2d.mask_diameter_angst.",
    "views": "The particles prefer an orientation. Tilt the stage for a part of the session, or try"
    " another grid, support film or detergent.",
    "species": "The classes show particles of different sizes. Find out from the pictures whether"
    " they are all of the sample; those that are not can be left out by hand.",
    "fragments": "Some classes show parts of the particle: it may come apart, or the picks may be"
    " off its centre.",
    "mask_edge": "The particle reaches the edge of the mask: set a larger"
    " class2d.mask_diameter_angst, and particles.box_px if the box has no room for it.",
    "size_contradiction": "The classes show particles of another size than was measured: set"
    " picking.diameter_angst to what the classes show.",
    "featureless": "Smooth discs without features fill the classes: empty detergent, nanodiscs or"
    " vesicles. Leave those classes out by hand, and look at the preparation.",
    "class2d_overrides": "Mend the line in the file that class2d.overrides names, and run again.",
    "class2d_ranker": "Look at the log of the program that class2d.ranker names; until it runs, the"
    " built-in model judges the classes.",
    "class2d_stream": "Look at the particle stack of that batch; remove its folder below"
    " results/particles and run again to extract it anew.",
    "class2d_quality": "Look at pictures of that region below: fewer of its particles look like the"
    " good classes. Another square or grid may be better.",
    "class3d": "Look at the volumes: where none looks like a particle, more or better particles are"
    " needed; where two are close, look whether they are two structures or the same twice.",
    "class3d_heterogeneity": "Look at the volumes: two species, two states, or a particle that"
    " comes apart. Only the most populated structure goes on.",
    "class3d_junk": "Many particles that passed 2D show nothing in 3D: leave doubtful 2D classes"
    " out by hand, or pick more strictly.",
    "branch3d": "The volumes of the second 3D classification do not convince: see whether those of"
    " the first do, and what the class averages say of them.",
    "branch3d_heterogeneity": "Look at the volumes of the branch: the particles kept in 3D may"
    " still be of two kinds.",
    "branch3d_junk": "Particles that were kept in 3D show nothing when sorted again: the set is not"
    " clean yet; later rounds start from more particles.",
    "minority": "Most particles are junk in 2D; 3D began with the few good classes. Pick more"
    " strictly, or improve the preparation.",
    "crossvalidation": "No volume explains the class averages clearly better than the others, or"
    " than a ball. Look at the picture; do not trust the map before more particles settle it.",
    "reextraction": "Look whether the micrographs that the particles are from are still there and"
    " whole; the log of the rule reextract names them.",
    "refine": "Look at the log of the rule refine. The refinement of the next round starts anew.",
    "refine_orientation": "The map is worse in some directions. Tilt the stage for the rest of the"
    " session by the angle that is recommended, or try another grid, support film or detergent.",
    "refine_box": "The particle does not fit: set particles.box_px to what is needed, and a larger"
    " class2d.mask_diameter_angst if that is named.",
    "refine_mask": "The mask makes the halves agree by itself, so the resolution may be too good."
    " Trust the curve without mask, and look at the map at its edge.",
    "refine_noise": "The particles do not show the map: what is seen may be noise or a reference"
    " come back. Go back to the 2D classes, and do not use this map.",
    "refine_known_map": "The result is not the known map: check validation.known_map, the pixel"
    " size and the voltage, and whether this is the control sample.",
    "symmetry": "A symmetry that is found is reported only. If it is right, set refine.symmetry. A"
    " group that the reference does not have is refused.",
    "refine_defocus": "It needs refine.engine native, and particles that show a map.",
    "forecast": "See how many particles the target needs, and decide whether the hours are worth"
    " it. A better grid may gain more than time.",
    "verdict": "See the reasons at the top of the page.",
}

RULE_TITLES = {
    "class2d": "2D classes",
    "class2d_mask": "Mask",
    "class2d_overrides": "Labels by hand",
    "class2d_ranker": "Other judge of classes",
    "class2d_stream": "Particles of a batch",
    "class2d_quality": "Quality of particles",
    "mask_edge": "Edge of the mask",
    "size_contradiction": "Particle size",
    "featureless": "Features",
    "species": "Kinds of particles",
    "class3d": "3D classes",
    "class3d_heterogeneity": "Structures in 3D",
    "class3d_junk": "Particles that show nothing",
    "branch3d": "3D branch",
    "branch3d_heterogeneity": "Structures in the 3D branch",
    "branch3d_junk": "Particles that show nothing in the 3D branch",
    "minority": "Good particles are a minority",
    "crossvalidation": "Cross-validation",
    "reextraction": "Extraction for the refinement",
    "refine": "Refinement",
    "refine_orientation": "Orientations",
    "refine_box": "Box",
    "refine_mask": "Mask of the map",
    "refine_noise": "Noise",
    "refine_known_map": "Known map",
    "refine_defocus": "Defocus of each particle",
}

CLASS_ADVICE = {
    "film": "Mostly support film: check the hole targeting and the beam-image shifts.",
    "drift_crack": "Moving or torn ice: choose other squares, or let the stage settle longer.",
    "minor_ice": "Traces of crystalline ice: acceptable in most work, watch whether it grows.",
    "major_ice": "Crystalline ice: leave this square or this grid.",
    "contamination": "Ice contamination on the surface: choose cleaner squares, and check the"
    " vacuum and the transfer.",
    "empty": "Nothing to see in the holes: check the targeting, the ice thickness, and that the"
    " beam is on.",
}

CTF_ADVICE = {
    "resolution": "The rings end too early: check focus, beam tilt and coma alignment, and look"
    " whether the ice has become thick.",
    "defocus": "The defocus is out of range: check the autofocus and the stage height.",
    "astigmatism": "The objective astigmatism is too large: correct the stigmators.",
}


CLASS_TITLES = {
    "good": "good",
    "film": "support film",
    "drift_crack": "drift or crack",
    "minor_ice": "minor ice",
    "major_ice": "major ice",
    "contamination": "contamination",
    "empty": "empty",
}


def wilson_interval(successes: int, trials: int, z: float = _Z) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927, J Am Stat Assoc 22, 209); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    total = 1 + z * z / trials
    return max(0.0, (centre - spread) / total), min(1.0, (centre + spread) / total)


def percent(part: float, whole: float) -> str:
    """A share in percent, without decimals; a part that is not all is never shown as 100 %."""
    if whole == 0:
        return "-"
    share = 100.0 * part / whole
    rounded = min(99, round(share)) if part < whole else 100
    return "under 1 %" if part > 0 and rounded == 0 else f"{rounded} %"


def session_status(
    table: pd.DataFrame,
    decisions: pd.DataFrame,
    left_out: pd.DataFrame,
    config: Config,
    *,
    batches_seen: int,
    batches_pending: int,
    further: Sequence[Finding] = (),
) -> Status:
    """Say in words how the session is doing.

    Parameters
    ----------
    table : as `report.table.prepared` gives it.
    decisions : in the columns of decisions.star; may be empty.
    left_out : those about files that were not taken in (`report.table.left_out_files`).
    further : findings of other parts of the report.
    """
    if table.empty:
        waits = (
            f" Waiting: {count(batches_pending, 'batch', 'batches')}." if batches_pending else ""
        )
        return Status(
            "waiting",
            "Waiting for the first movies.",
            f"No movie has been processed yet.{waits}",
            _left_out(left_out),
        )
    accepted, total = int(table["csnAccepted"].sum()), len(table)
    summary = (
        f"{count(total, 'movie')} processed in {count(batches_seen, 'batch', 'batches')};"
        f" {accepted:,} accepted ({percent(accepted, total)})."
    )
    window = latest(table, config.curation.dose_window_movies)
    good, judged = int(window["csnAccepted"].sum()), len(window)
    findings = [
        *_fallen(table, window),
        *_reasons(window, config),
        *_left_out(left_out),
        *_dose(window, config),
        *_warnings(decisions),
        *_behind(batches_pending),
        *further,
    ]
    low, _high = wilson_interval(good, judged)
    _low, high = wilson_interval(good, judged)
    wanted = config.report.low_acceptance
    which = f"the latest {judged} movies" if judged < total else count(judged, "movie")
    share = "None" if good == 0 else percent(good, judged)
    things = "one thing" if len(findings) == 1 else f"{len(findings)} things"
    if judged < ENOUGH_MOVIES:
        level, headline = "unsure", f"Too early to say: {good} of {which} accepted so far."
    elif high < wanted:
        level, headline = "problem", f"Too few: {share.lower()} of {which} accepted."
    elif any(finding.level == "problem" for finding in findings):
        level, headline = "problem", f"Something is wrong: {share} of {which} accepted."
    elif low < wanted:
        level, headline = "watch", f"{share} of {which} accepted: keep an eye on it."
    elif findings:
        level = "watch"
        headline = f"Running well ({share} of {which} accepted), {things} to look at."
    else:
        level, headline = "good", f"All is well: {share} of {which} accepted."
    order = {"problem": 0, "watch": 1}
    return Status(level, headline, summary, sorted(findings, key=lambda f: order[f.level]))


def given_findings(decisions: pd.DataFrame, batches_pending: int) -> list[Finding]:
    """What an operator should know of a session that starts from particles."""
    return [*_warnings(decisions), *_behind(batches_pending)]


def rule_title(rule: str) -> str:
    """A rule's name as people read it."""
    return RULE_TITLES.get(rule, rule.replace("_", " ").capitalize())


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _fallen(table: pd.DataFrame, window: pd.DataFrame) -> list[Finding]:
    """Acceptance of the window against all that came before it (two-proportion z-test)."""
    before = table.iloc[: len(table) - len(window)]
    if len(before) < len(window) or len(window) < ENOUGH_MOVIES:
        return []
    was, now = before["csnAccepted"].mean(), window["csnAccepted"].mean()
    pooled = table["csnAccepted"].mean()
    error = math.sqrt(pooled * (1 - pooled) * (1 / len(before) + 1 / len(window)))
    if was - now < 0.15 or was - now < 3 * error:
        return []
    return [
        Finding(
            f"Acceptance fell from {100 * was:.0f} % to {100 * now:.0f} % in the latest"
            f" {len(window)} movies.",
            "Find what changed at that time in the curves below: another square, another grid, the"
            " beam or the stage.",
            "problem",
        )
    ]


def _reasons(window: pd.DataFrame, config: Config) -> list[Finding]:
    """The filters that reject a notable part of the window."""
    findings = []
    judged = len(window)
    rejected = window.loc[window["csnAccepted"] == 0, "csnReason"].value_counts()
    for reason, number in rejected.items():
        if reason not in ADVICE:
            continue
        # unreadable files are never normal; any other filter is there to reject now and then
        if reason != "input" and (number < 3 or number < _SHARE_TO_MENTION * judged):
            continue
        subset = window[window["csnReason"] == reason]
        cause, advice = _cause(subset, str(reason), config)
        level = "problem" if number > (1 - config.report.low_acceptance) * judged else "watch"
        findings.append(
            Finding(
                f"{FILTER_TITLES[reason]} filter: {number} of the latest"
                f" {count(judged, 'movie')} rejected{cause}.",
                advice,
                level,
            )
        )
    return findings


FILTER_TITLES = {
    "input": "Input",
    "dose": "Dose",
    "drift": "Drift",
    "spectrum": "Power spectrum",
    "class": "Micrograph class",
    "ctf": "CTF",
}


def _cause(subset: pd.DataFrame, reason: str, config: Config) -> tuple[str, str]:
    """What is behind most rejections by one filter, and what helps."""
    if reason == "input":
        return f"; the latest: {subset['csnExplanation'].iloc[-1]}", ADVICE[reason]
    if reason == "class":
        counts = subset["csnMicrographClass"].value_counts()
        label = counts.index[0]
        if 2 * counts.iloc[0] <= len(subset):  # no single cause, no single advice
            named = (f"{CLASS_TITLES.get(name, name)} {count}" for name, count in counts.items())
            return f" ({', '.join(named)})", ADVICE[reason]
        if label in CLASS_ADVICE:
            return f", mostly {CLASS_TITLES[label]}", CLASS_ADVICE[label]
    if reason == "ctf":
        limits = config.curation
        defocus = subset["csnDefocusMean_angst"]
        bad = {
            "resolution": (subset["rlnCtfMaxResolution"] > limits.ctf_max_resolution_angst).sum(),
            "defocus": (
                (defocus < limits.defocus_min_angst) | (defocus > limits.defocus_max_angst)
            ).sum(),
            "astigmatism": (subset["csnAstigmatism_ratio"] > limits.astigmatism_max_ratio).sum(),
        }
        worst = max(bad, key=bad.get)
        if bad[worst]:
            return f", mostly for {worst}", CTF_ADVICE[worst]
    return "", ADVICE[reason]


def _dose(window: pd.DataFrame, config: Config) -> list[Finding]:
    """The dose filter monitors even where it does not reject."""
    flags = window[FLAG_COLUMNS["dose"]]
    known = int((flags >= 0).sum())
    faulty = int((flags == 0).sum())
    if "dose" in config.curation.reject_by or known < ENOUGH_MOVIES:
        return []
    if faulty <= config.curation.dose_faulty_fraction * known:
        return []
    return [
        Finding(
            f"The dose of {faulty} of the latest {known} movies is more than"
            f" {100 * config.curation.dose_tolerance:g} % off the session's median.",
            ADVICE["dose"],
            "problem",
        )
    ]


def _warnings(decisions: pd.DataFrame) -> list[Finding]:
    """What other rules warn of, or are unsure of about the session; the newest of each rule.

    The dose has a finding of its own, and unreadable files are in the table of rejected movies.
    """
    if decisions.empty:
        return []
    subject, verdict = decisions["csnSubject"], decisions["csnVerdict"]
    telling = (verdict == "warn") | ((subject == "session") & verdict.isin(["fail", "unsure"]))
    telling &= ~decisions["csnRule"].isin(["dose", "input"])
    found = subject.str.extract(_ROUND)
    rounds = pd.to_numeric(found["round"])
    telling |= rounds.notna() & (verdict == "fail")
    # a round of a step speaks for all before it
    telling &= rounds.isna() | (rounds == rounds.groupby(found["step"]).transform("max"))
    findings = []
    for rule, rows in decisions[telling].groupby("csnRule", sort=False):
        newest = rows.iloc[-1]
        more = f" ({len(rows):,} notes of this kind)" if len(rows) > 1 else ""
        findings.append(
            Finding(
                f"{rule_title(str(rule))}: {newest['csnValue']}{more}.",
                RULE_ADVICE.get(rule, f"See the decisions of the rule {rule} below."),
                "watch",
            )
        )
    return findings


def _left_out(left_out: pd.DataFrame) -> list[Finding]:
    """Files that were seen and not taken in; one that still grows is nothing unusual."""
    failed = left_out[left_out["csnVerdict"] == "fail"] if len(left_out) else left_out
    if failed.empty:
        return []
    return [
        Finding(
            f"{count(len(failed), 'file')} seen but not taken in: {failed['csnValue'].iloc[-1]}.",
            "They are the first rows of the table of rejected movies. Correct the files (name,"
            " permissions, transfer), and they are taken in.",
            "watch",
        )
    ]


def _behind(batches_pending: int) -> list[Finding]:
    if batches_pending < _BATCHES_BEHIND:
        return []
    return [
        Finding(
            f"{batches_pending} batches wait to be processed.",
            "Normal after a start or a pause. If the number keeps growing, give the session more"
            " jobs or a GPU, and look whether jobs fail or wait in the queue.",
            "watch",
        )
    ]
