"""A session as the validation leaves it: the chosen volume, and its particles with their poses."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from volumes3d_synthetic import BOX, DIAMETER, PIXEL, blobs, particles, volume

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.images import write_mrc, write_volume
from cryosnake.particles import write_particles
from cryosnake.picking.size_model import ParticleSize, write_size
from cryosnake.stages.reextract import reextract
from cryosnake.stages.refine import refine_volume
from cryosnake.tables import read_table, write_star

ROUND = 2000
PARTICLES, NEW = 320, 80
GIVEN = "results/particles/b00000/particles.mrcs"
GROUPS = pd.DataFrame(
    {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnMicrographPixelSize": [PIXEL],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "csnPhaseFlipped": [0],
    }
)


def config(**sections):
    return load_config({"compute": {"device": "cpu"}, **sections})


def write_sizes(session: Path) -> None:
    size = ParticleSize(
        diameter_angst=DIAMETER / 1.4,
        uncertainty_angst=3.0,
        long_axis_angst=0.95 * DIAMETER,
        short_axis_angst=DIAMETER / 1.5,
        elongated=False,
        box_px=BOX,
    )
    write_size(session / layout.SIZE, size, {})


def write_chosen(session: Path, *, problem: str = "-") -> None:
    """The winner of the cross-validation, in a box and at a pixel size of its own."""
    write_star(
        session / layout.validation_file(ROUND, "crossvalidation.star"),
        {"general": {"csnRoundParticles": ROUND, "csnProblem": problem}},
    )
    path = session / layout.validation_file(ROUND, "chosen.mrc")
    write_volume(path, volume(blobs()).astype(np.float32), PIXEL)


def write_given(session: Path, number: int, *, noise: bool = False) -> pd.DataFrame:
    """Particles without micrographs, and what the validation leaves of them."""
    images = particles(number, [blobs()], snr=0.7)[0]
    if noise:
        images = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    write_mrc(session / GIVEN, images, PIXEL)
    table = given_table(number)
    write_particles(session / layout.validation_file(ROUND, "particles.star"), GROUPS, table)
    write_chosen(session)
    write_sizes(session)
    return table


def given_table(number: int) -> pd.DataFrame:
    """Their table, with the true poses."""
    _, optics, _, angles, origin = particles(number, [blobs()], snr=0.7)
    return pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@{GIVEN}" for i in range(number)],
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
            "rlnClassNumber": 1,
            "rlnAngleRot": angles[:, 0],
            "rlnAngleTilt": angles[:, 1],
            "rlnAnglePsi": angles[:, 2],
            "rlnOriginXAngst": origin[:, 1],
            "rlnOriginYAngst": origin[:, 0],
        }
    )


def told(session: Path, name: str = "decisions.star") -> dict[str, dict]:
    """The decisions of a refinement by their rule."""
    rows = read_table(session / layout.refine_file(ROUND, name), "decisions")
    return {row["csnRule"]: row for row in rows.to_dict("records")}


_BUILT: dict[str, Path] = {}


def refined_session(tmp_path_factory) -> Path:
    """A session whose first 320 of 400 particles are refined, with a known map: made once for all
    tests, which must not change it."""
    if "refined" not in _BUILT:
        torch.set_num_threads(1)
        session = tmp_path_factory.mktemp("refined")
        table = write_given(session, PARTICLES + NEW)
        path = session / layout.validation_file(ROUND, "particles.star")
        write_particles(path, GROUPS, table.iloc[:PARTICLES])
        write_volume(session / "known.mrc", volume(blobs()).astype(np.float32), PIXEL)
        reextract(session, ROUND, config(), "cpu")
        refine_volume(session, ROUND, config(validation={"known_map": "known.mrc"}), "cpu", 1)
        _BUILT["refined"] = session
    return _BUILT["refined"]
