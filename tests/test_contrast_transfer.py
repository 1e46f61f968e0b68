"""The CTF formula against an independent implementation and against published constants."""

import pytest
import torch

from cryosnake.ctf import ctf, wavelength_angst
from cryosnake.fourier import frequencies


@pytest.mark.parametrize(
    ("voltage_kv", "expected_angst"),
    [(100, 0.037014), (120, 0.033492), (200, 0.025079), (300, 0.019687)],
)
def test_wavelengths_of_the_textbook(voltage_kv, expected_angst):
    assert wavelength_angst(voltage_kv) == pytest.approx(expected_angst, abs=2e-6)


def test_parity_with_torch_ctf():
    calculate = pytest.importorskip("torch_ctf").calculate_ctf_2d
    shape, pixel_size_angst = (128, 96), 1.3
    ours = ctf(
        *frequencies(shape, pixel_size_angst),
        defocus_u_angst=15400.0,
        defocus_v_angst=14600.0,
        defocus_angle_deg=25.0,
        voltage_kv=300.0,
        cs_mm=2.7,
        amplitude_contrast=0.1,
    )
    # torch-ctf: half the difference, in micrometres
    theirs = calculate(
        defocus=1.5,
        astigmatism=0.04,
        astigmatism_angle=25.0,
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        phase_shift=0.0,
        pixel_size=pixel_size_angst,
        image_shape=shape,
        rfft=True,
        fftshift=False,
    )
    assert min((ours - theirs).abs().max(), (ours + theirs).abs().max()) < 1e-3


def test_protein_is_dark_and_the_first_zero_is_where_it_should_be():
    k = torch.linspace(0, 0.25, 2001)[None, :]
    values = ctf(
        torch.zeros_like(k),
        k,
        defocus_u_angst=20000.0,
        defocus_v_angst=20000.0,
        defocus_angle_deg=0.0,
        voltage_kv=300.0,
        cs_mm=0.0,
        amplitude_contrast=0.0,
    )[0]
    assert (values[1:100] < 0).all()
    crossing = k[0, int(torch.nonzero(values[1:] > 0)[0]) + 1].item()
    assert crossing == pytest.approx((1 / (wavelength_angst(300.0) * 20000.0)) ** 0.5, rel=4e-3)


def test_defocus_u_lies_along_its_angle():
    for angle_deg, direction in ((0.0, (0.0, 1.0)), (90.0, (1.0, 0.0)), (45.0, (0.7071, 0.7071))):
        ky, kx = (torch.tensor([0.1 * component]) for component in direction)
        along = ctf(
            ky,
            kx,
            defocus_u_angst=18000.0,
            defocus_v_angst=12000.0,
            defocus_angle_deg=angle_deg,
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        )
        round_ctf = ctf(
            ky,
            kx,
            defocus_u_angst=18000.0,
            defocus_v_angst=18000.0,
            defocus_angle_deg=0.0,
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        )
        assert along.item() == pytest.approx(round_ctf.item(), abs=1e-3)
