"""What the executor notes of a replay: lines of JSON beside the session's results."""

import json
import threading
from pathlib import Path

FILE = "replay_notes.jsonl"


class Notes:
    """Appends to the notes of a session; may be called from several threads."""

    def __init__(self, session: Path):
        self.path, self._lock = Path(session) / FILE, threading.Lock()

    def job(self, **facts) -> None:
        """A job has ended."""
        self._append("job", facts)

    def look(self, **facts) -> None:
        """The DAG has been looked at again after a checkpoint."""
        self._append("look", facts)

    def usage(self, **facts) -> None:
        """What the main process has used so far."""
        self._append("usage", facts)

    def _append(self, kind: str, facts: dict) -> None:
        line = json.dumps({"kind": kind, **facts})
        with self._lock, open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_notes(session: Path, kind: str):
    """The notes of a kind (`job`, `look`, `usage`) as a table, one row each; whole lines only."""
    import pandas as pd  # not in the process that writes them

    rows = []
    for line in (Path(session) / FILE).read_text(encoding="utf-8").splitlines():
        if line.endswith("}") and line.startswith(f'{{"kind": "{kind}"'):
            rows.append(json.loads(line))
    return pd.DataFrame(rows)


def jobs_csv(session: Path, path: Path) -> None:
    """The jobs as a table: rule, wildcards, attempt, ready_s, start_s, end_s, nominal_s, gpu."""
    jobs = read_notes(session, "job")
    columns = ["rule", "wildcards", "attempt", "ready_s", "start_s", "end_s", "nominal_s", "gpu"]
    jobs[columns].to_csv(path, index=False)
