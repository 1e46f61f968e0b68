"""The verdict at the top of the report: go on, change something, or stop."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.report.json_values import length, rows_of, whole_number
from cryosnake.report.status import RULE_ADVICE, count, rule_title
from cryosnake.report.volumes_files import read_object
from cryosnake.report.volumes_words import forecast_words

_REASONS_SHOWN = 4
#: Level of the page's colours, and the first words.
_VERDICTS = {
    "go": ("good", "Go on"),
    "change": ("watch", "Change something"),
    "stop": ("problem", "Stop"),
    "unsure": ("unsure", "Not sure yet"),
}
_ALARMING = ("fail", "warn", "unsure")


@dataclass(frozen=True)
class Reason:
    """Why, and what to do: in words; `level` has the page's colours."""

    level: str
    what: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class VerdictSection:
    """The verdict; all but the first two may be empty.

    Parameters
    ----------
    level : `good`, `watch`, `problem` or `unsure`.
    told : rule and value of the reasons that are shown, so that they are not told twice.
    """

    level: str
    headline: str
    words: str = ""
    of: str = ""
    reasons: list[Reason] = field(default_factory=list)
    more: int = 0
    told: set[tuple[str, str]] = field(default_factory=set)

    def untold(self, decisions: pd.DataFrame) -> pd.DataFrame:
        """Decisions less those that are among the reasons shown."""
        if decisions.empty:
            return decisions
        pairs = zip(decisions["csnRule"], decisions["csnValue"], strict=True)
        return decisions[[pair not in self.told for pair in pairs]]


def verdict_section(results_dir: Path) -> VerdictSection | None:
    """What `results/verdict.json` says; None before there is one.

    A file that is damaged is told in its place.
    """
    problems: list[str] = []
    found = read_object(results_dir, layout.VERDICT, problems)
    if problems:
        return VerdictSection("unsure", f"No verdict: {problems[0]}")
    if found is None:
        return None
    level, first = _VERDICTS.get(str(found.get("verdict")), _VERDICTS["unsure"])
    reasons = [row for row in rows_of(found.get("reasons")) if row.get("rule") and row.get("value")]
    # in the order of the verdict: what decides is first
    against = [row for row in reasons if _is_against(row)]
    shown = against or [row for row in reasons if row.get("verdict") != "pass"] or reasons
    angst, particles = length(found.get("resolution_angst")), whole_number(found.get("particles"))
    resolution = f"{angst:.2f} Å" if angst else ""
    if resolution and particles is not None:
        resolution += f" from {count(particles, 'particle')}"
    forecast = found.get("forecast")
    words = [resolution, forecast_words(forecast if isinstance(forecast, dict) else None)]
    number = whole_number(found.get("round"))
    return VerdictSection(
        level=level,
        headline=f"{first}: {_sentence(shown[0])}" if shown else f"{first}.",
        words="; ".join(filter(None, words)),
        of=" ".join(
            [
                f"Round of {number:,} particles." if number is not None else "",
                str(found.get("time") or "").replace("T", " ").replace("Z", " UTC"),
            ]
        ).strip(),
        reasons=[_reason(row) for row in shown[:_REASONS_SHOWN]],
        more=max(0, len(shown) - _REASONS_SHOWN),
        told={(str(row["rule"]), str(row["value"])) for row in shown[:_REASONS_SHOWN]},
    )


def _is_against(row: dict) -> bool:
    """Whether a reason speaks against going on, or is to be looked at."""
    return row.get("speaks_for", "go") != "go" or row.get("verdict") in _ALARMING


def _sentence(row: dict) -> str:
    return f"{row['value']}".rstrip(".") + "."


def _reason(row: dict) -> Reason:
    rule, verdict = str(row["rule"]), str(row.get("verdict"))
    evidence = str(row.get("evidence") or "")
    threshold = str(row.get("threshold") or "")
    if threshold not in ("", "-"):
        evidence = f"expected: {threshold}" + (f"; {evidence}" if evidence not in ("", "-") else "")
    advice = str(row.get("advice") or "")
    if advice in ("", "-") and verdict in _ALARMING:
        advice = RULE_ADVICE.get(rule, "")
    return Reason(
        level={"fail": "problem", "warn": "watch", "pass": "good"}.get(verdict, "unsure"),
        what=f"{rule_title(rule)}: {row['value']}",
        evidence="" if evidence == "-" else evidence,
        advice="" if advice == "-" else advice,
    )
