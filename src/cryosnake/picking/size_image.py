"""A micrograph made ready for sizing: coarse, particles bright and filled, background flat.

Underfocus leaves little of a particle's inside: the contrast transfer is some 0.1 to 0.2 at the
particle's own length and 1 at 30 angstrom, so that outlines and texture stand out and a bright
fringe surrounds each particle. Dividing by it, with care, brings the silhouette back. The defocus
need not be known well for that: up to the first zero the shape of the curve changes little.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.ctf import ctf
from cryosnake.errors import BadInputError
from cryosnake.fourier import bin_image, frequencies

#: Pixels of the coarse image.
WORKING_PIXEL_ANGST = 7.5
#: Blur of the coarse image, standard deviation: below the first zero of the CTF to 30,000 A.
BLUR_ANGST = 8.0
#: Defocus taken where none is given: the middle of the range that sizing is done in.
ASSUMED_DEFOCUS_ANGST = 20_000.0
_FLOOR = 0.1  # of the CTF, in the Wiener filter
_MIN_SIDE_PX = 48
_MAX_BAD_SHARE = 0.2
_CLIP_SIGMA = 6.0


@dataclass(frozen=True)
class Working:
    """A coarse image.

    Attributes
    ----------
    values : (h, w) float32, particles positive, median 0, scaled to a robust deviation of 1.
    pixel_size_angst : of it.
    """

    name: str
    values: np.ndarray
    pixel_size_angst: float


def robust_deviation(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation; that of a Gaussian is kept."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def cleaned(name: str, image: np.ndarray) -> np.ndarray:
    """The image (H, W) as float32 without bad pixels, mean 0.

    Raises
    ------
    BadInputError : not an image, more than a fifth of the pixels are not finite, or all are equal.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2:
        raise BadInputError(name, f"has the shape {image.shape}", "one image of two dimensions")
    finite = np.isfinite(image)
    bad_share = 1.0 - finite.mean()
    if bad_share > _MAX_BAD_SHARE:
        raise BadInputError(
            name, f"{bad_share:.0%} of the pixels are not finite", f"at most {_MAX_BAD_SHARE:.0%}"
        )
    middle = float(np.median(image[finite]))
    image = np.where(finite, image, middle) - middle
    deviation = robust_deviation(image[::4, ::4]) or float(image.std())
    if not deviation > 0:
        raise BadInputError(name, "all pixels are equal", "a micrograph")
    return np.clip(image, -_CLIP_SIGMA * deviation, _CLIP_SIGMA * deviation)


def without_slope(image: np.ndarray) -> np.ndarray:
    """The image less a paraboloid fitted to it: what illumination and ice leave, which would also
    make an edge where the transform wraps around."""
    height, width = image.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    terms = [np.broadcast_to(t, image.shape) for t in (np.ones_like(y), y, x, y * y, y * x, x * x)]
    step = max(1, min(height, width) // 128)
    sample = np.stack([t[::step, ::step].ravel() for t in terms], 1)
    factors, *_ = np.linalg.lstsq(sample, image[::step, ::step].ravel(), rcond=None)
    return image - sum(f * t for f, t in zip(factors.astype(np.float32), terms, strict=True))


def prepare(
    name: str,
    image: np.ndarray,
    pixel_size_angst: float,
    *,
    max_angst: float,
    defocus_angst: float | None = None,
    voltage_kv: float = 300.0,
    amplitude_contrast: float = 0.1,
) -> Working:
    """The coarse image of a micrograph (H, W) in which particles are dark.

    The Wiener filter is CTF / (CTF^2 + floor^2) up to the first zero of the CTF, nothing beyond,
    times a Gaussian of `BLUR_ANGST`; what is wider than about one and a half times `max_angst` is
    taken out.

    Raises
    ------
    BadInputError : as `cleaned`; or the field is smaller than 48 coarse pixels.
    """
    pixels = without_slope(cleaned(name, image))
    coarse_angst = max(WORKING_PIXEL_ANGST, pixel_size_angst)
    shape = tuple(2 * round(n * pixel_size_angst / coarse_angst / 2) for n in pixels.shape)
    if min(shape) < _MIN_SIDE_PX:
        raise BadInputError(
            name,
            f"the field is {min(pixels.shape) * pixel_size_angst:.0f} A wide",
            f"at least {_MIN_SIDE_PX * coarse_angst:.0f} A for estimating a particle's size",
        )
    coarse = bin_image(torch.from_numpy(np.ascontiguousarray(pixels)), shape)
    pixel = math.sqrt(
        pixels.shape[0] * pixels.shape[1] * pixel_size_angst**2 / (shape[0] * shape[1])
    )
    ky, kx = frequencies(shape, pixel)
    defocus = ASSUMED_DEFOCUS_ANGST if defocus_angst is None else float(defocus_angst)
    transfer = ctf(
        ky,
        kx,
        defocus_u_angst=defocus,
        defocus_v_angst=defocus,
        defocus_angle_deg=0.0,
        voltage_kv=voltage_kv,
        cs_mm=2.7,  # no matter at these resolutions
        amplitude_contrast=amplitude_contrast,
    )
    squared = ky**2 + kx**2
    first_zero = squared[transfer > 0].min() if bool((transfer > 0).any()) else torch.inf
    transfer = torch.where(squared < first_zero, transfer, torch.zeros(()))
    keep = torch.exp(-2 * (math.pi * BLUR_ANGST) ** 2 * squared)
    keep = keep * (1.0 - torch.exp(-2 * (math.pi * max_angst / 4.0) ** 2 * squared))
    spectrum = torch.fft.rfft2(coarse) * transfer / (transfer**2 + _FLOOR**2) * keep
    values = torch.fft.irfft2(spectrum, s=shape).numpy()
    values = values - np.median(values)
    deviation = robust_deviation(values)
    if not deviation > 0:
        raise BadInputError(name, "nothing is left after filtering", "a micrograph")
    return Working(name, (values / deviation).astype(np.float32), pixel)
