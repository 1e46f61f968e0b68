"""Stand-ins: `squeue` and `scancel` as executables that act on a file, a line a job, as the real
ones show; a Snakemake that somebody started by hand."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryosnake.session.cluster import _FIELDS

RUN_ID = "0d4be8f6-7f1c-4c8e-9a36-0f8f2f3b8a11"

_PROGRAM = """#!{python}
import json, sys
from pathlib import Path
state = json.loads(Path({state!r}).read_text())
with open({calls!r}, "a") as calls:
    print({name!r}, *sys.argv[1:], file=calls)
if state["away"] != 0:
    if state["away"] > 0:
        state["away"] -= 1
        Path({state!r}).write_text(json.dumps(state))
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
if {name!r} == "scancel":
    if not state["stuck"]:
        state["jobs"] = [job for job in state["jobs"] if job[0] not in sys.argv[1:]]
    Path({state!r}).write_text(json.dumps(state))
else:
    for job in state["jobs"]:
        print("".join(value.ljust(width) for value, width in zip(job, {widths})))
"""


class FakeSlurm:
    """A queue. `away` is how many questions go unanswered (-1: all), `stuck` that none can be
    cancelled."""

    def __init__(self, folder: Path, monkeypatch):
        self.state, self.calls = folder / "state.json", folder / "calls"
        self.calls.touch()
        widths = list(_FIELDS.values())
        for name in ("squeue", "scancel"):
            program = folder / name
            program.write_text(
                _PROGRAM.format(
                    python=sys.executable,
                    state=str(self.state),
                    calls=str(self.calls),
                    name=name,
                    widths=widths,
                )
            )
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.set([])

    def set(self, jobs: list[list[str]], *, away: int = 0, stuck: bool = False) -> None:
        """Put jobs into the queue."""
        self.state.write_text(json.dumps({"jobs": jobs, "away": away, "stuck": stuck}))

    def numbers(self) -> list[str]:
        """The jobs in the queue."""
        return [job[0] for job in json.loads(self.state.read_text())["jobs"]]


def job(number: int, folder: Path | str, **changed: str) -> list[str]:
    """A job of the rule preprocess that runs in a folder, in the order of the fields."""
    values = {
        "JobArrayID": str(number),
        "State": "RUNNING",
        "Reason": "None",
        "TimeUsed": "1:02",
        "NodeList": "node7",
        "tres-alloc": "cpu=1,mem=4G,node=1,billing=1",
        "tres-per-job": "gres:gpu:1",
        "tres-per-node": "N/A",
        "Name": RUN_ID,
        "Comment": "rule_preprocess_wildcards_b00003",
        "WorkDir": str(folder),
    }
    return [changed.get(name, value) for name, value in values.items()]


@contextmanager
def snakemake_by_hand(session: Path) -> Iterator[subprocess.Popen]:
    """A process in a session's folder that looks like a Snakemake without a starter."""
    by_hand = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "snakemake"], cwd=session
    )
    try:
        end = time.monotonic() + 10
        while Path(f"/proc/{by_hand.pid}/cmdline").read_bytes().find(b"snakemake") < 0:
            assert time.monotonic() < end
        yield by_hand
    finally:
        by_hand.kill()
        by_hand.wait()
