"""Particles become classes through the workflow itself, and new labels need no new classes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from classes2d_synthetic import BOX, DIAMETER, objects, particles
from test_class2d_stages import GROUPS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from live_dryrun import fabricate  # noqa: E402

from cryosnake import layout  # noqa: E402
from cryosnake.images import write_mrc  # noqa: E402
from cryosnake.particles import read_particles, write_particles  # noqa: E402
from cryosnake.picking.size_model import ParticleSize, write_size  # noqa: E402
from cryosnake.tables import read_table  # noqa: E402

PER_MICROGRAPH, ROUND = 15, 200
MORE = f"""
milestones: {{tally_every_batches: 1, size_micrographs: 5, training_micrographs: 5}}
class2d: {{rounds: [{{particles: {ROUND}, classes: 4}}]}}
compute: {{device: cpu}}
workflow: {{until: class2d}}
"""


def run(session: Path) -> str:
    """Run the workflow; what Snakemake says."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")),
            *("--profile", str(ROOT / "profiles/local"), "--directory", str(session)),
            *("--configfile", str(session / "config.yaml"), "--cores", "2"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_extracted(session: Path, batch: str, images, optics, groups, micrographs) -> None:
    """The particles of a batch, as many of each of its micrographs."""
    pixel_angst = float(groups["rlnImagePixelSize"].iloc[0])
    write_mrc(session / layout.particles_stack(batch), images, pixel_angst)
    total = len(images)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@{layout.particles_stack(batch)}" for i in range(total)],
            "rlnMicrographName": np.repeat(micrographs, total // len(micrographs)),
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
        }
    )
    write_particles(session / layout.particles_star(batch), groups, table)


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    """Three batches, picked and extracted; particles of each accepted micrograph."""
    session = tmp_path_factory.mktemp("session")
    fabricate(session, 24, 8, MORE)
    shutil.rmtree(session / layout.particle_tallies(1))
    shutil.rmtree(session / layout.CLASS2D)
    size = ParticleSize(DIAMETER / 1.3, 3.0, DIAMETER / 1.25, DIAMETER / 1.4, False, BOX)
    measured_s = (session / layout.SIZE).stat().st_mtime
    write_size(session / layout.SIZE, size, {})
    # no newer than it was: what was made of it stays as it is
    os.utime(session / layout.SIZE, (measured_s, measured_s))
    for number, batch in enumerate(layout.closed_batches(session)):
        counts = pd.read_csv(session / layout.extracted_counts(batch))
        counts["extracted"] = PER_MICROGRAPH
        counts.to_csv(session / layout.extracted_counts(batch), index=False)
        total = PER_MICROGRAPH * len(counts)
        images, optics, _ = particles(total, objects(2), seed=number)
        write_extracted(session, batch, images, optics, GROUPS, counts["micrograph"])
    for path in (session / layout.SUBSETS).glob("particles_*"):
        path.unlink()
    return session


def test_particles_become_classes_and_later_batches_stream_into_them(session):
    said = run(session)
    assert "rule stream_class2d" in said
    subset = read_particles(session / layout.particle_subset(ROUND))[1]
    classes = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    assert classes["csnClassPopulation"].sum() == len(subset) >= ROUND
    live = json.loads((session / layout.class2d_live("json")).read_text())
    counts = [
        PER_MICROGRAPH * len(pd.read_csv(session / layout.extracted_counts(batch)))
        for batch in layout.closed_batches(session)
    ]
    assert [one["particles"] for one in live["batches"]] == counts
    assert live["particles"] == sum(counts) > len(subset)
    decisions = read_table(session / layout.DECISIONS, "decisions")
    assert f"class2d {ROUND}" in set(decisions["csnSubject"])
    assert "2D classes" in (session / layout.REPORT).read_text(encoding="utf-8")
    assert "Nothing to be done" in run(session)


def test_a_label_by_hand_is_honoured_by_the_next_run(session):
    before = (session / layout.class2d_file(ROUND, "averages.star")).stat().st_mtime_ns
    (session / "class2d_overrides.csv").write_text("round,class,label\n*,1,edge\n")
    said = run(session)
    assert "rule assess_class2d" in said
    assert "rule stream_class2d" not in said
    assert (session / layout.class2d_file(ROUND, "averages.star")).stat().st_mtime_ns == before
    classes = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    assert classes.loc[0, ["csnClassLabel", "csnClassReason"]].tolist() == ["edge", "override"]
    live = read_table(session / layout.class2d_live("star"), "classes")
    assert live.loc[0, "csnClassLabel"] == "edge"
    assert "Nothing to be done" in run(session)
