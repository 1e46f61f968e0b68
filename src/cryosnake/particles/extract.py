"""The particles of one micrograph: from the image and coordinates to normalised images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.errors import BadInputError
from cryosnake.particles.flags import Metrics, measure
from cryosnake.particles.flatten import flattened
from cryosnake.particles.normalise import normalised, without_dust
from cryosnake.particles.optics import ParticleCtf, delocalisation_px, phase_flipped
from cryosnake.particles.rescale import cut_windows, good_size_above, rescaled
from cryosnake.particles.settings import ExtractionSettings

_CHUNK_PX = 2**22
"""Pixels of windows that are worked on at a time: 16 MB of 32-bit floats."""


@dataclass(frozen=True)
class Chunk:
    """Some extracted particles of a micrograph.

    Attributes
    ----------
    images : (n, s, s) float32, normalised.
    index : (n,) which of the coordinates each is of.
    metrics : what the flags are made of, (n,) each.
    """

    images: np.ndarray
    index: np.ndarray
    metrics: Metrics


@dataclass(frozen=True)
class Centres:
    """Where boxes are cut.

    Attributes
    ----------
    centre_xy : (N, 2) integer pixel at the box's centre.
    origin_angst : (N, 2) box centre minus particle centre along x and y in angstrom, the sign of
        `rlnOriginXAngst`.
    """

    centre_xy: np.ndarray
    origin_angst: np.ndarray


def box_centres(
    coordinate_xy: np.ndarray,
    origin_angst: np.ndarray,
    pixel_size_angst: float,
    *,
    recentre: bool,
) -> Centres:
    """The whole pixels at which boxes are cut, and what remains to the particles' centres.

    The particle is at coordinate - origin / pixel size (RELION's sign). Boxes are cut about the
    nearest pixel to it, or, without `recentre`, to the coordinate.

    Parameters
    ----------
    coordinate_xy : (N, 2) in pixels; integers are the centres of pixels, counted from 0.
    origin_angst : (N, 2) `rlnOriginX/YAngst` that are known already, else zero.
    """
    particle = coordinate_xy - origin_angst / pixel_size_angst
    centre = np.floor((particle if recentre else coordinate_xy) + 0.5).astype(np.int64)
    return Centres(centre, (centre - particle) * pixel_size_angst)


def inside(centre_xy: np.ndarray, box_px: int, shape: tuple[int, int]) -> np.ndarray:
    """(N,) whether a box about each centre lies within a micrograph of shape (H, W)."""
    first = centre_xy - box_px // 2
    return ((first >= 0) & (first + box_px <= [shape[1], shape[0]])).all(axis=1)


def checked_image(image: np.ndarray, coordinate_xy: np.ndarray, box_px: int) -> np.ndarray:
    """The micrograph as float32, if particles can be cut out of it.

    Raises
    ------
    BadInputError : not a two-dimensional image, smaller than the box, pixels that are not
        finite, or coordinates that are not on it (they are of another micrograph or binning).
    """
    if image.ndim != 2 or min(image.shape) < box_px:
        raise BadInputError(
            None, f"image of shape {image.shape}", f"two dimensions, at least {box_px} px each"
        )
    image = np.asarray(image, np.float32)
    # the sum is finite unless a pixel is not: one pass without a mask of the image's size
    if not np.isfinite(image.sum(dtype=np.float64)):
        raise BadInputError(None, "pixels that are not finite numbers", "finite pixels")
    if not np.isfinite(coordinate_xy).all():
        raise BadInputError(None, "coordinates that are not numbers", "finite coordinates")
    height, width = image.shape
    beyond = (coordinate_xy < -box_px / 2) | (
        coordinate_xy > [width + box_px / 2, height + box_px / 2]
    )
    if beyond.any():
        x, y = coordinate_xy[beyond.any(axis=1)][0]
        raise BadInputError(
            None,
            f"a coordinate ({x:g}, {y:g}) is not on the micrograph of {width} x {height} px",
            "coordinates in pixels of this micrograph",
        )
    return image


def extract_chunks(
    image: np.ndarray,
    pixel_size_angst: float,
    centre_xy: np.ndarray,
    settings: ExtractionSettings,
    *,
    optics: ParticleCtf | None = None,
    device="cpu",
    seed: int = 0,
) -> Iterator[Chunk]:
    """Extract particles a part at a time, so that memory does not grow with their number.

    Boxes that cross the border and images with a flat background are left out.

    Parameters
    ----------
    image : (H, W) float32, finite, row 0 at the bottom, particles dark.
    centre_xy : (N, 2) integer pixels of the boxes' centres.
    optics : the particles' CTF, needed where `settings.phase_flip` is on.
    seed : of this micrograph, beside `settings.seed`.
    """
    if settings.phase_flip and (optics is None or not optics.known()):
        raise BadInputError(None, "no CTF to flip the phases with", "a fitted CTF")
    radius_px = settings.radius_px(pixel_size_angst)
    output_angst = settings.output_pixel_angst(pixel_size_angst)
    kept = np.flatnonzero(inside(centre_xy, settings.box_px, image.shape))
    if len(kept) == 0:
        return
    if settings.dust_sigma:
        image, _ = without_dust(image, settings.dust_sigma, seed=[settings.seed, seed])
    if settings.flatten:
        image = flattened(image, pixel_size_angst)
    field = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    work_px = settings.box_px
    if settings.phase_flip:
        # flipping gathers what the CTF has spread: it must find it in the window
        spread = delocalisation_px(optics, pixel_size_angst, 2.0 * output_angst)
        work_px = good_size_above(settings.box_px + 2 * min(spread, settings.box_px))
    step = max(1, _CHUNK_PX // work_px**2)
    edge = (work_px - settings.box_px) // 2
    for start in range(0, len(kept), step):
        index = kept[start : start + step]
        windows = cut_windows(field, centre_xy[index, ::-1], work_px)
        if settings.phase_flip:
            windows -= windows.mean(dim=(1, 2), keepdim=True)
            windows = phase_flipped(windows, optics.subset(index), pixel_size_angst)
            end = edge + settings.box_px
            windows = windows[:, edge:end, edge:end]
        images, deviation = normalised(
            rescaled(windows, settings.output_px), radius_px, ramp=settings.ramp
        )
        if settings.invert:
            images = -images
        usable = deviation > 0
        images, index = images[usable], index[usable.cpu().numpy()]
        white = images if settings.invert else -images
        metrics = measure(white, output_angst, settings.diameter_angst, settings.radius_angst)
        yield Chunk(images.cpu().numpy(), index, metrics)


def extract_micrograph(
    image: np.ndarray,
    pixel_size_angst: float,
    coordinate_xy: np.ndarray,
    settings: ExtractionSettings,
    *,
    optics: ParticleCtf | None = None,
    device="cpu",
) -> tuple[np.ndarray, np.ndarray, Metrics]:
    """Extract the particles of one micrograph at once.

    Parameters
    ----------
    coordinate_xy : (N, 2) centres in pixels, from 0; boxes are cut about the nearest pixels.

    Returns
    -------
    images : (n, s, s) float32, white particles (unless told otherwise) on a background of mean 0
        and standard deviation 1.
    index : (n,) which of the coordinates were extracted.
    metrics : of each extracted particle.

    Raises
    ------
    BadInputError : see `checked_image`.
    """
    coordinate_xy = np.asarray(coordinate_xy, float).reshape(-1, 2)
    image = checked_image(image, coordinate_xy, settings.box_px)
    centres = box_centres(
        coordinate_xy, np.zeros_like(coordinate_xy), pixel_size_angst, recentre=True
    )
    chunks = list(
        extract_chunks(
            image, pixel_size_angst, centres.centre_xy, settings, optics=optics, device=device
        )
    )
    side = settings.output_px
    return (
        np.concatenate([np.empty((0, side, side), np.float32), *(c.images for c in chunks)]),
        np.concatenate([np.empty(0, np.int64), *(c.index for c in chunks)]),
        Metrics.joined([c.metrics for c in chunks]),
    )
