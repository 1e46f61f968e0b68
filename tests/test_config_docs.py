"""Pages that must keep up with the project: dependencies and links."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["test"]
    weights = (ROOT / "requirements-weights.txt").read_text().splitlines()
    needed += [line for line in weights if line and not line.startswith("#")]
    names = {re.split(r"[<>=~! ]", text)[0] for text in needed}
    page = (ROOT / "docs/dependencies.md").read_text()
    explained = re.findall(r"^\| (\S+) \|", page, flags=re.MULTILINE)
    assert names == set(explained) - {"package", "---"}


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - set(re.findall(r"\]\(([^)]+\.md)\)", index)) == set()


@pytest.mark.parametrize(
    "page", ["README.md", "config/README.md", "docs/index.md", "docs/report.md"]
)
def test_links_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)", path.read_text())
    local = [target for target in targets if "://" not in target]
    assert [t for t in local if not (path.parent / t).exists()] == []
