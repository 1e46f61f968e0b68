"""RELION's volumes as engines: command lines, what is given and what is read. Programs of the same
interface stand in for RELION; the real one is in test_engines_relion3d_run."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryosnake.engines.command import EngineError
from cryosnake.engines.relion_command3d import (
    Common,
    SgdSchedule,
    class3d_command,
    initial_model_command,
    refine3d_command,
)
from cryosnake.engines.relion_output3d import read_poses, read_resolution, read_volume
from cryosnake.engines.relion_refine3d import auto_refine
from cryosnake.engines.relion_volumes import classify3d, initial_model
from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc, write_mrc, write_volume
from cryosnake.particles import write_particles
from cryosnake.tables import read_table

BOX, PIXEL = 8, 4.0

MODEL = """
# version 30001

data_model_general

_rlnReferenceDimensionality                        3
_rlnCurrentResolution                      16.000000
_rlnNrClasses                                      2


# version 30001

data_model_classes

loop_
_rlnReferenceImage #1
_rlnClassDistribution #2
_rlnAccuracyRotations #3
_rlnAccuracyTranslationsAngst #4
_rlnEstimatedResolution #5
_rlnOverallFourierCompleteness #6
relion/run_it003_class001.mrc     0.653747     5.240000     2.898000    16.000000     0.978920
relion/run_it003_class002.mrc     0.346253   999.000000          inf         -nan     1.000000
"""

DATA = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnClassNumber #8
_rlnRandomSubset #9
_rlnMaxValueProbDistribution #10
000002@a.mrcs "grid 1/m0.mrc" 190.00000  30.500000  61.287560   4.858373  -3.14163   2   1  0.803104
000003@a.mrcs "grid 1/m0.mrc" 20.000000  -30.50000  -175.0000   0.858373  -7.14163   1   2  0.514577
000001@a.mrcs m1.mrc          40.000000  180.00000  10.000000   0.000000   0.000000  1   1  1.000000
"""
NAMES = pd.Series([f"{n:06d}@a.mrcs" for n in (1, 2, 3)], index=[10, 11, 13])


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- command lines ---


def common(version=(3, 1), **options) -> Common:
    given = {
        "particles": "input.star",
        "output": "relion/run",
        "diameter_angst": 180.5,
        "seed": 7,
        "threads": 4,
        "gpu": None,
        "phase_flipped": False,
        "quick": True,
    } | options
    return Common(version=version, **given)


END = (
    "--particle_diameter 180.5 --flatten_solvent --zero_mask --ctf --sym {symmetry} "
    "--oversampling 1 --healpix_order {order} --offset_range 6 --offset_step 2 "
    "--dont_combine_weights_via_disc --pool 30 --pad {pad}{quick} --random_seed 7 --j 4"
)
QUICK = " --maxsig 50 --skip_gridding"


def test_the_initial_model_before_version_4_is_by_gradient_descent():
    line = initial_model_command(
        ["relion_refine"], common(), volumes=2, schedule=SgdSchedule(), iterations=300
    )
    assert " ".join(line) == (
        "relion_refine --i input.star --o relion/run --denovo_3dref --sgd --sgd_write_iter 300 "
        "--sgd_ini_iter 50 --sgd_fin_iter 50 --sgd_inbetween_iter 200 --sgd_ini_resol 35 "
        "--sgd_fin_resol 15 --sgd_ini_subset 100 --sgd_fin_subset 500 --K 2 "
        + END.format(symmetry="C1", order=1, pad=1, quick=QUICK)
    )


@pytest.mark.parametrize("version", [(4, 0), (5, 0)])
def test_the_initial_model_from_version_4_on_is_by_vdam(version):
    line = initial_model_command(
        ["relion_refine"],
        common(version, quick=False, gpu="0"),
        volumes=3,
        schedule=SgdSchedule(),
        iterations=200,
    )
    assert " ".join(line) == (
        "relion_refine --i input.star --o relion/run --denovo_3dref --grad --iter 200 "
        "--grad_write_iter 200 --auto_sampling --tau2_fudge 4 --K 3 "
        + END.format(symmetry="C1", order=1, pad=1, quick="")
        + " --gpu 0"
    )


@pytest.mark.parametrize(
    ("given", "corrected", "end"),
    [
        (common(), " --ctf_corrected_ref", {"order": 1, "pad": 1, "quick": QUICK}),
        (common(quick=False), " --ctf_corrected_ref", {"order": 2, "pad": 2, "quick": ""}),
        (common((4, 0)), "", {"order": 1, "pad": 1, "quick": " --maxsig 50"}),
    ],
)
def test_3d_classification(given, corrected, end):
    line = class3d_command(
        ["relion_refine"],
        given,
        references="r.star",
        volumes=2,
        iterations=25,
        low_pass_angst=60.0,
        symmetry="C1",
    )
    assert " ".join(line) == (
        "relion_refine --i input.star --o relion/run --ref r.star --firstiter_cc --ini_high 60"
        f"{corrected} --iter 25 --K 2 --tau2_fudge 4 --norm --scale "
        + END.format(symmetry="C1", **end)
    )


def test_auto_refinement():
    options = {"reference": "r.mrc", "low_pass_angst": 40.0, "symmetry": "D2"}
    line = refine3d_command(["mpirun", "relion_refine_mpi"], common(), **options)
    assert " ".join(line) == (
        "mpirun relion_refine_mpi --i input.star --o relion/run --ref r.mrc --firstiter_cc "
        "--ini_high 40 --ctf_corrected_ref --auto_refine --split_random_halves "
        "--low_resol_join_halves 40 --auto_ignore_angles --auto_resol_angles "
        "--auto_local_healpix_order 3 --norm --scale "
        + END.format(symmetry="D2", order=2, pad=1, quick=QUICK)
    )
    given = common((5, 0), quick=False, gpu="0:1", phase_flipped=True)
    line = " ".join(refine3d_command(["mpirun", "relion_refine_mpi"], given, **options))
    assert "--auto_local_healpix_order 4" in line
    assert "--ctf --ctf_phase_flipped" in line
    assert line.endswith("--pad 2 --random_seed 7 --j 4 --gpu 0:1")


# --- what RELION leaves ---


def test_poses_in_the_order_of_the_input_and_in_the_ranges_of_the_tables(tmp_path):
    path = written(tmp_path / "data.star", DATA)
    found = read_poses(path, NAMES, 2, 192.0, halves=True)
    assert found.index.tolist() == [10, 11, 13]
    assert found["rlnClassNumber"].tolist() == [1, 2, 1]
    assert found["rlnRandomSubset"].tolist() == [1, 1, 2]
    assert found["rlnAngleTilt"].tolist() == [180.0, 30.5, 30.5]
    assert found["rlnAngleRot"].tolist() == [40.0, -170.0, -160.0]  # the last: turned with the tilt
    assert found["rlnAnglePsi"].to_numpy() == pytest.approx([10.0, 61.28756, 5.0])
    assert "rlnRandomSubset" not in read_poses(path, NAMES, 2, 192.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("000003@a.mrcs", "000002@a.mrcs", "more than once"),
        ("000003@a.mrcs", "000003@b.mrcs", "3 particles, 1 missing, as 000003@a.mrcs"),
        ("190.00000", "-nan", "rlnAngleRot of 1 particles, as nan"),
        ("-30.50000", "inf", "rlnAngleTilt of 1 particles, as inf"),
        ("_rlnAngleTilt", "_rlnAngleOther", "no rlnAngleTilt"),
        ("_rlnRandomSubset", "_rlnOther", "no rlnRandomSubset"),
        ("1   2  0.514577", "1   3  0.514577", "rlnRandomSubset of 1 particles, as 3"),
        ("1   2  0.514577", "1   1  0.514577", "a half set without particles"),
        ("-7.14163   1", "-7.14163   0", "rlnClassNumber of 1 particles, as 0; expected 1 to 2"),
    ],
)
def test_poses_that_do_not_fit_are_refused(tmp_path, old, new, words):
    path = written(tmp_path / "data.star", DATA.replace(old, new))
    with pytest.raises(BadInputError, match=words):
        read_poses(path, NAMES, 2, 192.0, halves=True)


def test_particles_of_no_mini_batch_have_no_class(tmp_path):
    path = written(tmp_path / "data.star", DATA.replace("-7.14163   1", "-7.14163   0"))
    found = read_poses(path, NAMES, 2, 192.0, some_unseen=True)
    assert found["rlnClassNumber"].tolist() == [1, 2, 0]


def test_resolutions(tmp_path):
    where = ("model_general", "rlnCurrentResolution", 8.0)
    assert read_resolution(written(tmp_path / "m.star", MODEL), *where) == 16.0
    for none in ("999.000000", "inf", "-nan"):
        path = written(tmp_path / "m.star", MODEL.replace("16.000000\n_rlnNr", f"{none}\n_rlnNr"))
        assert read_resolution(path, *where) == float("inf")
    for old, new, words in (
        ("16.000000\n_rlnNr", "3.0\n_rlnNr", "rlnCurrentResolution = 3 A; expected at least 8 A"),
        ("16.000000\n_rlnNr", "none\n_rlnNr", "could not convert"),
        ("rlnCurrentResolution", "rlnOther", "no rlnCurrentResolution"),
        ("data_model_general", "data_other", "no rlnCurrentResolution in a block data_model_g"),
    ):
        with pytest.raises(BadInputError, match=words):
            read_resolution(written(tmp_path / "m.star", MODEL.replace(old, new)), *where)


def cube(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (BOX,) * 3).astype(np.float32)


def test_volumes(tmp_path):
    path, holed = tmp_path / "v.mrc", cube()
    write_volume(path, cube(), PIXEL)
    assert np.array_equal(read_volume(path, BOX, PIXEL), cube())
    with pytest.raises(BadInputError, match=r"shape \(8, 8, 8\); expected \(10, 10, 10\)"):
        read_volume(path, 10, PIXEL)
    with pytest.raises(BadInputError, match="pixel size 4 A; expected 5 A"):
        read_volume(path, BOX, 5.0)
    write_volume(path, np.zeros((BOX,) * 3), PIXEL)
    with pytest.raises(BadInputError, match="is flat"):
        read_volume(path, BOX, PIXEL)
    assert not read_volume(path, BOX, PIXEL, may_be_empty=True).any()
    holed[2, 2, 2] = np.nan
    write_volume(path, holed, PIXEL)
    with pytest.raises(BadInputError, match="is not finite"):
        read_volume(path, BOX, PIXEL)
    assert np.isfinite(read_volume(path, BOX, PIXEL, may_be_empty=True)).all()


# --- runs, with a program that leaves what was prepared for it ---


@pytest.fixture
def session(tmp_path) -> Path:
    """A table of three particles as a 2D round leaves it, and, in `prepared`, RELION's output."""
    folder = tmp_path / "a session"
    (folder / "prepared").mkdir(parents=True)
    write_mrc(folder / "a.mrcs", np.stack([cube(n)[0] for n in range(4)]), PIXEL)
    table = pd.DataFrame(
        {
            "rlnImageName": NAMES.to_numpy(),
            "rlnMicrographName": "m.mrc",
            "rlnOpticsGroup": 1,
            "rlnOriginXAngst": 2.0,
            "rlnDefocusU": 10100.0,
            "rlnDefocusV": 9900.0,
            "rlnDefocusAngle": 30.0,
            "rlnClassNumber": 37,
            "rlnAnglePsi": 12.0,
            "rlnRandomSubset": 0,
            "csnParticleFlags": "-",
        }
    )
    group = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": PIXEL,
        "rlnImageSize": BOX,
        "rlnImageDimensionality": 2,
    }
    write_particles(folder / "particles.star", pd.DataFrame([group]), table)
    left = folder / "prepared"
    for root in ("run_it003", "run"):
        written(left / f"{root}_data.star", DATA)
        written(left / f"{root}_model.star", MODEL)
    for name in ("run_it003_class001", "run_it003_class002", "run_class001"):
        write_volume(left / f"{name}.mrc", cube(1), PIXEL)
    for half in (1, 2):
        write_volume(left / f"run_half{half}_class001_unfil.mrc", cube(half), PIXEL)
    written(left / "run_it002_data.star", "of no use")
    return folder


def program(folder: Path, text: str = "cp prepared/* relion/") -> str:
    """A stand-in that answers `--version` as 3.1.3, else does what `text` says."""
    path = folder.parent / "stand_in"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "RELION version: 3.1.3"; exit; fi\n{text}\n'
    )
    path.chmod(0o755)
    return str(path)


def given(folder: Path, **options) -> dict:
    return {
        "particles_star": folder / "particles.star",
        "folder": folder / "relion",
        "work_dir": folder,
        "diameter_angst": 24.0,
        "seed": 1,
        "threads": 1,
        "command": options.pop("command", None) or program(folder),
    } | options


def classified(folder: Path, **options):
    options = {"references": [cube(5), cube(6)]} | options
    return classify3d(iterations=3, **given(folder, **options))


def refined(folder: Path, **options):
    options = {"reference": cube(5), "low_pass_angst": 20.0, "mpi": "env"} | options
    written(folder / "prepared" / "run_data.star", DATA.replace("-3.14163   2", "-3.14163   1"))
    return auto_refine(**given(folder, **options))


def test_a_classification(session):
    found = classified(session)
    assert found.volumes.shape == (2, BOX, BOX, BOX)
    assert found.table["csnVolumePopulation"].tolist() == [2, 1]
    assert found.table["rlnClassDistribution"].tolist() == [0.653747, 0.346253]
    assert found.table["rlnEstimatedResolution"].tolist() == [16.0, 999.0]
    assert found.particles["rlnClassNumber"].tolist() == [1, 2, 1]
    assert found.version == "3.1.3"
    left = sorted(path.name for path in (session / "relion").glob("run_it*"))
    assert left == [f"run_it003_{name}" for name in (*CLASSES, "data.star", "model.star")]


CLASSES = ("class001.mrc", "class002.mrc")


def test_relion_gets_copies_of_the_references_and_nothing_of_earlier_rounds(session):
    write_volume(session / "six.mrc", cube(6), PIXEL)
    found = classified(session, references=[cube(5), session / "six.mrc"])
    assert "--ref relion/references.star" in found.command
    listed = read_table(session / "relion" / "references.star", "")["rlnReferenceImage"]
    assert listed.tolist() == ["relion/reference_1.mrc", "relion/reference_2.mrc"]
    for name, seed in zip(listed, (5, 6), strict=True):
        copied, pixel_size_angst = read_mrc(session / name)
        assert np.array_equal(copied, cube(seed))
        assert pixel_size_angst == PIXEL
    columns = list(read_table(session / "relion" / "input.star", "particles"))
    assert not {"rlnClassNumber", "rlnAnglePsi", "rlnRandomSubset"} & set(columns)
    assert "rlnOriginXAngst" in columns
    assert [c for c in columns if not c.startswith("rln")] == []


def test_one_reference_for_several_classes(session):
    found = classified(session, references=[cube(5)], volumes=2)
    assert "--ref relion/reference_1.mrc" in found.command
    assert "--K 2" in found.command


def test_references_are_cut_at_a_sixth_of_the_diameter_unless_told(session):
    assert "--ini_high 4 " in classified(session).command
    assert "--ini_high 9.5 " in classified(session, low_pass_angst=9.5).command


@pytest.mark.parametrize(
    ("references", "options", "words"),
    [
        ([], {}, "no reference"),
        ([cube(), cube()], {"volumes": 3}, "2 references; expected 1 or 3"),
        ([cube(), cube()[:6]], {}, r"reference 2: shape \(6, 8, 8\)"),
        ([np.zeros((BOX,) * 3)], {}, "reference 1: is flat or not finite"),
        ([np.full((BOX,) * 3, np.nan)], {}, "reference 1: is flat or not finite"),
        ([cube(n) for n in range(4)], {}, "3 usable particles; expected at least 4"),
        (["missing.mrc"], {}, r"missing\.mrc: cannot be read"),
    ],
)
def test_references_that_relion_cannot_take_are_refused_before_it_starts(
    session, references, options, words
):
    command = program(session, "touch started; exit 1")
    with pytest.raises(BadInputError, match=words):
        classified(session, references=references, command=command, **options)
    assert not (session / "started").exists()


def test_a_reference_of_another_pixel_size_is_refused(session):
    write_volume(session / "other.mrc", cube(), 5.0)
    with pytest.raises(BadInputError, match=r"other\.mrc: pixel size 5 A; expected 4 A"):
        classified(session, references=[session / "other.mrc"])


BROKEN = [
    ("class001.mrc", "rm {}", "cannot be read"),
    ("class001.mrc", "head -c 1500 {0} > t; mv t {0}", "cannot be read"),
    ("model.star", "rm {}", "no such file"),
    ("model.star", "sed -i s/0.653747/0.253747/ {}", "add up to 0.6"),
    ("data.star", "rm {}", "no such file"),
    ("data.star", "sed -i /000003@/d {}", "2 particles, 1 missing"),
]


@pytest.mark.parametrize(("name", "damage", "words"), BROKEN)
def test_output_that_does_not_fit_is_an_error_of_the_engine(session, name, damage, words):
    command = program(
        session, f"cp prepared/* relion/; {damage.format('relion/run_it003_' + name)}; echo ended"
    )
    with pytest.raises(EngineError, match=words) as caught:
        classified(session, command=command)
    assert "RELION ended, but its output does not fit" in caught.value.problem
    assert caught.value.log_tail == "ended"


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (np.zeros((BOX,) * 3), "is flat"),
        (np.full((BOX,) * 3, np.inf), "is not finite"),
        (cube()[:4, :4, :4], r"shape \(4, 4, 4\)"),
    ],
)
def test_volumes_of_no_use_are_an_error_unless_their_class_is_empty(session, volume, words):
    write_volume(session / "prepared" / "run_it003_class002.mrc", volume, PIXEL)
    with pytest.raises(EngineError, match=rf"run_it003_class002\.mrc: {words}"):
        classified(session)
    if volume.shape[0] == BOX:
        moved = DATA.replace("-3.14163   2", "-3.14163   1")
        written(session / "prepared" / "run_it003_data.star", moved)
        assert not classified(session).volumes[1].any()


def test_an_initial_model(session):
    unseen = DATA.replace("-7.14163   1", "-7.14163   0").replace("-3.14163   2", "-3.14163   1")
    written(session / "prepared" / "run_it003_data.star", unseen)
    options = {"volumes": 2, "schedule": SgdSchedule(first=1, middle=1, last=1)}
    found = initial_model(**given(session, **options))
    assert found.table["csnVolumePopulation"].tolist() == [2, 0]
    assert found.particles["rlnClassNumber"].tolist() == [1, 1, 0]
    nothing = unseen.replace("-3.14163   1", "-3.14163   0").replace("0.000000  1", "0.000000  0")
    written(session / "prepared" / "run_it003_data.star", nothing)
    with pytest.raises(EngineError, match="no particle has a class"):
        initial_model(**given(session, **options))


def test_a_refinement(session):
    found = refined(session)
    assert np.array_equal(found.halves, np.stack([cube(1), cube(2)]))
    assert np.array_equal(found.volume, cube(1))
    assert found.resolution_angst == 16.0
    assert found.particles["rlnRandomSubset"].tolist() == [1, 1, 2]
    assert [path.name for path in found.half_files] == [
        "run_half1_class001_unfil.mrc",
        "run_half2_class001_unfil.mrc",
    ]
    assert not list((session / "relion").glob("run_it*"))
    assert found.command.startswith(shutil.which("env"))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("run_half2_class001_unfil.mrc", r"run_half2_class001_unfil\.mrc: cannot be read"),
        ("run_class001.mrc", r"run_class001\.mrc: cannot be read"),
        ("run_model.star", r"run_model\.star: no such file"),
        ("run_data.star", r"run_data\.star: no such file"),
    ],
)
def test_a_refinement_that_did_not_converge_is_an_error(session, missing, words):
    command = program(session, f"cp prepared/* relion/; rm relion/{missing}")
    with pytest.raises(EngineError, match=words):
        refined(session, command=command)


def test_output_of_an_earlier_attempt_is_never_taken_for_this_one(session):
    refined(session)
    with pytest.raises(EngineError, match=r"does not fit: .*run_data\.star: no such file"):
        refined(session, command=program(session, "exit 0"))


def test_the_program_that_is_missing_is_named(session):
    with pytest.raises(EngineError, match="program not found: 'no_mpi -n 3'"):
        refined(session, mpi="no_mpi -n 3")
    with pytest.raises(EngineError, match="program not found: 'no_refine_mpi'"):
        refined(session, command="no_refine_mpi")
    with pytest.raises(EngineError, match="program not found: 'no_refine'"):
        classified(session, command="no_refine")


def test_a_failure_is_told_with_command_and_log(session):
    with pytest.raises(EngineError) as caught:
        refined(session, command=program(session, "echo 'ERROR: something'; exit 3"))
    assert caught.value.exit_code == 3
    assert caught.value.log_tail == "ERROR: something"
    assert "--auto_refine --split_random_halves" in caught.value.command


@pytest.mark.parametrize(("gpu", "seen"), [(None, ""), ("0", "3")])
def test_gpus_are_hidden_unless_they_are_asked_for(session, monkeypatch, gpu, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    text = 'echo "$CUDA_VISIBLE_DEVICES,$OMPI_ALLOW_RUN_AS_ROOT" > seen; cp prepared/* relion/'
    refined(session, command=program(session, text), gpu=gpu)
    assert (session / "seen").read_text().strip() == f"{seen},1"
