"""Go on, change something, or stop: the verdict on a session, and the reasons."""

from cryosnake.verdict.evidence import Evidence
from cryosnake.verdict.judge import judge
from cryosnake.verdict.reason import Reason, Verdict

__all__ = ["Evidence", "Reason", "Verdict", "judge"]
