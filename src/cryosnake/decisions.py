"""Decisions: every verdict explains itself, and is kept where an operator can read it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from cryosnake.tables import star_text

VERDICTS = ("pass", "fail", "warn", "info", "unsure")


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Decision:
    """What was decided about a subject, by which rule, from which value against which threshold.

    Parameters
    ----------
    subject : a movie, a batch, `session`.
    rule : the rule that decided (`ctf`, `drift`, `input`, ...).
    verdict : one of `pass`, `fail`, `warn`, `info`, `unsure`.
    value, threshold : texts with their unit, as an operator would read them.
    confidence : 0 to 1.
    evidence : a file, a picture or a sentence.
    time : ISO 8601, UTC; now unless given.
    """

    subject: str
    rule: str
    verdict: str
    value: str
    threshold: str
    confidence: float = 1.0
    evidence: str = "-"
    time: str = field(default_factory=now)

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict = {self.verdict!r} is not one of {VERDICTS}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence = {self.confidence} is not within 0 and 1")


def as_table(decisions: Iterable[Decision]) -> pd.DataFrame:
    """One row a decision, in the columns of `decisions.star`."""
    return pd.DataFrame(
        [
            {
                "csnTime": d.time,
                "csnSubject": star_text(d.subject),
                "csnRule": d.rule,
                "csnVerdict": d.verdict,
                "csnValue": star_text(d.value),
                "csnThreshold": star_text(d.threshold),
                "csnConfidence": d.confidence,
                "csnEvidence": star_text(d.evidence),
            }
            for d in decisions
        ]
    )
