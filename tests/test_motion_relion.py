"""Parity with RELION's own motion correction: signs, values, and the layout of its STAR file."""

import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
import torch
from motion_movies import rms_errors, simulate_movie
from test_motion import corrected, shifts_of

from cryosnake.motion import LocalMotion, write_motion_star
from cryosnake.tables import read_star

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_run_motioncorr") is None, reason="relion_run_motioncorr not installed"
    ),
]

MOVIES_STAR = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
og1 1 1.0 300.0 2.7 0.1

# version 30001

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
Movies/m.mrcs 1
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A movie of strong contrast, RELION's folder, and our result."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("relion")
    movie = simulate_movie((768, 768), 10, dose=2.0, contrast=4.0, local_px=5.0, seed=3)
    (folder / "Movies").mkdir()
    with mrcfile.new(folder / "Movies" / "m.mrcs") as mrc:
        mrc.set_data(movie.frames.astype(np.int16))
        mrc.voxel_size = 1.0
        mrc.set_image_stack()
    (folder / "movies.star").write_text(MOVIES_STAR)
    command = (
        "relion_run_motioncorr --i movies.star --o MotionCorr/ --use_own --dose_weighting "
        "--save_noDW --dose_per_frame 2 --patch_x 3 --patch_y 3 --bfactor 150 --j 2"
    )
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return movie, folder / "MotionCorr", corrected(movie, patches=(3, 3))


def test_shifts_agree_in_sign_and_value(both):
    movie, folder, result = both
    blocks = read_star(folder / "Movies" / "m.star")
    table = blocks["global_shift"]
    theirs = table[["rlnMicrographShiftY", "rlnMicrographShiftX"]].to_numpy(float)
    difference = theirs - result.shifts_px
    difference -= difference.mean(axis=0)
    assert np.abs(theirs).max() > 4
    assert np.sqrt((difference**2).mean()) < 0.35

    coefficients = blocks["local_motion_model"].rlnMotionModelCoeff.to_numpy(float)
    model = LocalMotion(coefficients[18:], coefficients[:18], movie.frames.shape[1:])

    def theirs_at(y, x):
        frames = np.arange(len(theirs))[:, None]
        return theirs[:, None] + np.stack(model.shift_px(frames, y[None], x[None]), axis=-1)

    ours_whole, ours_local = rms_errors(movie, shifts_of(result))
    their_whole, their_local = rms_errors(movie, theirs_at)
    # Read by the same formula, their model is near the truth: same terms, order, scale and sign.
    assert their_local < 0.8 * rms_errors(movie, lambda y, x: theirs[:, None] + 0 * y[:, None])[1]
    assert ours_whole <= their_whole
    assert ours_local <= their_local


def test_sums_agree(both):
    _, folder, result = both
    inner = np.s_[40:-40, 40:-40]
    for name, image in (("m.mrc", result.dose_weighted), ("m_noDW.mrc", result.plain)):
        theirs = mrcfile.read(folder / "Movies" / name)[inner]
        assert image[inner].mean() == pytest.approx(theirs.mean(), rel=0.01)
        smooth = [_low_passed(v) for v in (theirs, image[inner])]
        assert np.corrcoef(smooth[0].ravel(), smooth[1].ravel())[0, 1] > 0.97
        assert smooth[1].std() == pytest.approx(smooth[0].std(), rel=0.1)


def _low_passed(image):
    transform = np.fft.rfft2(image - image.mean())
    radius = np.hypot(
        np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    )
    return np.fft.irfft2(transform * np.exp(-((radius / 0.07) ** 2)), s=image.shape)


def test_star_has_the_layout_of_relion(both, tmp_path):
    movie, folder, result = both
    path = tmp_path / "m.star"
    write_motion_star(
        path,
        result,
        "Movies/m.mrcs",
        frame_shape=movie.frames.shape[1:],
        frame_pixel_size_angst=1.0,
        voltage_kv=300.0,
    )
    ours, theirs = read_star(path), read_star(folder / "Movies" / "m.star")
    assert list(ours) == list(theirs)
    for name in ours:
        assert list(ours[name]) == list(theirs[name])
    for label, value in theirs["general"].items():
        assert ours["general"][label] == pytest.approx(value) or ours["general"][label] == value

    listed = read_star(folder / "corrected_micrographs.star")["micrographs"].iloc[0]
    table = theirs["global_shift"]
    steps = np.hypot(np.diff(table.rlnMicrographShiftX), np.diff(table.rlnMicrographShiftY))
    # frames 1 and 2 end at 2 and 4 e/A2: early motion is the step into frame 2
    assert float(listed.rlnAccumMotionEarly) == pytest.approx(steps[0], abs=1e-3)
    ours_early = np.hypot(*np.diff(result.shifts_px, axis=0)[0])
    assert result.accumulated_early_angst == pytest.approx(ours_early)
