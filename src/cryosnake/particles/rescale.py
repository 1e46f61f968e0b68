"""Windows cut out of a micrograph, and rescaled in Fourier space."""

import numpy as np
import torch


def cut_windows(image: torch.Tensor, centre_yx: np.ndarray, side_px: int) -> torch.Tensor:
    """Windows (N, side, side) of an image (H, W) about whole pixels, which lie at side // 2.

    Windows beyond the edge continue with the mirror image.
    """
    half = side_px // 2
    height, width = image.shape
    windows = torch.empty((len(centre_yx), side_px, side_px), device=image.device)
    for window, (y, x) in zip(windows, (centre_yx - half).tolist(), strict=True):
        if y >= 0 and x >= 0 and y + side_px <= height and x + side_px <= width:
            window.copy_(image[y : y + side_px, x : x + side_px])
        else:
            rows = _mirrored(np.arange(y, y + side_px), height)
            columns = _mirrored(np.arange(x, x + side_px), width)
            window.copy_(image[rows][:, columns])
    return windows


def _mirrored(index: np.ndarray, length: int) -> torch.Tensor:
    """Indices reflected at both ends, the end pixel not repeated."""
    if length == 1:
        return torch.zeros(len(index), dtype=torch.long)
    index = np.abs(index) % (2 * length - 2)
    return torch.from_numpy(np.minimum(index, 2 * length - 2 - index))


def rescaled(windows: torch.Tensor, output_px: int) -> torch.Tensor:
    """Rescale square images (N, n, n) to (N, m, m), m <= n, both even; grey values are kept.

    Pixel m // 2 of the result is pixel n // 2 of the image. Columns that are cropped anyway are
    not transformed the second time, which halves the work of `fourier.bin_image`.
    """
    side = windows.shape[-1]
    if output_px == side:
        return windows
    half = output_px // 2
    transform = torch.fft.fft(torch.fft.rfft(windows, dim=-1)[..., : half + 1], dim=-2)
    # of the two Nyquist rows an even size keeps one: the positive frequency, as RELION does
    cropped = torch.cat(
        [transform[..., : half + 1, :], transform[..., side - half + 1 :, :]], dim=-2
    )
    return torch.fft.irfft2(cropped * (output_px / side) ** 2, s=(output_px, output_px))


def good_size_above(n: int) -> int:
    """The smallest even size not below n that has only the factors 2, 3, 5 and 7."""
    size = n + n % 2
    while True:
        rest = size
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2
