"""A reason, and a verdict that is made of them."""

from dataclasses import asdict, dataclass

#: What a verdict may say.
VERDICTS = ("go", "change", "stop", "unsure")

#: Ranks: of the reasons that speak against going on, that of the lowest rank is the verdict.
NOISE = 1  # there is nothing to go on with
MAP = 2  # the map is not what its resolution says
GOAL = 3  # more particles are of no use, or not worth it
SAMPLE = 4  # sample or microscope waste most of the time
DOUBT = 5  # the evidence is weak
NOTE = 6  # all other


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is.

    Parameters
    ----------
    rule : that found it, named as in the decisions.
    speaks_for : one of `VERDICTS`; `go` where it is nothing against going on.
    verdict : as of a decision: pass, info, warn, fail or unsure.
    value, threshold, evidence : as of a decision.
    advice : one sentence: what to do now.
    rank : see above.
    """

    rule: str
    speaks_for: str
    verdict: str
    value: str
    threshold: str
    evidence: str
    advice: str
    rank: int = NOTE

    def __post_init__(self):
        if self.speaks_for not in VERDICTS:
            raise ValueError(f"{self.speaks_for = } is not one of {VERDICTS}")
        if self.speaks_for != "go" and self.rank == NOTE:
            raise ValueError(f"a reason to {self.speaks_for} ({self.rule}) needs a rank")


@dataclass(frozen=True)
class Verdict:
    """A verdict with its reasons, what decides first."""

    verdict: str
    reasons: list[Reason]

    def as_dict(self) -> dict:
        """For `verdict.json`."""
        told = [asdict(reason) for reason in self.reasons]
        for reason in told:
            del reason["rank"]
        return {"verdict": self.verdict, "reasons": told}
