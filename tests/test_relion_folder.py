"""The folder for RELION: its paths lead somewhere, and RELION's programs run in it."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from volumes3d_synthetic import BOX, PIXEL, blobs, particles, projection, volume

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc, write_mrc
from cryosnake.no_ctf import NO_CTF
from cryosnake.session.relion_folder import write_relion_folder
from cryosnake.tables import read_star, write_star

NUMBER, ROUND = 150, 120
GROUPS = pd.DataFrame(
    {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
        "rlnCtfDataAreCtfPremultiplied": [0],
        "csnPhaseFlipped": [0],
    }
)

needs_relion = pytest.mark.skipif(
    not all(map(shutil.which, ("relion_star_handler", "relion_reconstruct", "relion_postprocess"))),
    reason="RELION is not installed",
)


def write_round(session, images, optics, angles, origin) -> None:
    """Particles that were kept in a 2D round, and the micrographs that they are of."""
    stack, micrograph = layout.particles_stack("b00000"), f"{layout.PREPROCESS}/b00000/m.mrc"
    write_mrc(session / stack, images, PIXEL)
    write_mrc(session / micrograph, images[0], PIXEL)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{i + 1:06d}@{stack}" for i in range(len(images))],
            "rlnMicrographName": micrograph,
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
            "rlnCtfMaxResolution": np.nan,
            "rlnAngleRot": angles[:, 0],
            "rlnAngleTilt": angles[:, 1],
            "rlnAnglePsi": angles[:, 2],
            "rlnOriginXAngst": origin[:, 1],
            "rlnOriginYAngst": origin[:, 0],
            "csnParticleFlags": "-",
        }
    )
    selected = session / layout.class2d_file(ROUND, "selected.star")
    write_star(selected, {"optics": GROUPS, "particles": table})
    write_mrc(session / layout.class2d_file(ROUND, "classes.mrcs"), images[:4], PIXEL)
    micrographs = pd.DataFrame(
        {
            "rlnMicrographName": [micrograph, f"{layout.PREPROCESS}/b00000/gone.mrc"],
            "rlnMicrographMovieName": ["movies/m.tif", "movies/gone.tif"],
            "rlnMicrographMetadata": "-",
            "rlnOpticsGroup": 1,
            "csnAccepted": [1, 0],
        }
    )
    (session / "movies").mkdir()
    (session / "movies/m.tif").touch()
    groups = GROUPS.rename(columns={"rlnImagePixelSize": "rlnMicrographPixelSize"})
    groups = groups.drop(columns=[c for c in groups if "Image" in c or "Ctf" in c])
    write_star(session / layout.MICROGRAPHS, {"optics": groups, "micrographs": micrographs})


def refine(session) -> None:
    """What a refinement leaves."""
    truth = volume(blobs(0)).astype(np.float32)
    rng = np.random.default_rng(3)
    folder = session / layout.REFINE / str(ROUND)
    for name in ("half1", "half2", "map"):
        noise = rng.normal(0, 0.05, truth.shape).astype(np.float32)
        write_mrc(folder / f"{name}.mrc", truth + noise, PIXEL)
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    ball = np.clip((18 - np.sqrt(x**2 + y**2 + z**2)) / 4, 0, 1)
    write_mrc(folder / "mask.mrc", ball.astype(np.float32), PIXEL)
    blocks = read_star(session / layout.class2d_file(ROUND, "selected.star"))
    blocks["particles"]["rlnRandomSubset"] = np.arange(NUMBER) % 2 + 1
    write_star(folder / "particles.star", blocks)


@pytest.fixture
def session(tmp_path):
    images, optics, _, angles, origin = particles(NUMBER, [blobs(0)], snr=3.0)
    write_round(tmp_path, images, optics, angles, origin)
    return tmp_path


def paths_of(folder, name) -> set[str]:
    """All paths of a table, without the numbers of images."""
    found = set()
    for block in read_star(folder / name).values():
        for column in block:
            if re.search("ImageName|MicrographName|MovieName", column):
                found |= set(block[column].str.rpartition("@")[2])
    return found


def test_paths_resolve_in_the_folder_wherever_the_session_is(session, tmp_path_factory):
    refine(session)
    made = write_relion_folder(session)
    assert {"run_half1_class001_unfil.mrc", "mask.mrc", "class_averages.mrcs"} <= set(made)
    moved = tmp_path_factory.mktemp("moved") / "session"
    shutil.move(session, moved)
    folder = moved / layout.RELION
    for table in ("particles.star", "micrographs.star"):
        assert paths_of(folder, table)
        for path in paths_of(folder, table):
            assert (folder / path).exists(), path
        for block in read_star(folder / table).values():
            assert not [column for column in block if column.startswith("csn")]
    assert len(read_star(folder / "micrographs.star")["micrographs"]) == 1  # the accepted one
    assert all((folder / name).exists() for name in made)


def test_before_refinement_there_are_particles_and_averages_only(session):
    made = write_relion_folder(session)
    assert set(made) == {
        "particles.star",
        "micrographs.star",
        "class_averages.mrcs",
        "README.txt",
    }
    text = (session / layout.RELION / "README.txt").read_text()
    assert "relion_star_handler" in text
    assert "relion_postprocess" not in text


def test_what_is_gone_is_removed_and_nothing_at_all_is_fine(session, tmp_path_factory):
    refine(session)
    write_relion_folder(session)
    shutil.rmtree(session / layout.REFINE)
    assert "mask.mrc" not in write_relion_folder(session)
    assert not (session / layout.RELION / "mask.mrc").is_symlink()
    assert write_relion_folder(tmp_path_factory.mktemp("empty")) == ["README.txt"]


def test_a_name_with_a_blank_is_told(session):
    selected = session / layout.class2d_file(ROUND, "selected.star")
    blocks = read_star(selected)
    blocks["particles"]["rlnImageName"] = "000001@/data/my stack.mrcs"
    write_star(selected, blocks)
    with pytest.raises(BadInputError, match=r"my stack\.mrcs: has a blank"):
        write_relion_folder(session)


def commands(session) -> list[list[str]]:
    """The commands that the folder names."""
    text = (session / layout.RELION / "README.txt").read_text()
    return [line.split() for line in text.splitlines() if line.startswith("  relion_")]


def run(words, folder) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # RELION joins its plots by Ghostscript, and says so where that is not installed
    own = [line for line in said.splitlines() if not re.search(r"\bgs\b", line)]
    assert not re.search("warning|error", "\n".join(own), flags=re.I), said
    return said


@needs_relion
def test_relions_programs_run_in_it_without_complaint(session):
    refine(session)
    write_relion_folder(session)
    folder = session / layout.RELION
    found = commands(session)
    assert [words[0] for words in found] == [
        "relion_star_handler",
        "relion_reconstruct",
        "relion_postprocess",
    ]
    for words in found:
        run(words, folder)
    assert len(read_star(folder / "underfocus.star")["particles"]) > NUMBER / 2
    rebuilt, _ = read_mrc(folder / "reconstruction.mrc")
    assert np.corrcoef(rebuilt.ravel(), volume(blobs(0)).ravel())[0, 1] > 0.7
    processed = read_star(folder / "PostProcess/postprocess.star")["general"]
    assert processed["rlnFinalResolution"] < 20
    run(["relion_star_handler", "--i", "micrographs.star", "--o", "m.star", "--combine"], folder)


@needs_relion
def test_relion_takes_particles_without_a_ctf_as_they_are(tmp_path):
    """The sign, too: correcting for the CTF that is none gives what no correction gives."""
    kind = blobs(0)
    _, optics, _, angles, _ = particles(NUMBER, [kind])
    images = np.stack([projection(kind, one) for one in angles]).astype(np.float32)
    write_round(tmp_path, images, optics, angles, np.zeros((NUMBER, 2)))
    selected = tmp_path / layout.class2d_file(ROUND, "selected.star")
    blocks = read_star(selected)
    for block in blocks.values():
        for column in NO_CTF:
            if column in block:
                block[column] = NO_CTF[column]
    write_star(selected, blocks)
    write_relion_folder(tmp_path)
    folder = tmp_path / layout.RELION
    maps = []
    for options in (["--ctf"], []):
        run(["relion_reconstruct", "--i", "particles.star", "--o", "r.mrc", *options], folder)
        maps.append(read_mrc(folder / "r.mrc")[0])
    assert np.allclose(maps[0], maps[1], atol=1e-4 * np.abs(maps[1]).max())
    assert np.corrcoef(maps[0].ravel(), volume(kind).ravel())[0, 1] > 0.97
