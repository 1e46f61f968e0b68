"""RELION's postprocessing: its output as it looks, what is refused. The real program is run in
test_engines_relion3d_run."""

from pathlib import Path

import numpy as np
import pytest

from cryosnake.engines.command import EngineError
from cryosnake.engines.relion_postprocess import CURVES, postprocess
from cryosnake.errors import BadInputError
from cryosnake.images import write_volume

BOX, PIXEL = 8, 4.0

POST = """
# RELION postprocess; version 3.1.3
# --i half1.mrc --o post --angpix 4 --mask mask.mrc --auto_bfac

# version 30001

data_general

_rlnFinalResolution                              10.666667
_rlnBfactorUsedForSharpening                   -123.500000
_rlnUnfilteredMapHalf1                        half1.mrc
_rlnUnfilteredMapHalf2                        half2.mrc
_rlnParticleBoxFractionSolventMask                0.476000
_rlnMaskName                                  mask.mrc
_rlnRandomiseFrom                                16.000000
_rlnFittedSlopeGuinierPlot                      -30.875000
_rlnFittedInterceptGuinierPlot                    1.000000
_rlnCorrelationFitGuinierPlot                     0.930000


# version 30001

data_fsc

loop_
_rlnSpectralIndex #1
_rlnResolution #2
_rlnAngstromResolution #3
_rlnFourierShellCorrelationCorrected #4
_rlnFourierShellCorrelationParticleMaskFraction #5
_rlnFourierShellCorrelationUnmaskedMaps #6
_rlnFourierShellCorrelationMaskedMaps #7
_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps #8
           0     0.001001   999.000000     1.000000     -0.31234     -1.00000     1.000000     1.000000
           1     0.031250    32.000000     0.978325     0.955537     0.978331     0.978325     0.978329
           2     0.062500    16.000000     0.947868     0.896390     0.747850     0.947868     0.228652
           3     0.093750    10.666667     0.253969     0.140238     0.205217     0.255675     0.002288
           4     0.125000     8.000000     -0.03767     -0.02742     -0.05939     -0.05941     -0.02095


# version 30001

data_guinier

loop_
_rlnResolutionSquared #1
_rlnLogAmplitudesOriginal #2
    0.015625    -1.000000
"""  # noqa: E501


def cube(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (BOX,) * 3).astype(np.float32)


@pytest.fixture
def maps(tmp_path) -> Path:
    """Half maps, a mask, and, in `prepared`, what RELION leaves."""
    (tmp_path / "prepared").mkdir()
    for number in (1, 2):
        write_volume(tmp_path / f"run_half{number}_class001_unfil.mrc", cube(number), PIXEL)
    mask = np.zeros((BOX,) * 3)
    mask[2:6, 2:6, 2:6] = 1.0
    write_volume(tmp_path / "mask.mrc", mask, PIXEL)
    (tmp_path / "prepared" / "post.star").write_text(POST)
    write_volume(tmp_path / "prepared" / "post.mrc", cube(3), PIXEL)
    program(tmp_path)
    return tmp_path


def program(folder: Path, text: str = "cp ../prepared/* .") -> str:
    path = folder / "stand_in"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "RELION version: 3.1.3"; exit; fi\n{text}\n'
    )
    path.chmod(0o755)
    return str(path)


def processed(folder: Path, **options):
    given = {"pixel_size_angst": PIXEL, **options}
    given.setdefault("command", str(folder / "stand_in"))
    half1 = folder / "run_half1_class001_unfil.mrc"
    return postprocess(half1, folder / "mask.mrc", folder / "post", **given)


def test_what_is_read(maps):
    found = processed(maps)
    assert found.resolution_angst == 10.666667
    assert found.randomised_from_angst == 16.0
    assert found.b_factor_angst2 == 123.5  # RELION says -123.5 for a map that is sharpened
    assert found.fsc["rlnSpectralIndex"].tolist() == [0, 1, 2, 3, 4]
    row = found.fsc.iloc[2][list(CURVES)].tolist()
    assert row == [0.74785, 0.947868, 0.228652, 0.947868]  # unmasked, masked, random, corrected
    assert np.array_equal(found.volume, cube(3))
    assert found.file == maps / "post" / "post.mrc"
    line = found.command.split()
    assert line[line.index("--i2") + 1] == str(maps / "run_half2_class001_unfil.mrc")
    assert found.command.endswith("--auto_bfac --autob_lowres 10")
    assert processed(maps, b_factor_angst2=80.0).command.endswith("--adhoc_bfac -80")


def test_no_resolution_and_no_fit_are_told_as_such(maps):
    text = POST.replace("10.666667\n_rlnB", "999.000000\n_rlnB").replace("0.930000", "0.000000")
    (maps / "prepared" / "post.star").write_text(text)
    found = processed(maps)
    assert found.resolution_angst == float("inf")
    assert found.b_factor_angst2 is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data_fsc", "data_other", "no block data_fsc"),
        ("_rlnFourierShellCorrelationMaskedMaps", "_rlnOther", "no rlnFourierShellCorrelationM"),
        ("           4     0.125000 ", "           5     0.125000 ", "5 shells; expected 0 to 4"),
        ("0.255675", "-nan", "rlnFourierShellCorrelationMaskedMaps of nan; expected -1 to 1"),
        ("0.255675", "2.555675", "rlnFourierShellCorrelationMaskedMaps of 2.55567"),
        ("0.255675", "none", "could not convert"),
        ("-123.500000", "nan", "a B-factor of nan"),
        ("_rlnBfactorUsedForSharpening", "_rlnOther", "no B-factor"),
        ("10.666667\n_rlnB", "1.5\n_rlnB", "rlnFinalResolution = 1.5 A"),
        ("_rlnRandomiseFrom", "_rlnOther", "no rlnRandomiseFrom"),
    ],
)
def test_tables_that_do_not_fit_are_errors_of_the_engine(maps, old, new, words):
    (maps / "prepared" / "post.star").write_text(POST.replace(old, new))
    with pytest.raises(EngineError, match=words) as caught:
        processed(maps)
    assert "output does not fit" in caught.value.problem


def test_a_map_that_is_missing_or_damaged_is_an_error_of_the_engine(maps):
    write_volume(maps / "prepared" / "post.mrc", np.full((BOX,) * 3, np.nan), PIXEL)
    with pytest.raises(EngineError, match=r"post\.mrc: is not finite"):
        processed(maps)
    processed_whole = program(maps, "cp ../prepared/post.star .")
    with pytest.raises(EngineError, match=r"post\.mrc: cannot be read"):
        processed(maps, command=processed_whole)


def test_output_of_an_earlier_attempt_is_never_taken_for_this_one(maps):
    processed(maps)
    with pytest.raises(EngineError, match=r"post\.star: no such file"):
        processed(maps, command=program(maps, "exit 0"))


def test_maps_that_do_not_fit_are_refused_before_it_starts(maps):
    options = {"command": program(maps, "touch ../started; exit 1")}
    half2 = maps / "run_half2_class001_unfil.mrc"
    with pytest.raises(BadInputError, match="pixel size 4 A; expected 5 A"):
        processed(maps, pixel_size_angst=5.0, **options)
    write_volume(half2, cube(2)[:6, :6, :6], PIXEL)
    with pytest.raises(BadInputError, match=r"half2.*: shape \(6, 6, 6\)"):
        processed(maps, **options)
    half2.unlink()
    with pytest.raises(BadInputError, match=r"half2.*: cannot be read"):
        processed(maps, **options)
    write_volume(half2, cube(2), PIXEL)
    write_volume(maps / "mask.mrc", cube(4), PIXEL)
    with pytest.raises(BadInputError, match=r"values from -.*; expected a mask from 0 to 1"):
        processed(maps, **options)
    write_volume(maps / "mask.mrc", np.zeros((BOX,) * 3), PIXEL)
    with pytest.raises(BadInputError, match=r"mask\.mrc: is flat"):
        processed(maps, **options)
    assert not (maps / "started").exists()


def test_a_missing_program_is_named(maps):
    with pytest.raises(EngineError, match="program not found: 'no_postprocess'"):
        processed(maps, command="no_postprocess")
