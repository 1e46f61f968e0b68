"""The workflow from micrographs and from particles: what it plans, and small runs of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_given import micrograph_table, write_project

ROOT = Path(__file__).resolve().parents[1]

from cryosnake import layout  # noqa: E402
from cryosnake.images import write_mrc  # noqa: E402
from cryosnake.session.relion_folder import write_relion_folder  # noqa: E402
from cryosnake.tables import read_table  # noqa: E402

ROUND = 190
CONFIG = """
input: {{kind: {kind}, path: {path}}}
acquisition: {{voltage_kv: 300, cs_mm: 2.7}}
ingest: {{settle_s: 0, batch_particles: 200}}
class2d: {{rounds: [{{particles: 190, classes: 4}}]}}
compute: {{device: cpu, threads: 1}}
workflow: {{until: {until}}}
"""


def snakemake(session: Path, *options: str) -> str:
    """Run the workflow; what Snakemake says."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")),
            *("--profile", str(ROOT / "profiles/local"), "--directory", str(session)),
            *("--configfile", str(session / "config.yaml"), "--cores", "2", *options),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def make(folder: Path, kind: str, path, until: str) -> Path:
    session = folder / "session"
    session.mkdir()
    text = CONFIG.format(kind=kind, path=path, until=until)
    (session / "config.yaml").write_text(text)
    return session


def write_micrographs(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    names = [f"MotionCorr/m{number}.mrc" for number in range(2)]
    for name in names:
        write_mrc(folder / name, rng.normal(9, 1, (512, 512)).astype(np.float32), 2.0)
    micrograph_table(
        folder,
        names,
        rlnDefocusU=[12000.0, 14000.0],
        rlnDefocusV=[11800.0, 13900.0],
        rlnDefocusAngle=[30.0, 31.0],
        rlnCtfMaxResolution=[4.0, 4.1],
    )
    return folder / "CtfFind/job003/m.star"


def rules(said: str) -> set[str]:
    return set(re.findall(r"^(?:rule|checkpoint|localrule|localcheckpoint) (\w+):", said, re.M))


@pytest.mark.parametrize("until", ["class2d", "refine"])
def test_each_entry_has_a_plan_and_a_dry_run_changes_nothing(tmp_path, until):
    for kind, write in (
        ("micrographs", write_micrographs),
        ("particles", lambda folder: write_project(folder, 40)),
    ):
        folder = tmp_path / kind
        session = make(folder_made(folder), kind, write(folder / "project"), until)
        said = snakemake(session, "--dry-run")
        assert "checkpoint ingest" in said
        assert not (session / "results").exists()


def folder_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_run_from_micrographs(tmp_path):
    table = write_micrographs(tmp_path / "project")
    session = make(tmp_path, "micrographs", table, "curation")
    said = snakemake(session)
    assert "rule preprocess" in said
    rows = read_table(session / layout.MICROGRAPHS, "micrographs")
    assert rows["rlnMicrographMovieName"].tolist() == [
        str(tmp_path / f"project/MotionCorr/m{number}.mrc") for number in range(2)
    ]
    assert rows["rlnDefocusU"].tolist() == [12000.0, 14000.0]
    assert "Nothing to be done" in snakemake(session)


def test_a_run_from_particles_goes_to_2d_classes(tmp_path):
    # too few more for a last round: they are streamed
    table = write_project(tmp_path / "project", 205, snr=1.5)
    session = make(tmp_path, "particles", table, "class2d")
    said = snakemake(session)
    assert "rule particle_size" in said
    assert "rule preprocess" not in said
    rounds = sorted(
        int(path.name) for path in (session / layout.CLASS2D).iterdir() if path.is_dir()
    )
    assert rounds == [ROUND]
    classes = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    assert classes["csnClassPopulation"].sum() == 200  # the first batch
    live = json.loads((session / layout.class2d_live("json")).read_text())
    assert {one["batch"] for one in live["batches"]} == {"b00000", "b00001"}
    assert "Started from particles" in (session / layout.REPORT).read_text(encoding="utf-8")
    assert (session / layout.RELION / "README.txt").is_file()
    assert write_relion_folder(session)
    assert "Nothing to be done" in snakemake(session)
