"""What Snakemake says about its jobs: which run, which failed and why."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryosnake import layout

#: What Snakemake prints, run after run.
RUN_LOG = f"{layout.RESULTS}/logs/run.log"

#: A log is read from its end, in blocks, and not further back than this.
_BLOCK_BYTES, _MOST_BYTES = 1 << 20, 64 << 20
_HEADER = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S.* -m snakemake .*$", re.MULTILINE)


@dataclass
class Job:
    """A job as Snakemake tells of it; `problem` is what it says of its end, where that was bad.

    `started` is the local time as printed. `slurm_id` is its number on the cluster, `resources`
    what was asked for. `attempts` counts its starts in this run.
    """

    rule: str
    local: bool = True
    number: str = ""
    started: str = ""
    wildcards: str = ""
    log: str = ""
    threads: str = "1"
    resources: str = ""
    slurm_id: str | None = None
    problem: str = ""
    attempts: int = 1

    @property
    def started_s(self) -> float | None:
        """When it was started (or submitted), Unix time."""
        try:
            return time.mktime(time.strptime(self.started, "%a %b %d %H:%M:%S %Y"))
        except ValueError:
            return None


class RunLog:
    """Takes in the lines of one run of Snakemake, one after another.

    `running` and `failed` hold jobs by their number; a job that is started again after a failure is
    no longer a failed one. `problem` is what ended the run as a whole.
    """

    _STARTED = re.compile(r"^(local)?(?:rule|checkpoint) (\w+):$")
    _FAILED = re.compile(r"^Error in (?:rule|group|checkpoint) (\w+)(?:, jobid: (\d+))?:?")
    _FINISHED = re.compile(r"^Finished jobid: (\d+)")
    _SUBMITTED = re.compile(r"^Job (\d+) has been submitted with SLURM jobid (\S+)")
    _COMMAND = re.compile(r"^Command '.*?(?:\.(\w+)\.py)?' (died with .*|returned .*)$", re.DOTALL)
    _KEPT = {
        "    wildcards: ": "wildcards",
        "    log: ": "log",
        "    threads: ": "threads",
        "    resources: ": "resources",
    }

    def __init__(self):
        self.running: dict[str, Job] = {}
        self.failed: dict[str, Job] = {}
        self.finished = 0
        self.nothing_to_do = False
        self.problem = ""
        self._job: Job | None = None
        self._failing = False
        self._stamp = ""
        self._ends: dict[str, str] = {}

    def read(self, line: str) -> None:
        """Take in one line."""
        line = line.rstrip("\n")
        if line.startswith("    "):
            self._field(line)
            return
        if line.startswith("["):
            self._stamp = line.strip("[]")
            return
        if match := self._STARTED.match(line):
            self._job = Job(match[2], match[1] is not None, started=self._stamp)
            self._failing = False
        elif match := self._FAILED.match(line):
            self._job, self._failing = Job(match[1], started=self._stamp), True
            self._job.problem = self._ends.pop(match[1], "")
            if match[2]:
                self._fail(match[2])
        elif match := self._FINISHED.match(line):
            self.running.pop(match[1], None)
            self.failed.pop(match[1], None)
            self.finished += 1
        elif match := self._SUBMITTED.match(line):
            if match[1] in self.running:
                self.running[match[1]].slurm_id = match[2]
        elif match := self._COMMAND.match(line):
            if match[1]:
                self._ends[match[1]] = match[2].rstrip(".")
        elif line.startswith("Nothing to be done"):
            self.nothing_to_do = True
        elif line.startswith(("WorkflowError", "LockException", "MissingInputException")):
            self.problem = line.rstrip(":")
        elif self.problem.endswith(("Error", "Exception")) and line:
            self.problem = f"{self.problem}: {line}"

    def _field(self, line: str) -> None:
        job = self._job
        if job is None:
            return
        if line.startswith("    jobid: "):
            number = line[len("    jobid: ") :]
            if self._failing:
                self._fail(number)
            else:
                job.number = number
                if before := self.failed.pop(number, None):
                    job.attempts = before.attempts + 1
                self.running[number] = job
        elif line.startswith("    message: ") and self._failing:
            said = line[len("    message: ") :].removesuffix(
                "For further error details see the cluster/cloud log and the log files of the"
                " involved rule(s)."
            )
            if said and said != "None":
                job.problem = said
        elif line.startswith("    external_jobid: "):
            job.slurm_id = line.split(": ", 1)[1]
        else:
            for beginning, name in self._KEPT.items():
                if line.startswith(beginning):
                    value = line[len(beginning) :].removesuffix(
                        " (check log file(s) for error details)"
                    )
                    setattr(job, name, value)

    def _fail(self, number: str) -> None:
        """The job that is told of has failed; what was said at its start is still true."""
        job, before = self._job, self.running.pop(number, None)
        if before is not None:
            before.problem, before.started = job.problem, job.started
            self._job = job = before
        job.number = number
        self.failed[number] = job

    def shown(self) -> list[Job]:
        """The running jobs that a person wants to see, the longest first."""
        # the wait for movies always runs in watch mode, and the target runs nothing
        jobs = list(self.running.values())
        return [job for job in jobs if job.rule not in ("ingest", "session")]

    def running_line(self) -> str:
        """The running jobs, as `preprocess 2, tally`."""
        counts = Counter(job.rule for job in self.shown())
        return ", ".join(f"{rule} {n}" if n > 1 else rule for rule, n in sorted(counts.items()))


def last_run(path: Path) -> RunLog | None:
    """What the log says of the last run; None where there is no log.

    Of a run that said more than 64 MB only the end is read: jobs that started before are missing.
    """
    found = RunLog()
    try:
        for line in _last_lines(path):
            found.read(line)
    except FileNotFoundError:
        return None
    return found


def _last_lines(path: Path) -> Iterator[str]:
    """The lines after the last header."""
    with open(path, "rb") as stream:
        end = start = stream.seek(0, 2)
        while start > 0 and end - start < _MOST_BYTES:
            start = max(0, start - _BLOCK_BYTES)
            stream.seek(start)
            headers = list(_HEADER.finditer(stream.read(_BLOCK_BYTES + 4096)))
            if headers:
                start += headers[-1].end()
                break
        stream.seek(start)
        for line in stream:
            yield line.decode(errors="replace")
