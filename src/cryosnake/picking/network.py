"""The detector: a convolutional network that scores how likely a particle is centred at a pixel.

A residual network without batch normalisation, of the kind Bepler et al. (2019), Nature Methods
16, 1153, describe, so that the detectors they trained can be loaded into it. It is fully
convolutional: two of its layers halve the image, and the same weights give a map on a finer grid
when a halving is replaced by spreading ("dilating") the kernels of all later layers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cryosnake.picking.network_input import DIAMETER_PX, prepare
from cryosnake.picking.weights import pretrained

#: Distance of the scores on the detector's grid.
STRIDE = 2
#: Of the published detectors: one sees less and keeps to its kind, the other is surer of noise.
PAIR = ("resnet8_u32", "resnet16_u32")


@dataclass(frozen=True)
class Stage:
    """One stage of the network; `kernels_px`, `dilations`: of its one or two convolutions.

    Two convolutions make a residual stage. Only the last convolution of a stage halves.
    """

    channels: int
    kernels_px: tuple[int, ...]
    dilations: tuple[int, ...]
    halves: bool = False


def _residual(channels: int, dilation: int = 1, *, halves: bool = False) -> Stage:
    return Stage(channels, (3, 3), (1, dilation), halves)


def _stages(architecture: str, units: int) -> tuple[Stage, ...]:
    """Stages of `resnet8` (it sees 71 px) or `resnet16` (91 px); units: channels of the first."""
    last = Stage(4 * units, (5,), (1,))
    if architecture == "resnet8":
        return (
            Stage(units, (7,), (1,), halves=True),
            _residual(units, 2),
            _residual(2 * units, 2, halves=True),
            _residual(2 * units, 2),
            last,
        )
    if architecture == "resnet16":
        return (
            Stage(units, (7,), (1,)),
            _residual(units, halves=True),
            *[_residual(units)] * 3,
            _residual(2 * units, halves=True),
            *[_residual(2 * units)] * 2,
            last,
        )
    raise ValueError(f"{architecture = }; expected resnet8 or resnet16")


class _Block(nn.Module):
    """The layers of a stage, without padding: the image shrinks by what the kernels need."""

    def __init__(self, channels_in: int, stage: Stage):
        super().__init__()
        self.stage = stage
        self.residual = len(stage.kernels_px) == 2
        if self.residual:
            # as in the published weights: only the second convolution widens
            self.conv0 = nn.Conv2d(channels_in, channels_in, stage.kernels_px[0])
            self.conv1 = nn.Conv2d(channels_in, stage.channels, stage.kernels_px[1])
            if channels_in != stage.channels:
                self.proj = nn.Conv2d(channels_in, stage.channels, 1, bias=False)
        else:
            self.conv = nn.Conv2d(channels_in, stage.channels, stage.kernels_px[0])

    def forward(self, image: torch.Tensor, dilation: int, stride: int) -> torch.Tensor:
        """Apply with all kernels spread by a factor; the last convolution takes every stride-th."""
        if not self.residual:
            return _convolved(self.conv, image, dilation, stride).relu_()
        first, second = (dilation * d for d in self.stage.dilations)
        hidden = _convolved(self.conv0, image, first, 1).relu_()
        edge = first + second  # kernels of 3 lose their dilation on every side
        shortcut = image[..., edge : image.shape[-2] - edge, edge : image.shape[-1] - edge]
        shortcut = shortcut[..., ::stride, ::stride]
        if hasattr(self, "proj"):
            shortcut = self.proj(shortcut)
        return (_convolved(self.conv1, hidden, second, stride) + shortcut).relu_()


def _convolved(layer: nn.Conv2d, image: torch.Tensor, dilation: int, stride: int) -> torch.Tensor:
    return functional.conv2d(image, layer.weight, layer.bias, stride=stride, dilation=dilation)


class Detector(nn.Module):
    """Fully convolutional detector: images in, log-odds of a particle out.

    Parameters
    ----------
    architecture : `resnet8` (sees 71 px) or `resnet16` (91 px).
    units : channels of the first stage (32 or 64 in the published weights).
    """

    def __init__(self, architecture: str = "resnet8", units: int = 32):
        super().__init__()
        self.architecture = architecture
        self.units = units
        stages = _stages(architecture, units)
        widths = [1, *(stage.channels for stage in stages)]
        self.blocks = nn.ModuleList(map(_Block, widths[:-1], stages))
        self.classifier = nn.Conv2d(widths[-1], 1, 1)

    @property
    def width_px(self) -> int:
        """Side of the square of input pixels that one score depends on (odd)."""
        width, step = 1, 1
        for block in self.blocks:
            stage = block.stage
            for kernel, dilation in zip(stage.kernels_px, stage.dilations, strict=True):
                width += step * dilation * (kernel - 1)
            step *= 1 + stage.halves
        return width

    def forward(self, images: torch.Tensor, stride: int = 4) -> torch.Tensor:
        """Log-odds that a particle is centred at a pixel.

        Parameters
        ----------
        images : (N, 1, H, W) normalised micrographs or patches, particles dark.
        stride : distance of the scores in input pixels: 4 (as trained), 2, or 1 (every pixel).

        Returns
        -------
        (N, 1, h, w): score (i, j) is of the pixel (stride i + e, stride j + e) with
        e = (width_px - 1) / 2; h = (H - width_px) // stride + 1. A patch of width_px gives one
        score, of its centre.
        """
        dilation, reached = 1, 1
        for block in self.blocks:
            step = 1
            if block.stage.halves and reached < stride:
                step = 2
            images = block(images, dilation, step)
            reached *= step
            if block.stage.halves and step == 1:
                dilation *= 2
        if reached != stride:
            raise ValueError(f"{stride = }; expected 1, 2 or 4")
        return self.classifier(images)


def pretrained_detector(name: str = "resnet8_u32", device: torch.device | str = "cpu") -> Detector:
    """A detector with the published weights `name` (see `weights.FILES`), ready to score.

    Raises
    ------
    SessionStopError, BadInputError : as `weights.pretrained`.
    """
    architecture, _, units = name.partition("_u")
    model = Detector(architecture, int(units))
    state = pretrained(name)
    model.load_state_dict(
        {key.replace("features.features.", "blocks."): value for key, value in state.items()}
    )
    return model.to(device).eval()


class DetectorPair(nn.Module):
    """Detectors whose log-odds are averaged; it is used like one of them."""

    def __init__(self, *members: Detector):
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def width_px(self) -> int:
        """Side of the square of input pixels that one score depends on: the widest member's."""
        return max(member.width_px for member in self.members)

    def forward(self, images: torch.Tensor, stride: int = 4) -> torch.Tensor:
        """As `Detector.forward`."""
        total = 0.0
        for member in self.members:
            edge = (self.width_px - member.width_px) // 2
            inner = images[..., edge : images.shape[-2] - edge, edge : images.shape[-1] - edge]
            total = total + member(inner, stride)
        return total / len(self.members)


def pretrained_pair(device: torch.device | str = "cpu") -> DetectorPair:
    """The pretrained detectors that pick best together (benchmarks/picking_network.py).

    Raises
    ------
    SessionStopError, BadInputError : as `weights.pretrained`.
    """
    return DetectorPair(*(pretrained_detector(name, device) for name in PAIR)).eval()


def score_map(
    image: np.ndarray,
    pixel_size_angst: float,
    diameter_angst: float,
    model: Detector | DetectorPair,
    device: torch.device | str = "cpu",
    *,
    stride: int = STRIDE,
    diameter_px: float = DIAMETER_PX,
) -> tuple[np.ndarray, float]:
    """Log-odds of a particle centred at every point of a grid over a micrograph.

    Parameters
    ----------
    image, pixel_size_angst, diameter_angst, diameter_px : as `prepare`.
    model : a detector on `device`.
    stride : distance of the grid's points on the detector's grid: 1, 2 or 4.

    Returns
    -------
    (h, w) float32, and the distance of its points in pixels of the micrograph: score (i, j) is of
    the point (scale i, scale j).
    """
    small, scale_px = prepare(
        image, pixel_size_angst, diameter_angst, diameter_px=diameter_px, device=device
    )
    scores = model_scores(small, model, stride=stride)
    step_px = scale_px * stride
    height, width = (int((side - 1) / step_px) + 1 for side in image.shape)
    return scores[:height, :width].cpu().numpy(), step_px


def model_scores(
    small: torch.Tensor, model: Detector | DetectorPair, *, stride: int = STRIDE
) -> torch.Tensor:
    """Scores of a prepared micrograph (h, w), mirrored at its borders: (ceil(h / stride), ...)."""
    edge = model.width_px // 2
    with torch.inference_mode():
        # a reflection must be smaller than the image
        mode = "reflect" if edge < min(small.shape) else "replicate"
        padded = functional.pad(small[None, None], (edge,) * 4, mode=mode)
        return model(padded.contiguous(memory_format=torch.channels_last), stride)[0, 0]
