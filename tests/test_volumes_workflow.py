"""Particles become a refined map and a verdict through the workflow itself."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from refine_session import GROUPS, write_sizes
from test_class2d_workflow import run, write_extracted
from test_picking_dag import fabricate
from volumes3d_synthetic import blobs, particles

from cryosnake import layout
from cryosnake.tables import read_star, read_table

PER_MICROGRAPH, ROUND = 20, 300
MORE = f"""
milestones: {{tally_every_batches: 1, size_micrographs: 5, training_micrographs: 5}}
class2d:
  rounds: [{{particles: {ROUND}, classes: 5}}]
  streaming: false
  good_threshold: 0.001
abinitio: {{volumes: 1, restarts: 1}}
validation: {{volumes: 1, rounds2d: [{{classes: 6, most_populated: 6}}]}}
compute: {{device: cpu, threads: 1}}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    """Two batches, picked and extracted, as a session has them before its first round."""
    session = tmp_path_factory.mktemp("session")
    fabricate(session, 20, 10, MORE)
    for folder in (
        layout.particle_tallies(1),
        *(layout.CLASS2D, layout.ABINITIO, layout.CLASS3D, layout.VALIDATION, layout.REFINE),
    ):
        shutil.rmtree(session / folder, ignore_errors=True)
    measured_s = (session / layout.SIZE).stat().st_mtime
    write_sizes(session)
    os.utime(session / layout.SIZE, (measured_s, measured_s))
    for number, batch in enumerate(layout.closed_batches(session)):
        counts = pd.read_csv(session / layout.extracted_counts(batch))
        counts["extracted"] = PER_MICROGRAPH
        counts.to_csv(session / layout.extracted_counts(batch), index=False)
        total = PER_MICROGRAPH * len(counts)
        images, optics, *_ = particles(total, [blobs()], snr=1.0, seed=number)
        write_extracted(session, batch, images, optics, GROUPS, counts["micrograph"])
    for path in (session / layout.SUBSETS).glob("particles_*"):
        path.unlink()
    return session


def test_particles_become_a_refined_map_and_a_verdict(session):
    said = run(session)
    for rule in ("abinitio", "class3d", "branch2d", "branch3d", "crossvalidate", "forecast"):
        assert f"rule {rule}:" in said
    result = json.loads((session / layout.REFINE / "result.json").read_text())
    assert result["problem"] is None
    # the box has 5 A a pixel
    assert 10.0 < result["resolution_angst"] < 30.0
    blocks = read_star(session / layout.REFINE / "fsc.star")
    assert blocks["general"]["rlnFinalResolution"] == pytest.approx(
        result["resolution_angst"], rel=0.01
    )
    scores = read_star(session / layout.CROSSVALIDATION)
    assert scores["volumes"]["csnVolumeChosen"].sum() == 1
    verdict = json.loads((session / layout.VERDICT).read_text())
    assert verdict["verdict"] in ("go", "change", "stop", "unsure")
    assert verdict["round"] == ROUND
    assert verdict["resolution_angst"] == result["resolution_angst"]
    rules = set(read_table(session / layout.DECISIONS, "decisions")["csnRule"])
    assert {"class3d", "crossvalidation", "refine", "forecast"} <= rules
    assert (session / "results/session/relion/run_half1_class001_unfil.mrc").exists()
    assert "Nothing to be done" in run(session)
