"""RELION's 2D classification as an engine: versions, command lines, what is given and what is read.
Programs of the same interface stand in for RELION; the real one is in test_engines_relion_run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryosnake.engines.command import EngineError, split_command
from cryosnake.engines.relion_class2d import classify
from cryosnake.engines.relion_command import class2d_command, relion_version
from cryosnake.engines.relion_output import (
    parse_version,
    read_assignments,
    read_averages,
    read_classes,
)
from cryosnake.errors import BadInputError
from cryosnake.images import write_mrc
from cryosnake.particles import write_particles
from cryosnake.tables import read_table

MODEL = """
# version 30001

data_model_general

_rlnReferenceDimensionality                        2
_rlnCurrentResolution                      38.400000
_rlnNrClasses                                      4
_rlnLogLikelihood                       6.732298e+05


# version 30001

data_model_classes

loop_
_rlnReferenceImage #1
_rlnClassDistribution #2
_rlnAccuracyRotations #3
_rlnAccuracyTranslationsAngst #4
_rlnEstimatedResolution #5
000001@out/run_it005_classes.mrcs     0.353747    30.100000    19.600000    38.400000
000002@out/run_it005_classes.mrcs     0.646253     2.300000   999.000000          inf
000003@out/run_it005_classes.mrcs     0.000000          inf         -nan     0.000000
000004@out/run_it005_classes.mrcs         -nan         -nan          nan 1.234560e+05


# version 30001

data_model_class_1

loop_
_rlnSpectralIndex #1
_rlnResolution #2
_rlnAngstromResolution #3
_rlnSsnrMap #4
           0     0.000000   999.000000         -nan
           1     0.005208   192.000000          inf
"""

DATA = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnAnglePsi #3
_rlnOriginXAngst #4
_rlnOriginYAngst #5
_rlnClassNumber #6
_rlnMaxValueProbDistribution #7
000002@a.mrcs m0.mrc    61.287560     4.858373     -3.14163            2     0.803104
000003@a.mrcs m0.mrc    -175.0000     0.858373     -7.14163            1     0.514577
000001@a.mrcs m1.mrc   190.000000     0.000000     0.000000            2     1.000000
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- versions and command lines ---


@pytest.mark.parametrize(
    ("printed", "text", "numbers"),
    [
        ("RELION version: 3.1.3 \nPrecision: BASE=double\n", "3.1.3", (3, 1)),
        ("RELION version: 4.0.1 \nPrecision: BASE=double, CUDA-ACC=single\n", "4.0.1", (4, 0)),
        ("RELION version: 4.0-beta-2-commit-e3afcf", "4.0-beta-2-commit-e3afcf", (4, 0)),
        ("RELION version: 5.0\n", "5.0", (5, 0)),
        ("module loaded\nRELION version: 5.0.1-commit-d476e6\n", "5.0.1-commit-d476e6", (5, 0)),
    ],
)
def test_versions(printed, text, numbers):
    assert parse_version(printed) == (text, numbers)


def program(folder: Path, text: str) -> str:
    """A stand-in for relion_refine: answers `--version` as 3.1.3, else does what `text` says."""
    path = folder / "relion_stand_in"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "RELION version: 3.1.3"; exit; fi\n{text}\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("printed", "words"), [("hello", "does not say its version"), ("RELION version: 2.1", "2.1")]
)
def test_what_is_not_relion_or_too_old_is_refused(tmp_path, printed, words):
    other = written(tmp_path / "other", f"#!/bin/sh\necho {printed}\n")
    other.chmod(0o755)
    with pytest.raises(EngineError, match=f"{words}.*3.1 or later is needed"):
        relion_version(split_command(str(other)))


def line(version: tuple[int, int], **options) -> str:
    given = {
        "particles": "input.star",
        "output": "relion/run",
        "classes": 50,
        "iterations": 25,
        "diameter_angst": 180.5,
        "seed": 7,
        "threads": 4,
        "gpu": None,
        "references": None,
        "phase_flipped": False,
        "vdam": version >= (4, 0),
    } | options
    return " ".join(class2d_command(["relion_refine"], version, **given))


def test_expectation_maximisation_before_version_4():
    assert line((3, 1)) == (
        "relion_refine --i input.star --o relion/run --iter 25 --K 50 --tau2_fudge 2 "
        "--particle_diameter 180.5 --flatten_solvent --zero_mask --ctf --oversampling 1 "
        "--psi_step 12 --offset_range 5 --offset_step 2 --norm --scale --pad 2 --pool 30 "
        "--random_seed 7 --j 4"
    )


@pytest.mark.parametrize("version", [(4, 0), (5, 0)])
def test_vdam_from_version_4_on(version):
    assert line(version, iterations=200) == (
        "relion_refine --i input.star --o relion/run --grad --class_inactivity_threshold 0.1 "
        "--grad_write_iter 10 --iter 200 --K 50 --tau2_fudge 2 --particle_diameter 180.5 "
        "--flatten_solvent --zero_mask --ctf --center_classes --oversampling 1 --psi_step 12 "
        "--offset_range 5 --offset_step 2 --norm --scale --pad 2 --pool 30 --random_seed 7 --j 4"
    )


def test_options_for_references_phase_flips_and_gpus():
    old = line((3, 1), references="r.star")
    assert "--ref r.star --ctf_corrected_ref --firstiter_cc" in old
    new = line((5, 0), references="r.star", vdam=False, phase_flipped=True, gpu="0:1")
    assert new.endswith("--ref r.star --firstiter_cc --gpu 0:1")
    assert "--ctf --ctf_phase_flipped" in new
    assert "--ctf_corrected_ref" not in new  # from 4.0 on references are taken for corrected
    assert "--grad" not in new
    assert line((5, 0), references="r.star", gpu="").endswith("--ref r.star --gpu ")


# --- what RELION leaves ---


def test_classes_with_values_that_are_none(tmp_path):
    table = read_classes(written(tmp_path / "model.star", MODEL), 4)
    assert table["rlnReferenceImage"].iloc[2] == "000003@out/run_it005_classes.mrcs"
    assert table["rlnClassDistribution"].tolist() == [0.353747, 0.646253, 0.0, 0.0]
    assert table["rlnAccuracyRotations"].tolist() == [30.1, 2.3, 999.0, 999.0]
    assert table["rlnAccuracyTranslationsAngst"].tolist() == [19.6, 999.0, 999.0, 999.0]
    assert table["rlnEstimatedResolution"].tolist() == [38.4, 999.0, 999.0, 999.0]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "000004@out/run_it005_classes.mrcs         -nan         -nan          nan 1.2",
            "#",
            "3 c",
        ),
        ("0.646253", "0.346253", "add up to 0.7"),
        ("0.646253", "-nan", "add up to 0.353747"),
        ("38.400000\n000002", "none\n000002", "rlnEstimatedResolution: could not convert"),
        ("_rlnAccuracyRotations", "_rlnOther", "no rlnAccuracyRotations"),
        ("data_model_classes", "data_classes", "no block data_model_classes"),
    ],
)
def test_classes_that_do_not_fit_are_refused(tmp_path, old, new, words):
    with pytest.raises(BadInputError, match=words):
        read_classes(written(tmp_path / "model.star", MODEL.replace(old, new)), 4)


NAMES = pd.Series([f"{n:06d}@a.mrcs" for n in (1, 2, 3)], index=[10, 11, 13])


def test_assignments_in_the_order_of_the_input(tmp_path):
    found = read_assignments(written(tmp_path / "data.star", DATA), NAMES, 2, 192.0)
    assert found.index.tolist() == [10, 11, 13]
    assert found["rlnClassNumber"].tolist() == [2, 2, 1]
    assert found["rlnAnglePsi"].to_numpy() == pytest.approx([-170.0, 61.28756, -175.0])
    assert found["rlnOriginXAngst"].tolist() == [0.0, 4.858373, 0.858373]
    assert found["rlnOriginYAngst"].tolist() == [0.0, -3.14163, -7.14163]
    assert found["rlnMaxValueProbDistribution"].tolist() == [1.0, 0.803104, 0.514577]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("000003@a.mrcs", "000002@a.mrcs", "more than once"),
        ("000003@a.mrcs", "000003@b.mrcs", "3 particles, 1 missing, as 000003@a.mrcs"),
        ("            1     0.514577", "            3     0.514577", "rlnClassNumber of 1"),
        ("            1     0.514577", "            0     0.514577", "rlnClassNumber of 1"),
        ("61.287560", "-nan", "rlnAnglePsi of 1 particles, as nan"),
        ("4.858373", "inf", "rlnOriginXAngst of 1 particles, as inf"),
        ("-7.14163", "-207.1", "rlnOriginYAngst of 1 particles, as -207.1; expected -192 to 192"),
        ("0.803104", "1.803104", "rlnMaxValueProbDistribution"),
        ("_rlnAnglePsi", "_rlnAngleRot", "no rlnAnglePsi"),
    ],
)
def test_assignments_that_do_not_fit_are_refused(tmp_path, old, new, words):
    with pytest.raises(BadInputError, match=words):
        read_assignments(written(tmp_path / "data.star", DATA.replace(old, new)), NAMES, 2, 192.0)


def test_a_truncated_table_is_refused(tmp_path):
    path = written(tmp_path / "data.star", "\n".join(DATA.splitlines()[:-1]) + "\n")
    with pytest.raises(BadInputError, match="2 particles, 1 missing"):
        read_assignments(path, NAMES, 2, 192.0)


def test_averages(tmp_path):
    images = np.random.default_rng(0).normal(0, 1, (3, 8, 8)).astype(np.float32)
    images[1] = np.nan
    write_mrc(tmp_path / "c.mrcs", images, 4.0)
    averages = read_averages(tmp_path / "c.mrcs", np.array([5, 0, 7]))
    assert np.array_equal(averages[[0, 2]], images[[0, 2]])
    assert not averages[1].any()
    with pytest.raises(BadInputError, match="class 2, with 1 particles, is not finite"):
        read_averages(tmp_path / "c.mrcs", np.array([5, 1, 7]))
    with pytest.raises(BadInputError, match="3 averages; expected 4"):
        read_averages(tmp_path / "c.mrcs", np.array([5, 0, 7, 1]))
    images[1] = 0.5
    write_mrc(tmp_path / "c.mrcs", images, 4.0)
    with pytest.raises(BadInputError, match="class 2, with 1 particles, is flat"):
        read_averages(tmp_path / "c.mrcs", np.array([5, 1, 7]))


# --- what RELION is given ---


def session(folder: Path, *, dtype=np.float32, **optics) -> Path:
    """Two stacks of images and their table, as the extraction writes it."""
    images = np.random.default_rng(1).normal(0, 1, (2, 6, 8, 8)).astype(dtype)
    images[0, 2, 3, 3] = np.nan
    images[1, 4] = 1.0
    for name, stack in zip("ab", images, strict=True):
        write_mrc(folder / f"{name}.mrcs", stack, 4.0)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{n:06d}@{name}.mrcs" for name in "ab" for n in range(1, 7)],
            "rlnMicrographName": [f"with blank/{name}.mrc" for name in "ab" for _ in range(6)],
            "rlnOpticsGroup": 1,
            "rlnDefocusU": 10100.0,
            "rlnDefocusV": 9900.0,
            "rlnDefocusAngle": 30.0,
            "csnParticleFlags": "-",
        }
    )
    group = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": 4.0,
        "rlnImageSize": 8,
        "rlnImageDimensionality": 2,
        "csnPhaseFlipped": 0,
    }
    write_particles(folder / "particles.star", pd.DataFrame([group | optics]), table)
    return folder


def attempt(folder: Path, text: str = "exit 1", **options):
    given = {"classes": 2, "diameter_angst": 24.0, "seed": 1, "threads": 1} | options
    return classify(
        folder / "particles.star",
        folder / "relion",
        work_dir=folder,
        command=program(folder, text),
        **given,
    )


def test_relion_is_given_what_it_can_use(tmp_path):
    with pytest.raises(EngineError) as caught:
        attempt(session(tmp_path, csnPhaseFlipped=1), "exit 1")
    assert "--i relion/input.star --o relion/run" in caught.value.command
    assert "--ctf_phase_flipped" in caught.value.command
    given = read_table(tmp_path / "relion" / "input.star", "particles")
    assert len(given) == 10
    assert not {"000003@a.mrcs", "000005@b.mrcs"} & set(given["rlnImageName"])
    for block in ("optics", "particles"):
        columns = list(read_table(tmp_path / "relion" / "input.star", block))
        assert [c for c in columns if not c.startswith("rln")] == []


def test_references_are_listed_one_a_class(tmp_path):
    averages = np.random.default_rng(2).normal(0, 1, (2, 8, 8)).astype(np.float32)
    write_mrc(session(tmp_path) / "before.mrcs", averages, 4.0)
    with pytest.raises(EngineError) as caught:
        attempt(tmp_path, initial=tmp_path / "before.mrcs")
    assert "--ref relion/references.star" in caught.value.command
    listed = read_table(tmp_path / "relion" / "references.star", "")
    assert listed["rlnReferenceImage"].tolist() == ["000001@before.mrcs", "000002@before.mrcs"]
    with pytest.raises(BadInputError, match=r"expected \(3, 8, 8\)"):
        attempt(tmp_path, initial=tmp_path / "before.mrcs", classes=3)
    write_mrc(tmp_path / "before.mrcs", averages, 2.0)
    with pytest.raises(BadInputError, match="pixel size 2 A; expected 4 A"):
        attempt(tmp_path, initial=tmp_path / "before.mrcs")


def test_input_that_relion_cannot_take_is_refused_before_it_starts(tmp_path):
    started = "touch started; exit 1"
    with pytest.raises(BadInputError, match=r"16-bit floats .*from 4\.0 on; expected 32-bit"):
        attempt(session(tmp_path, dtype=np.float16), started)
    with pytest.raises(BadInputError, match="10 usable particles; expected at least 11"):
        attempt(session(tmp_path), started, classes=11)
    with pytest.raises(BadInputError, match="expected 6 images of 16"):
        attempt(session(tmp_path, rlnImageSize=16), started)
    (session(tmp_path) / "b.mrcs").unlink()
    with pytest.raises(BadInputError, match=r"b\.mrcs: cannot be read"):
        attempt(tmp_path, started)
    with pytest.raises(ValueError, match=r"RELION 3\.1\.3 has no VDAM"):
        attempt(tmp_path, started, vdam=True)
    assert not (tmp_path / "started").exists()


# --- how it ends ---


def test_a_failure_is_told_with_command_and_log(tmp_path):
    with pytest.raises(EngineError) as caught:
        attempt(session(tmp_path), "echo 'ERROR: something'; exit 1")
    assert caught.value.exit_code == 1
    assert caught.value.log_tail == "ERROR: something"
    assert (tmp_path / "relion" / "relion.log").read_text() == "ERROR: something\n"


def test_a_killed_run_is_told_as_such(tmp_path):
    with pytest.raises(EngineError, match="killed by signal 9"):
        attempt(session(tmp_path), "kill -KILL $$")


def test_output_of_an_earlier_attempt_is_never_taken_for_this_one(tmp_path):
    (session(tmp_path) / "relion").mkdir()
    for name in ("run_it025_data.star", "run_it025_model.star"):
        (tmp_path / "relion" / name).write_text(DATA)
    with pytest.raises(EngineError, match=r"does not fit: .*run_it025_data\.star: no such file"):
        attempt(tmp_path, "echo ended; exit 0")
