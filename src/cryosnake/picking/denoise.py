"""Denoised micrographs: a published U-Net on a coarse grid.

The network and its weights are those of Bepler et al. (2020), Nature Communications 11, 5208,
trained on pairs of noisy micrographs. A denoised micrograph is for finding and sizing particles and
for looking at; what the network makes of the finest detail is not a measurement.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cryosnake.errors import BadInputError
from cryosnake.picking.network_input import binned
from cryosnake.picking.weights import pretrained

#: Pixel at which the network works: half of it is the finest detail that is left.
PIXEL_ANGST = 6.0
#: Side of the tiles that are denoised one after the other, and the margin they overlap by.
TILE_PX, MARGIN_PX = 512, 96
_LEAK = 0.1
_LEVELS = 5
MIN_SIDE_PX = 2**_LEVELS


class Denoised(NamedTuple):
    """`image` (h, w) float32; `factor`: pixels of the micrograph in one of its; pixel (i, j) lies
    at (factor i, factor j) of the micrograph; `pixel_size_angst` of the image."""

    image: np.ndarray
    factor: float
    pixel_size_angst: float


class Denoiser(nn.Module):
    """U-Net of five halvings, 48 channels down and 96 up, that predicts the image without noise."""

    def __init__(self):
        super().__init__()
        kernels = [11, 3, 3, 3, 3, 3]
        self.down = nn.ModuleList(
            nn.Conv2d(1 if level == 0 else 48, 48, kernel, padding=kernel // 2)
            for level, kernel in enumerate(kernels)
        )
        self.up = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(inputs, 96, 3, padding=1), nn.Conv2d(96, 96, 3, padding=1)])
            for inputs in (96, 144, 144, 144)
        )
        self.out = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 5, padding=2)
            for inputs, outputs in ((97, 64), (64, 32), (32, 1))
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Denoise (N, 1, H, W) images of mean 0 and standard deviation 1, sides from 32 pixels."""
        finer = [images]
        for level, layer in enumerate(self.down):
            images = functional.leaky_relu(layer(images), _LEAK)
            if level < _LEVELS:
                images = functional.max_pool2d(images, 2)
                finer.append(images)
        finer.pop()  # the coarsest is where the way up begins
        for layers in [*self.up, self.out]:
            skipped = finer.pop()
            images = functional.interpolate(images, size=skipped.shape[-2:], mode="nearest")
            images = torch.cat([images, skipped], dim=1)
            for layer in layers:
                images = layer(images)
                if layer.out_channels > 1:
                    images = functional.leaky_relu(images, _LEAK)
        return images


def pretrained_denoiser(device: torch.device | str = "cpu") -> Denoiser:
    """The denoiser with the published weights.

    Raises
    ------
    SessionStopError, BadInputError : as `weights.pretrained`.
    """
    model = Denoiser()
    names = {f"enc{level + 1}.0": f"down.{level}" for level in range(_LEVELS + 1)}
    for stage in range(4):
        names |= {f"dec{5 - stage}.{2 * layer}": f"up.{stage}.{layer}" for layer in (0, 1)}
    names |= {f"dec1.{2 * layer}": f"out.{layer}" for layer in (0, 1, 2)}
    state = {}
    for key, value in pretrained("unet").items():
        layer, _, kind = key.rpartition(".")
        state[f"{names[layer]}.{kind}"] = value
    model.load_state_dict(state)
    return model.to(device, memory_format=torch.channels_last).eval()


def denoise(
    image: np.ndarray,
    pixel_size_angst: float,
    *,
    device: torch.device | str = "cpu",
    model: Denoiser | None = None,
    working_pixel_angst: float = PIXEL_ANGST,
) -> Denoised:
    """Denoise a micrograph at a coarser pixel.

    Parameters
    ----------
    image : (H, W); pixels that are not finite become the median of the others.
    pixel_size_angst : of the image.
    model : a denoiser on `device`, where several micrographs are to be denoised; None loads it.
    working_pixel_angst : pixel of the result, where that of the image is finer.

    Returns
    -------
    Denoised, in the grey values of the image.

    Raises
    ------
    SessionStopError : no weights, see `weights.pretrained`.
    BadInputError : no pixel is finite, or the micrograph is hardly larger than a particle.
    """
    model = model or pretrained_denoiser(device)
    small, factor = binned(image, working_pixel_angst / pixel_size_angst, device=device)
    if min(small.shape) < MIN_SIDE_PX:
        raise BadInputError(
            None,
            f"a micrograph of {image.shape[1]} x {image.shape[0]} px is too small to denoise",
            f"at least {MIN_SIDE_PX * factor:.0f} px a side at {pixel_size_angst:g} A/px",
        )
    mean, deviation = small.mean(), small.std()
    if not deviation > 0:
        return Denoised(small.cpu().numpy(), factor, pixel_size_angst * factor)
    clean = _in_tiles((small - mean) / deviation, model)
    return Denoised((clean * deviation + mean).cpu().numpy(), factor, pixel_size_angst * factor)


def _in_tiles(image: torch.Tensor, model: Denoiser) -> torch.Tensor:
    """Apply to an (h, w) image tile by tile, so that memory does not grow with the image.

    Tiles start and end on multiples of the coarsest level's pixel (the image is mirrored to that),
    so that they fit together as if the image had been denoised whole, but for what is further away
    than the margin.
    """
    margin = [-side % MIN_SIDE_PX for side in image.shape]
    image = functional.pad(image[None, None], (0, margin[1], 0, margin[0]), mode="reflect")[0, 0]
    height, width = image.shape
    result = torch.empty_like(image)
    with torch.inference_mode():
        for top in range(0, height, TILE_PX):
            for left in range(0, width, TILE_PX):
                first_y, first_x = max(0, top - MARGIN_PX), max(0, left - MARGIN_PX)
                end_y, end_x = min(height, top + TILE_PX), min(width, left + TILE_PX)
                tile = image[first_y : end_y + MARGIN_PX, first_x : end_x + MARGIN_PX]
                tile = tile[None, None].contiguous(memory_format=torch.channels_last)
                clean = model(tile)[0, 0, top - first_y :, left - first_x :]
                result[top:end_y, left:end_x] = clean[: end_y - top, : end_x - left]
    return result[: height - margin[0], : width - margin[1]]
