"""A decision of a stage."""

from pathlib import Path

from cryosnake.decisions import Decision, as_table
from cryosnake.tables import write_star


def tell(session: Path, path: str, rule: str, subject: str = "session") -> None:
    """Write that all is as expected, as the decisions of a step."""
    (session / path).parent.mkdir(parents=True, exist_ok=True)
    told = as_table([Decision(subject, rule, "info", "as expected", "-")])
    write_star(session / path, {"decisions": told})
