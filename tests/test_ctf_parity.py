"""The CTF fit against RELION's own images, and on real micrographs with golden numbers."""

import os
import shutil
import subprocess
import tarfile

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from ctf_synthetic import ctf_on_grid

from cryosnake.config.model import CtfConfig
from cryosnake.ctf_fit import draw_ctf, fit_ctf
from cryosnake.ctf_fit.picture import model_rings

OPTICS = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}


@pytest.mark.relion
def test_the_defocus_that_relion_put_into_images_is_found(tmp_path):
    """Noise volumes projected by relion_project --ctf, laid side by side as one micrograph."""
    program = shutil.which("relion_project")
    if program is None:
        pytest.skip("relion_project is not installed")
    rng = np.random.default_rng(0)
    side, images = 128, 64
    with mrcfile.new(tmp_path / "volume.mrc") as mrc:
        mrc.set_data(rng.standard_normal((side, side, side), dtype=np.float32))
        mrc.voxel_size = 1.5
    particles = pd.DataFrame(
        {
            "rlnAngleRot": rng.uniform(0, 360, images),
            "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, images))),
            "rlnAnglePsi": rng.uniform(0, 360, images),
            "rlnOriginXAngst": 0.0,
            "rlnOriginYAngst": 0.0,
            "rlnDefocusU": 9000.0,
            "rlnDefocusV": 8000.0,
            "rlnDefocusAngle": 30.0,
            "rlnOpticsGroup": 1,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["one"],
            "rlnVoltage": [300.0],
            "rlnSphericalAberration": [2.7],
            "rlnAmplitudeContrast": [0.1],
            "rlnImagePixelSize": [1.5],
            "rlnImageSize": [side],
            "rlnImageDimensionality": [2],
        }
    )
    starfile.write({"optics": optics, "particles": particles}, tmp_path / "angles.star")
    subprocess.run(
        [program, "--i", "volume.mrc", "--o", "images", "--ang", "angles.star", "--ctf"]
        + ["--angpix", "1.5"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    stack = mrcfile.read(tmp_path / "images.mrcs")
    mosaic = stack.reshape(8, 8, side, side).transpose(0, 2, 1, 3).reshape(8 * side, 8 * side)
    fit = fit_ctf(mosaic, pixel_size_angst=1.5, config=CtfConfig(tile_px=side), **OPTICS)
    assert fit.defocus_u_angst == pytest.approx(9000, abs=50)
    assert fit.defocus_v_angst == pytest.approx(8000, abs=50)
    assert fit.defocus_angle_deg == pytest.approx(30, abs=1)


def real_micrograph(name):
    """A micrograph of the mrcfile 1.5.4 source distribution (CRYOSNAKE_MRCFILE_SDIST)."""
    sdist = os.environ.get("CRYOSNAKE_MRCFILE_SDIST", "")
    if not os.path.isfile(sdist):
        pytest.skip("set CRYOSNAKE_MRCFILE_SDIST to mrcfile-1.5.4.tar.gz to fit real micrographs")
    member = f"mrcfile-1.5.4/tests/test_data/{name}"
    with tarfile.open(sdist) as archive, archive.extractfile(member) as stream:
        return mrcfile.mrcinterpreter.MrcInterpreter(stream).data.copy()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pixel_size_angst", "mean_angst", "astigmatism_angst", "finest_angst"),
    [
        ("epu2.9_example.mrc", 0.66655, 27137, 129, 3.8),
        ("fei-extended.mrc", 0.85378, 10506, 204, 4.3),
    ],
)
def test_real_micrographs(name, pixel_size_angst, mean_angst, astigmatism_angst, finest_angst):
    """Golden numbers: halves of the micrographs, and other bands and tiles, agree with them."""
    image = real_micrograph(name)
    fit = fit_ctf(image, pixel_size_angst=pixel_size_angst, config=CtfConfig(), **OPTICS)
    mean = 0.5 * (fit.defocus_u_angst + fit.defocus_v_angst)
    assert mean == pytest.approx(mean_angst, abs=40)
    assert fit.defocus_u_angst - fit.defocus_v_angst == pytest.approx(astigmatism_angst, abs=60)
    assert fit.max_resolution_angst < finest_angst < 6.0
    assert fit.ice_ring_score < 5
    half = image[: image.shape[0] // 2]
    part = fit_ctf(half, pixel_size_angst=pixel_size_angst, config=CtfConfig(), **OPTICS)
    assert part.defocus_u_angst == pytest.approx(fit.defocus_u_angst, abs=150)
    assert part.max_resolution_angst < 6.0


@pytest.mark.data
def test_denoised_pictures_have_no_fit_that_would_be_accepted(shared_data):
    """The 8-bit JPEG pictures of EMPIAR-10017 were denoised: their rings are gone."""
    from PIL import Image

    path = sorted((shared_data / "empiar10017" / "micrographs").iterdir())[0]
    image = np.flipud(np.asarray(Image.open(path).convert("L"))).astype(np.float32)
    fit = fit_ctf(image, pixel_size_angst=1.77, config=CtfConfig(), **OPTICS)
    assert fit.max_resolution_angst > 6.0
    assert np.isnan(fit.ice_ring_score)


def test_the_model_in_the_picture_is_relions_ctf_squared():
    """The rings drawn beside the data, against RELION's formula (quadratic form, not angles)."""
    noise = np.random.default_rng(1).normal(size=(600, 600))
    fit = fit_ctf(noise, pixel_size_angst=1.0, config=CtfConfig(tile_px=256), **OPTICS)
    rings, _ = model_rings(fit)
    side = fit.spectrum.shape[0]
    step_y, step_x = fit.spectrum_pixel_per_angst
    ky = (np.arange(side) - side // 2)[:, None] * step_y
    kx = (np.arange(side) - side // 2)[None, :] * step_x
    relion = ctf_on_grid(
        ky,
        kx,
        u_angst=fit.defocus_u_angst,
        v_angst=fit.defocus_v_angst,
        angle_deg=fit.defocus_angle_deg,
        voltage_kv=300.0,
        cs_mm=2.7,
        amplitude=0.1,
    )
    assert np.abs(rings - relion**2).max() < 2e-3
    assert draw_ctf(fit).dtype == np.uint8
