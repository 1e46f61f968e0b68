"""Particles against RELION: the same images, the same signs of offsets, and files that it reads."""

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from test_particles import GRID, PIXEL, micrograph, picks_of, table_of

from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import ExtractionSettings, extract_batch, write_particles
from cryosnake.particles.table import OPTICS_COLUMNS
from cryosnake.tables import read_table, write_star

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_preprocess") is None, reason="relion_preprocess not installed"
    ),
]

SETTINGS = ExtractionSettings(
    box_px=64, output_px=32, radius_angst=36.0, diameter_angst=60.0, dust_sigma=0
)
EXTRACT = (
    "relion_preprocess --i micrographs.star --part_star Extract/particles.star "
    "--part_dir Extract/ --extract --extract_size 64 --scale 32 --norm --bg_radius 12 "
    "--white_dust -1 --black_dust -1 --invert_contrast "
)


def relion(command: str, folder: Path) -> str:
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A folder with two micrographs, their tables, and the particles we extracted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("relion")
    places = {"Mics/a.mrc": np.floor(GRID), "Mics/b.mrc": np.floor(GRID[::-1] + [3, 7])}
    rows = table_of(*places)
    (folder / "Picks" / "Mics").mkdir(parents=True)
    for i, (name, xy) in enumerate(places.items()):
        write_mrc(folder / name, micrograph(xy, seed=i), PIXEL)
        picks = pd.DataFrame(xy, columns=["rlnCoordinateX", "rlnCoordinateY"])
        write_star(folder / "Picks" / name.replace(".mrc", "_pick.star"), {"": picks})
    optics = rows[OPTICS_COLUMNS].iloc[:1].assign(rlnOpticsGroup=1)
    optics.insert(0, "rlnOpticsGroupName", "opticsGroup1")
    write_star(
        folder / "micrographs.star",
        {"optics": optics, "micrographs": rows.drop(columns=OPTICS_COLUMNS)},
    )
    result = extract(folder, rows, picks_of(places), SETTINGS)
    return folder, rows, picks_of(places), result


def extract(folder, rows, picks, settings):
    result = extract_batch(
        rows,
        picks,
        lambda name: read_mrc(folder / name)[0],
        folder / "ours.mrcs",
        stack_name="ours.mrcs",
        settings=settings,
    )
    write_particles(folder / "ours.star", result.optics, result.particles)
    return result


def images_of(folder: Path, table: pd.DataFrame) -> np.ndarray:
    stacks: dict = {}
    images = []
    for name in table["rlnImageName"]:
        number, path = name.split("@")
        if path not in stacks:
            stacks[path] = mrcfile.read(folder / path)
        images.append(stacks[path][int(number) - 1])
    return np.stack(images)


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) correlation coefficients of images with images."""
    return np.array([np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(a, b, strict=True)])


def test_images_are_those_that_relion_extracts(session):
    folder, _, _, result = session
    relion(EXTRACT + "--coord_dir Picks/ --coord_suffix _pick.star", folder)
    theirs = read_table(folder / "Extract" / "particles.star", "particles")
    keys = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    assert theirs[keys].values.tolist() == result.particles[keys].values.tolist()
    ours, images = images_of(folder, result.particles), images_of(folder, theirs)
    assert likeness(ours, images).min() > 0.9999
    assert np.abs(ours - images).max() < 0.05
    for name in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift"):
        assert theirs[name].to_numpy() == pytest.approx(result.particles[name].to_numpy())
    group = read_table(folder / "Extract" / "particles.star", "optics")
    for name in ("rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality"):
        assert group[name].tolist() == result.optics[name].tolist()


def test_relion_reads_stack_and_table(session):
    folder, _, _, result = session
    text = relion("relion_image_handler --i ours.mrcs --stats", folder)
    lines = [line for line in text.splitlines() if "stddev=" in line]
    assert len(lines) == len(result.particles) == 2 * len(GRID)
    ours = images_of(folder, result.particles)
    for line, image in zip(lines, ours, strict=True):
        values = line.replace("=", " ").split()
        assert float(values[values.index("avg") + 1]) == pytest.approx(image.mean(), abs=1e-4)
        assert float(values[values.index("stddev") + 1]) == pytest.approx(image.std(), abs=1e-3)
        assert float(values[values.index("angpix") + 1]) == pytest.approx(2 * PIXEL)
    chosen = "relion_star_handler --i ours.star --select rlnCoordinateX --minval 0 --maxval 200"
    relion(f"{chosen} --o chosen.star", folder)
    count = int((result.particles["rlnCoordinateX"] <= 200).sum())
    assert len(read_table(folder / "chosen.star", "particles")) == count > 0


def test_relion_recentres_in_the_same_direction(session):
    folder, rows, picks, result = session
    shifted = result.particles.assign(rlnOriginXAngst=7 * PIXEL, rlnOriginYAngst=-4 * PIXEL)
    write_particles(folder / "shifted.star", result.optics, shifted)
    relion(EXTRACT + "--reextract_data_star shifted.star --recenter", folder)
    theirs = read_table(folder / "Extract" / "particles.star", "particles")
    ours = extract(folder, rows, shifted, SETTINGS).particles
    x, y = "rlnCoordinateX", "rlnCoordinateY"
    assert ours[x].to_numpy() == pytest.approx(picks[x].to_numpy() - 7)
    assert ours[[x, y]].to_numpy() == pytest.approx(theirs[[x, y]].to_numpy())
    assert likeness(images_of(folder, ours), images_of(folder, theirs)).min() > 0.9999
