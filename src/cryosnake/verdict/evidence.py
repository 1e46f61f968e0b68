"""What a verdict is made from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryosnake.decisions import Decision

_WORST = ("fail", "warn", "unsure", "info", "pass")


@dataclass(frozen=True)
class Evidence:
    """All that is known of a session; anything may be missing.

    Parameters
    ----------
    result, forecast : content of `result.json` and `forecast.json` of the newest refinement.
    decisions : of the newest 2D round and of the newest round in 3D.
    movies, accepted : how many were judged, and accepted.
    rejected_by : how many each filter rejected.
    low_acceptance : share of accepted movies below which something is to be changed.
    classified, kept : particles of the newest 2D round, and of its good classes.
    problems : what could not be read.
    """

    result: dict | None = None
    forecast: dict | None = None
    decisions: tuple[Decision, ...] = ()
    movies: int = 0
    accepted: int = 0
    rejected_by: dict[str, int] = field(default_factory=dict)
    low_acceptance: float = 0.5
    classified: int = 0
    kept: int = 0
    problems: tuple[str, ...] = ()

    def told(self, rule: str, verdicts: Iterable[str] = _WORST) -> Decision | None:
        """The worst decision of a rule, if it is one of the verdicts."""
        wanted = set(verdicts)
        found = [one for one in self.decisions if one.rule == rule]
        if not found:
            return None
        worst = min(found, key=lambda one: _WORST.index(one.verdict))
        return worst if worst.verdict in wanted else None

    @property
    def refined(self) -> bool:
        """Whether there is a refined map with a resolution."""
        return bool(self.result) and self.result.get("resolution_angst") is not None

    @property
    def confirmed(self) -> bool:
        """Whether the class averages speak for the refined volume."""
        return self.told("crossvalidation", ("pass",)) is not None
