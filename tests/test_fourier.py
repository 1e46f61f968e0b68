"""Fourier cropping keeps band-limited images and grey values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryosnake.fourier import bin_image, crop_half_plane, frequencies, good_size


@given(
    height=st.integers(16, 60),
    width=st.integers(16, 60),
    new_height=st.integers(8, 16),
    new_width=st.integers(8, 16),
    cycles_y=st.integers(-3, 3),
    cycles_x=st.integers(0, 3),
)
def test_a_band_limited_wave_is_sampled_more_coarsely(
    height, width, new_height, new_width, cycles_y, cycles_x
):
    def wave(h, w):
        y = torch.arange(h, dtype=torch.float64)[:, None] / h
        x = torch.arange(w, dtype=torch.float64)[None, :] / w
        return 2.0 + torch.cos(2 * math.pi * (cycles_y * y + cycles_x * x))

    binned = bin_image(wave(height, width), (new_height, new_width))
    assert torch.allclose(binned, wave(new_height, new_width), atol=1e-9)


def test_cropping_to_a_larger_size_is_refused():
    with pytest.raises(ValueError, match="cannot crop"):
        crop_half_plane(torch.zeros(8, 5, dtype=torch.complex64), (8, 8), (10, 8))


def test_frequencies_in_inverse_angstrom():
    ky, kx = frequencies((8, 6), 2.0)
    assert ky.shape == (8, 1)
    assert kx.shape == (1, 4)
    assert kx[0, 1].item() == pytest.approx(1 / 12)
    assert ky[-1, 0].item() == pytest.approx(-1 / 16)


@given(n=st.integers(2, 6000))
def test_good_sizes_are_even_smooth_and_near(n):
    size = good_size(n)
    assert size % 2 == 0
    assert 0.8 * n <= size <= n or n < 10
    for factor in (2, 3, 5, 7):
        while size % factor == 0:
            size //= factor
    assert size == 1
