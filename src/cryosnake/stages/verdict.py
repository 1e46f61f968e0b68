"""The verdict on a session, from what its stages have left so far."""

import logging
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, now
from cryosnake.errors import BadInputError
from cryosnake.session.rounds import Rounds
from cryosnake.stages.refine_files import read_json, read_refinement, write_json
from cryosnake.tables import read_table
from cryosnake.verdict import Evidence, judge

log = logging.getLogger("cryosnake")


def write_verdict(session: Path, config: Config) -> dict:
    """Judge a session at any time; a verdict that says what the one before said keeps its time.

    Returns
    -------
    The content of `verdict.json`.
    """
    session = Path(session)
    reader = _Reader(session, config)
    evidence, number = reader.evidence()
    result = evidence.result or {}
    content = {
        **judge(evidence).as_dict(),
        "resolution_angst": result.get("resolution_angst"),
        "forecast": evidence.forecast,
        "particles": result.get("particles"),
        "round": number,
    }
    content["time"] = _time(session / layout.VERDICT, content)
    write_json(session / layout.VERDICT, content)
    return content


def _time(path: Path, content: dict) -> str:
    """Of the verdict before, where that is the same; else now."""
    try:
        before = read_json(path)
    except BadInputError:
        return now()
    time = before.pop("time", None)
    return time if time and before == content else now()


class _Reader:
    """Reads what there is; what is damaged becomes a problem, not an error."""

    def __init__(self, session: Path, config: Config):
        self.session, self.config = session, config
        self.problems: list[str] = []

    def evidence(self) -> tuple[Evidence, int | None]:
        """What is known, and the number of the newest round in 3D (else in 2D)."""
        in_2d = max(Rounds(self.session, self.config.class2d).finished(), default=None)
        in_3d = self._newest_in_3d()
        decisions = self._decisions(in_2d, in_3d)
        result, forecast = self._refinement(in_3d)
        classified, kept = self._classes(in_2d)
        micrographs = self._table(layout.MICROGRAPHS, "micrographs")
        rejected = pd.Series(dtype=str)
        if micrographs is not None:
            rejected = micrographs.loc[micrographs["csnAccepted"] != 1, "csnReason"]
        movies = 0 if micrographs is None else len(micrographs)
        found = Evidence(
            result=result,
            forecast=forecast,
            decisions=tuple(decisions),
            movies=movies,
            accepted=movies - len(rejected),
            rejected_by={str(k): int(n) for k, n in rejected.value_counts().items()},
            low_acceptance=self.config.report.low_acceptance,
            classified=classified,
            kept=kept,
            problems=tuple(self.problems),
        )
        return found, in_3d or in_2d

    def _newest_in_3d(self) -> int | None:
        """The newest round that is refined; without one, the newest with volumes."""
        for folder, done in ((layout.REFINE, "result.json"), (layout.CLASS3D, "volumes.star")):
            paths = (self.session / folder).glob(f"*/{done}")
            numbers = [int(p.parent.name) for p in paths if p.parent.name.isdigit()]
            if numbers:
                return max(numbers)
        return None

    def _refinement(self, number: int | None) -> tuple[dict | None, dict | None]:
        path = self.session / layout.refine_file(number or 0, "result.json")
        if number is None or not path.exists():
            return None, None
        try:
            result = read_refinement(self.session, number).result
            forecast = path.with_name("forecast.json")
            return result, read_json(forecast) if forecast.exists() else None
        except BadInputError as error:
            self.problems.append(str(error))
            return None, None

    def _decisions(self, in_2d: int | None, in_3d: int | None) -> list[Decision]:
        paths = [] if in_2d is None else [layout.class2d_file(in_2d, "decisions.star")]
        paths += [] if in_3d is None else layout.volume_decisions(in_3d)
        tables = (self._table(path, "decisions") for path in paths)
        return [
            Decision(
                subject=row["csnSubject"],
                rule=row["csnRule"],
                verdict=row["csnVerdict"],
                value=str(row["csnValue"]),
                threshold=str(row["csnThreshold"]),
                confidence=float(row["csnConfidence"]),
                evidence=str(row["csnEvidence"]),
                time=row["csnTime"],
            )
            for table in tables
            if table is not None
            for row in table.to_dict("records")
        ]

    def _classes(self, number: int | None) -> tuple[int, int]:
        """Particles of a 2D round, and of its good classes."""
        if number is None:
            return 0, 0
        classes = self._table(layout.class2d_file(number, "classes.star"), "classes")
        if classes is None or classes.empty:
            return 0, 0
        population = classes["csnClassPopulation"]
        return int(population.sum()), int(population[classes["csnClassKept"] == 1].sum())

    def _table(self, path: str, block: str) -> pd.DataFrame | None:
        if not (self.session / path).exists():
            return None
        try:
            return read_table(self.session / path, block)
        except BadInputError as error:
            self.problems.append(str(error))
            return None
