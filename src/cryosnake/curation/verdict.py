"""What a filter says about a movie, and how the verdicts of all filters become one answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryosnake.config.model import CurationConfig
from cryosnake.decisions import Decision
from cryosnake.tables import star_text

#: The filters, in the order in which they are asked (and in which the first to reject is named).
FILTERS = ("input", "dose", "drift", "spectrum", "class", "ctf")

#: From the most telling to the least: an empty hole has no shifts that could be trusted either,
#: contamination dims the view, a crack makes its quarters differ.
REASONS = ("input", "class", "drift", "spectrum", "ctf", "dose")

#: The flag column of each filter: 1 pass, 0 fail, -1 not computed.
FLAG_COLUMNS = {
    "input": "csnPassInput",
    "dose": "csnPassDose",
    "drift": "csnPassDrift",
    "spectrum": "csnPassSpectrum",
    "class": "csnPassClass",
    "ctf": "csnPassCtf",
}


@dataclass(frozen=True)
class Verdict:
    """What one filter says about one movie.

    Parameters
    ----------
    filter : one of `FILTERS`.
    passed : the metrics are within the thresholds.
    value, threshold : what was measured and what it was held against, in words, with units.
    confidence : 0.5 at the threshold, 1 far from it.
    metrics : the table columns that this filter measured.
    evidence : what speaks for the verdict, in words; `-` where the value says it all.
    """

    filter: str
    passed: bool
    value: str
    threshold: str
    confidence: float = 1.0
    metrics: dict = field(default_factory=dict)
    evidence: str = "-"

    def __post_init__(self):
        if self.filter not in FILTERS:
            raise ValueError(f"filter = {self.filter!r} is not one of {FILTERS}")

    def columns(self) -> dict:
        """The metrics and the flag, as they stand in the row of the movie."""
        return {**self.metrics, FLAG_COLUMNS[self.filter]: int(self.passed)}

    def explanation(self) -> str:
        """The verdict in words, storable in a STAR value."""
        evidence = f" ({self.evidence})" if self.evidence != "-" else ""
        return star_text(f"{self.value}; accepted: {self.threshold}{evidence}")

    def decision(self, subject: str) -> Decision:
        """The verdict as an entry of `decisions.star`."""
        return Decision(
            subject=subject,
            rule=self.filter,
            verdict="pass" if self.passed else "fail",
            value=self.value,
            threshold=self.threshold,
            confidence=self.confidence,
            evidence=self.evidence,
        )


def distance_confidence(value: float, threshold: float, scale: float) -> float:
    """Confidence in a comparison: 0.5 at the threshold, rising linearly to 1 at `scale` from it."""
    return 0.5 + 0.5 * min(1.0, abs(value - threshold) / scale)


def rejects(filter: str, config: CurationConfig) -> bool:
    """Whether a fail of this filter rejects the movie, or is only noted."""
    return filter == "input" or filter in config.reject_by


def movie_columns(verdicts: Iterable[Verdict], config: CurationConfig) -> dict:
    """All columns that the filters give to a movie's row.

    The metrics and flags of every verdict, -1 for filters that were not asked, and
    `csnAccepted`, `csnReason`, `csnExplanation` from the first filter (in the order of `REASONS`)
    that fails and is allowed to reject; the explanation then names what others found.
    """
    ordered = sorted(verdicts, key=lambda verdict: REASONS.index(verdict.filter))
    row = dict.fromkeys(FLAG_COLUMNS.values(), -1)
    for verdict in ordered:
        row |= verdict.columns()
    failed = [v for v in ordered if not v.passed and rejects(v.filter, config)]
    row["csnAccepted"] = int(not failed)
    row["csnReason"] = failed[0].filter if failed else "-"
    row["csnExplanation"] = failed[0].explanation() if failed else "-"
    if len(failed) > 1:
        row["csnExplanation"] += "; also " + "; ".join(star_text(v.value) for v in failed[1:])
    return row
