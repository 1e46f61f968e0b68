"""Micrographs as the pretrained networks expect them: coarse, with noise of unit variance."""

import numpy as np
import torch
from torch.nn import functional

from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image

#: Diameter of a particle on the detector's grid: where the published weights score best
#: (benchmarks/picking_network.py).
DIAMETER_PX = 15.0
#: Grey values further from the mean than this many standard deviations are cut off there.
CLIP_SIGMA = 8.0
_BINS = 256
_MIXTURE_STEPS = 50


def binned(
    image: np.ndarray, factor: float, *, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, float]:
    """Reduce a micrograph by cropping its transform.

    Parameters
    ----------
    image : (H, W); pixels that are not finite become the median of the others.
    factor : pixels of the micrograph in one of the result; rounded to a quarter, at least 1.

    Returns
    -------
    (h, w) float32 on `device`, and the factor. Pixel (i, j) lies at (factor i, factor j) of the
    micrograph, all of it is covered; the last row and column may lie in a mirrored margin.

    Raises
    ------
    BadInputError : no pixel is finite.
    """
    quarters = max(4, round(4 * factor))
    whole = torch.as_tensor(np.ascontiguousarray(image, np.float32), device=device)
    finite = torch.isfinite(whole)
    if not finite.all():
        if not finite.any():
            raise BadInputError(None, "no pixel of the micrograph is finite", "an image")
        whole = torch.where(finite, whole, whole[finite].median())
    if quarters == 4:
        return whole, 1.0
    height, width = (-(-side // quarters) * quarters for side in whole.shape)
    margin = (0, width - whole.shape[1], 0, height - whole.shape[0])
    whole = functional.pad(whole[None, None], margin, mode="reflect")[0, 0]
    return bin_image(whole, (4 * height // quarters, 4 * width // quarters)), quarters / 4


def prepare(
    image: np.ndarray,
    pixel_size_angst: float,
    diameter_angst: float,
    *,
    diameter_px: float = DIAMETER_PX,
    device: torch.device | str = "cpu",
) -> tuple[torch.Tensor, float]:
    """Bring a micrograph onto the grid and the grey values that the detector is trained for.

    Parameters
    ----------
    image : (H, W) micrograph, particles dark.
    diameter_angst : of the particle; it becomes `diameter_px` pixels, but never is an image
        enlarged.

    Returns
    -------
    (h, w) float32 on `device`, see `normalised`; and the pixels of the micrograph in one of it,
    as from `binned`.

    Raises
    ------
    BadInputError : the micrograph is flat or has no finite pixel.
    """
    small, factor = binned(image, diameter_angst / (diameter_px * pixel_size_angst), device=device)
    return normalised(small), factor


def normalised(image: torch.Tensor) -> torch.Tensor:
    """Subtract the mean and divide by the standard deviation of the greater part of the pixels.

    The grey values are taken for a mixture of two Gaussians (Bepler et al. 2019), one of them for
    what contamination, carbon or an edge cover. Clipped at `CLIP_SIGMA`.

    Raises
    ------
    BadInputError : the image is flat.
    """
    mean, deviation = main_part(image.detach().cpu().numpy())
    return ((image - mean) / deviation).clamp(-CLIP_SIGMA, CLIP_SIGMA)


def main_part(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the heavier of two Gaussians whose sum fits the grey values.

    By expectation maximisation on their histogram, from three starts; the likeliest end is taken.

    Raises
    ------
    BadInputError : all values are the same.
    """
    low, high = np.percentile(values, [0.1, 99.9])
    if not high > low:
        raise BadInputError(None, f"the micrograph is flat (grey value {low:g})", "an image")
    counts, edges = np.histogram(values, _BINS, (low, high))
    grey = (edges[1:] + edges[:-1])[:, None] / 2
    pixels = counts[:, None] / counts.sum()
    spread = float(np.sqrt((pixels * (grey - (pixels * grey).sum()) ** 2).sum()))
    best_likelihood, best = -np.inf, (0.0, 0.0)
    for part in (0.05, 0.5, 0.95):  # of the pixels, those that the darker Gaussian starts from
        darker = np.cumsum(pixels)[:, None] <= part
        share = np.hstack([darker, ~darker]).astype(float)
        for _ in range(_MIXTURE_STEPS):
            weight = (pixels * share).sum(0) + 1e-9
            mean = (pixels * share * grey).sum(0) / weight
            variance = (pixels * share * (grey - mean) ** 2).sum(0) / weight
            # neither may shrink to a spike
            deviation = np.sqrt(np.maximum(variance, (0.1 * spread) ** 2))
            density = weight / deviation * np.exp(-0.5 * ((grey - mean) / deviation) ** 2)
            total = density.sum(1, keepdims=True) + 1e-300
            share = density / total
        likelihood = float((pixels * np.log(total)).sum())
        if likelihood > best_likelihood:
            heavier = int(np.argmax(weight))
            best_likelihood, best = likelihood, (mean[heavier], deviation[heavier])
    return float(best[0]), float(best[1])
