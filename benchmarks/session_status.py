"""Cost of `cryosnake status` on a session of 20,000 movies whose log has 100 MB.

The session is fabricated as for live_dryrun.py, with all its work done and a log in which one run
started and finished jobs over and over.

    python benchmarks/session_status.py [--movies 20000] [--log-mb 100]

Prints wall time, CPU time and peak memory of the command, and what it says.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from live_dryrun import fabricate

from cryosnake.session.run_log import RUN_LOG

_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, end="")
sys.exit(done.returncode)
"""
_HEADER = "\n2026-05-04T09:12:41Z {python} -m snakemake --snakefile workflow/Snakefile --cores 2\n"
_JOB = """
[Mon May  4 09:12:43 2026]
localrule preprocess:
    input: results/batches/b{number:05d}.star
    output: results/preprocess/b{number:05d}/micrographs.star
    log: results/logs/preprocess/b{number:05d}.log
    jobid: {number}
    reason: Missing output files: results/preprocess/b{number:05d}/micrographs.star
    wildcards: batch=b{number:05d}
    resources: tmpdir=/tmp, gpu=1, mem_mb=6000, mem=6 GB, mem_mib=5723
[Mon May  4 09:14:43 2026]
Finished jobid: {number} (Rule: preprocess)
"""


def write_log(path: Path, size_mb: float) -> None:
    """A log of one run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jobs = "".join(_JOB.format(number=number) for number in range(1000))
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(_HEADER.format(python=sys.executable))
        for _ in range(round(size_mb * 1e6 / len(jobs))):
            stream.write(jobs)
        stream.write(_JOB.format(number=7).partition("Finished")[0])


def main() -> None:
    """Fabricate, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=20_000)
    parser.add_argument("--log-mb", type=float, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder)
        fabricate(session, options.movies, 20)
        write_log(session / RUN_LOG, options.log_mb)
        words = [sys.executable, "-m", "cryosnake.cli", "status", str(session)]
        started = time.perf_counter()
        words = [sys.executable, "-c", _MEASURE, *words]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        wall_s = time.perf_counter() - started
    said, _, used = done.stdout.rpartition("\n")
    cpu_s, memory_mb = map(float, used.split())
    print(said, done.stderr)
    print(f"{options.movies} movies, a log of {options.log_mb:g} MB, exit code {done.returncode}:")
    print(f"wall {wall_s:.1f} s, CPU {cpu_s:.1f} s, peak memory {memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
