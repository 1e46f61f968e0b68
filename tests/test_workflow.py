"""The workflow's files: lint, format, short rules, and a plan for every template."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cryosnake.config import template_names

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / "workflow"


def call(*words, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120, **options
    )


def test_the_linter_has_nothing_to_complain_about():
    done = call(WORKFLOW / "lint.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_formatted():
    done = call("-m", "snakefmt", "--check", WORKFLOW)
    assert done.returncode == 0, done.stderr


def test_rules_are_short_and_each_has_its_script():
    for path in [WORKFLOW / "Snakefile", *(WORKFLOW / "rules").glob("*.smk")]:
        text = path.read_text()
        for rule in re.split(r"^(?=rule |checkpoint )", text, flags=re.M)[1:]:
            assert rule.count("\n") < 40, rule
        for script in re.findall(r"\.\./\.\./(scripts/\w+\.py)", text):
            assert (ROOT / script).is_file()


@pytest.mark.parametrize("template", template_names())
def test_every_template_gives_a_plan(template, tmp_path):
    (tmp_path / "movies").mkdir()
    (tmp_path / "movies" / "m.tif").touch()
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    done = call(
        *("-m", "snakemake", "--snakefile", WORKFLOW / "Snakefile"),
        *("--profile", ROOT / "profiles/local", "--directory", tmp_path, "--dry-run", "-c1"),
        *("--configfile", tmp_path / "config.yaml"),
        ROOT / "config/templates" / f"{template}.yaml",
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "checkpoint ingest" in output
    assert not (tmp_path / "results").exists()
