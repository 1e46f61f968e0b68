"""Discrete Fourier transforms of real images: frequencies, cropping, rotational averages.

Half-plane transforms are `torch.fft.rfft2` of (..., H, W), unshifted; rows hold ky, columns kx.
"""

import torch


def frequencies(
    shape: tuple[int, int], pixel_size_angst: float = 1.0, *, device=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frequencies (ky as (H, 1), kx as (1, W // 2 + 1)) in 1/angstrom, float32, of a half-plane
    transform. With the default pixel size of 1 they are in cycles per pixel."""
    height, width = shape
    ky = torch.fft.fftfreq(height, d=pixel_size_angst, device=device)[:, None]
    kx = torch.fft.rfftfreq(width, d=pixel_size_angst, device=device)[None, :]
    return ky, kx


def crop_half_plane(
    transform: torch.Tensor, shape: tuple[int, int], new_shape: tuple[int, int]
) -> torch.Tensor:
    """Cut a half-plane transform of (H, W) images down to that of (h, w) images (h <= H, w <= W).

    No scale is applied: multiply by h w / (H W) to keep the grey values. Nyquist rows or columns
    of an even new size keep the coefficients of the negative frequency only.
    """
    height, width = shape
    new_height, new_width = new_shape
    if new_height > height or new_width > width:
        raise ValueError(f"cannot crop {shape = } to larger {new_shape = }")
    top = (new_height + 1) // 2
    bottom = new_height - top
    columns = new_width // 2 + 1
    return torch.cat(
        [transform[..., :top, :columns], transform[..., height - bottom :, :columns]], dim=-2
    )


def bin_image(image: torch.Tensor, new_shape: tuple[int, int]) -> torch.Tensor:
    """Resample (..., H, W) images to a smaller size by cropping in Fourier space; grey values
    are kept."""
    shape = image.shape[-2:]
    scale = (new_shape[0] * new_shape[1]) / (shape[0] * shape[1])
    cropped = crop_half_plane(torch.fft.rfft2(image), tuple(shape), new_shape)
    return torch.fft.irfft2(cropped * scale, s=new_shape)


def good_size(n: int, *, even: bool = True) -> int:
    """The largest size not above n that has only the factors 2, 3, 5 and 7 (and is even)."""
    for size in range(n, 0, -1):
        if even and size % 2:
            continue
        rest = size
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
    raise ValueError(f"no good size at or below {n = }")
