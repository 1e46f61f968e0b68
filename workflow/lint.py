"""What is wrong with the workflow's rules: `snakemake --lint`, and what a cluster needs.

One complaint of Snakemake's linter is left out, that rules name no conda environment or container:
the native engine runs in the environment that Snakemake itself runs in. Everything else that it
says is an error here. So is a job for the cluster that does not say what it needs, or that asks for
a GPU without computing on one, or the other way round.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryosnake.plan.resources import GPU_RULES

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


def rules() -> Iterator[tuple[str, Path, str]]:
    """Name, file and text of each rule that runs a script."""
    for path in sorted((WORKFLOW / "rules").glob("*.smk")):
        parts = re.split(r"^(?:rule|checkpoint) (\w+):", path.read_text(), flags=re.M)[1:]
        for rule, text in zip(parts[::2], parts[1::2], strict=True):
            yield rule, path, text


def cluster_rules() -> set[str]:
    """Rules whose jobs may go to a cluster."""
    return {rule for rule, _, text in rules() if "localrule: True" not in text}


def resource_complaints() -> list[str]:
    """What rules lack that a cluster needs, one line a complaint."""
    found = []
    for rule, path, text in rules():
        local = rule not in cluster_rules()
        if not local and f'    resources:\n        **asks("{rule}"),\n' not in text:
            found.append(f"rule {rule} ({path.name}): a cluster job without **asks({rule!r})")
        script = path.parent / re.search(r'script:\s+"(.*)"', text)[1]
        leases = "leased_device(" in script.read_text()
        if leases != (rule in GPU_RULES) or (leases and local):
            found.append(
                f"rule {rule} ({path.name}): it is for the cluster and in GPU_RULES if and "
                f"only if {script.name} leases a device"
            )
    return found


if __name__ == "__main__":
    lines = complaints() + resource_complaints()
    print("\n".join(lines) if lines else "rules: nothing to complain about")
    sys.exit(1 if lines else 0)
