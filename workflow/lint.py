"""`snakemake --lint` without its complaint that rules name no conda environment or container.

The native engine runs in the environment that Snakemake itself runs in. Everything else that the
linter says is an error here.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

WORKFLOW = Path(__file__).resolve().parent
_FILTERED = "Specify a conda environment or container"


def complaints() -> list[str]:
    """What the linter says, one line a complaint.

    Raises
    ------
    RuntimeError : the workflow cannot be parsed.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile")]
            + ["--directory", folder, "--lint"],
            capture_output=True,
            text=True,
            check=False,
        )
    text = done.stdout + done.stderr
    found, subject = [], None
    for line in text.splitlines():
        if match := re.match(r"Lints for (.*):$", line):
            subject = match[1]
        elif match := re.match(r"    \* (.*)$", line):
            found.append(f"{subject}: {match[1]}")
    if done.returncode and not found:
        raise RuntimeError(text)
    return [complaint for complaint in found if _FILTERED not in complaint]


if __name__ == "__main__":
    lines = complaints()
    print("\n".join(lines) if lines else "snakemake --lint: nothing to complain about")
    sys.exit(1 if lines else 0)
