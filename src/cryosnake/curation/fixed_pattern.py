"""Is a pattern of the detector left in the sum? So shows a gain reference that does not fit.

The specimen moves and is different in every movie; the detector is not. Two measures: the gain
reference itself, searched for in the sum, and stripes along rows or columns.
"""

import math

import numpy as np
import torch

from cryosnake.fourier import crop_half_plane, frequencies

#: Only frequencies above this are compared: there the specimen has next to no power.
FREQUENCY_MIN_PER_PX = 0.2
#: Stripes lie this close to the axes: they are left to `stripe_ratio`, because those along the
#: turned axis fit as well as before.
AXIS_WIDTH_PER_PX = 0.01
_SIDE_MAX_PX = 2048


def gain_residual(
    image: np.ndarray | torch.Tensor, gain: np.ndarray | torch.Tensor, shifts_px: np.ndarray
) -> tuple[float, float]:
    """Strength at which the pattern of the applied gain reference is left in the sum.

    A reference that fits takes its pattern out of every frame. One that is turned the wrong way,
    or was applied already, puts it in: the sum then holds mean_f gain(x - shift_f), which is made
    here and fitted to the sum by least squares at high frequency, off the axes.

    Parameters
    ----------
    image : (H, W), the aligned sum without dose weights, in counts without offset.
    gain : the multiplicative reference as it was applied, (H, W) or, for super-resolution, a
        whole multiple of it; zeros are defects.
    shifts_px : (F, 2), (y, x) correction of each frame in pixels of the sum, relative to the
        frame that stayed in place.

    Returns
    -------
    (strength, uncertainty). Strength 0: the reference fits; 1: it is wrong or was not needed;
    the noise of the reference itself adds its share of the reference's variance (some 0.01-0.1).
    """
    image = torch.as_tensor(image).to(torch.float32)
    gain = torch.as_tensor(gain, device=image.device).to(torch.float32)
    shape = tuple(image.shape)
    if any(big % small for big, small in zip(gain.shape, shape, strict=True)):
        raise ValueError(f"{tuple(gain.shape) = } is no multiple of {tuple(image.shape) = }")
    gain, image = _central(gain, shape), _central(image, shape)
    shape = tuple(image.shape)
    ky, kx = frequencies(shape, device=image.device)
    off_axis = (ky.abs() > AXIS_WIDTH_PER_PX) & (kx.abs() > AXIS_WIDTH_PER_PX)
    wanted = (torch.hypot(ky, kx) >= FREQUENCY_MIN_PER_PX) & off_axis
    mean = float(image.mean())
    if mean <= 0.0:
        raise ValueError(f"the mean of the sum is {mean:g}; expected counts above 0")
    good = gain > 0
    centre = gain[good].mean()
    spread = gain[good].std()
    pattern = torch.where(good, gain / centre - 1.0, 0.0)
    pattern = pattern.clamp(-4.0 * float(spread / centre), 4.0 * float(spread / centre))
    gain_terms = crop_half_plane(torch.fft.rfft2(pattern), tuple(gain.shape), shape)
    gain_terms = gain_terms * (image.numel() / gain.numel())
    sum_terms = torch.fft.rfft2(image / mean - 1.0)
    shifts = torch.as_tensor(np.asarray(shifts_px), dtype=torch.float32, device=image.device)
    turn = -2.0 * math.pi
    along_y = torch.polar(torch.ones(()).to(ky), turn * ky * shifts[None, :, 0])  # (H, F)
    along_x = torch.polar(torch.ones(()).to(kx), turn * kx * shifts[:, 1, None])  # (F, W / 2 + 1)
    expected = (gain_terms * (along_y @ along_x) / len(shifts))[wanted]
    found = sum_terms[wanted]
    power = (expected.abs() ** 2).sum().double()
    if power <= 0:
        return 0.0, math.inf
    strength = float((found * expected.conj()).real.sum().double() / power)
    noise = ((found - strength * expected).abs() ** 2).mean().double()
    return strength, float(torch.sqrt(0.5 * noise / power))


def _central(image: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The middle of an image on the grid of `shape` or a multiple of it: at most 2048 px of that
    grid along each side, which is plenty of pixels to find a pattern in."""
    cut = []
    for size, small in zip(image.shape, shape, strict=True):
        factor, kept = size // small, min(small, _SIDE_MAX_PX)
        start = (small - kept) // 2 * factor
        cut.append(slice(start, start + kept * factor))
    return image[cut[0], cut[1]]


def stripe_ratio(image: np.ndarray | torch.Tensor) -> float:
    """Power on the two axes of the spectrum over that of the lines beside them.

    Rows or columns of the detector that answer differently (a reference that is missing, stale or
    turned the wrong way, a dead column in the wrong place) leave stripes that are constant along
    a whole row or column: in Fourier space, lines on the axes, whatever the drift.

    Parameters
    ----------
    image : (H, W), the sum.

    Returns
    -------
    The larger of the two axes' ratios, about 1 without any pattern. Medians above 0.2 cycles per
    pixel are compared.
    """
    image = torch.as_tensor(image).to(torch.float32)
    return max(_axis_ratio(image), _axis_ratio(image.T))


def _axis_ratio(image: torch.Tensor) -> float:
    height, width = image.shape
    rows = torch.arange(height, device=image.device)
    window_y = torch.hann_window(height, periodic=True, device=image.device)
    window_x = torch.hann_window(width, periodic=True, device=image.device)
    # Fourier terms along y: 0 (the column means) and, for comparison, a few next to it
    neighbours = torch.tensor([0, 4, 6, 8, 10, 12], device=image.device)
    phase = 2 * math.pi * neighbours[:, None] * rows[None, :] / height
    centred = image - image.mean()
    terms = torch.complex(
        (torch.cos(phase) * window_y) @ centred, (torch.sin(phase) * window_y) @ centred
    )
    power = torch.fft.fft(terms * window_x, dim=1).abs() ** 2
    high = power[:, math.ceil(FREQUENCY_MIN_PER_PX * width) : width // 2]
    beside = float(high[1:].median())
    return float(high[0].median()) / beside if beside > 0 else 1.0
