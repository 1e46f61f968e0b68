"""The CTF of a micrograph: from the image to defocus, fit resolution and quality figures."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from cryosnake.config.model import CtfConfig
from cryosnake.ctf_fit.ice import ice_ring_score
from cryosnake.ctf_fit.profile import Profile, fit_resolution_angst, profile
from cryosnake.ctf_fit.refine import refine
from cryosnake.ctf_fit.search import Candidate, Optics, search
from cryosnake.ctf_fit.spectra import (
    CORRELATED_PX,
    FINEST_RING_ANGST,
    band_mask,
    flatten_spectrum,
    resample,
    tile_spectra,
    usable_image,
)
from cryosnake.ctf_fit.tilt import fit_plane, level_spectrum
from cryosnake.errors import BadInputError

_MIN_TILE_PX = 128
_TILT_ROUNDS = 2
_SIGNIFICANT_SIGMA = 6.5
"""The best of some 100,000 candidates reaches 5 standard deviations in pure noise."""


@dataclass(frozen=True)
class CtfFit:
    """The contrast transfer function of a micrograph and how well it is known.

    Attributes
    ----------
    defocus_u_angst, defocus_v_angst : largest and smallest defocus, positive is underfocus.
    defocus_angle_deg : from the x-axis (columns) to the direction of U, in -90..90; row 0 of the
        image is its bottom.
    phase_shift_deg : of a phase plate, 0..180; 0 where none was fitted.
    max_resolution_angst : the rings follow the model to here; the coarsest fitted resolution
        where they do not follow it anywhere.
    figure_of_merit : normalised correlation of the two-dimensional spectrum with the model
        over the fitted band; of noise about 0.02.
    ice_ring_score : height of the rings of crystalline ice near 3.7 A over their surroundings, in
        standard deviations of the ring average; NaN where the pixels cannot show it.
    tilt_deg, tilt_axis_deg : tilt of the specimen (0..90) and direction of the axis (0..360 from
        the x-axis); the defocus grows to the left of that direction. NaN where not fitted.
    defocus_slope_y, defocus_slope_x : growth of the defocus along the image, in angstrom per
        angstrom; zero where no tilt was fitted.
    frequency_per_angst, radial_data, radial_model, radial_correlation : (K,) the profile along
        the mean defocus: data without background and scaled to the model, CTF^2, and
        their correlation in a sliding window.
    spectrum : (T, T) float32, log power, zero frequency in the centre (row T // 2).
    spectrum_pixel_per_angst : (2,) spacing of the spectrum's pixels along y and x.
    seconds : time of the fit.
    """

    defocus_u_angst: float
    defocus_v_angst: float
    defocus_angle_deg: float
    phase_shift_deg: float
    max_resolution_angst: float
    figure_of_merit: float
    ice_ring_score: float
    tilt_deg: float
    tilt_axis_deg: float
    defocus_slope_y: float
    defocus_slope_x: float
    frequency_per_angst: np.ndarray
    radial_data: np.ndarray
    radial_model: np.ndarray
    radial_correlation: np.ndarray
    spectrum: np.ndarray
    spectrum_pixel_per_angst: tuple[float, float]
    resolution_low_angst: float
    resolution_high_angst: float
    optics: Optics
    seconds: float


def fit_ctf(
    image,
    *,
    pixel_size_angst: float,
    voltage_kv: float,
    cs_mm: float,
    amplitude_contrast: float,
    config: CtfConfig,
    device="cpu",
) -> CtfFit:
    """Fit the CTF of a micrograph (a sum of frames, best without dose weights).

    Parameters
    ----------
    image : (H, W) NumPy array or tensor, row 0 at the bottom.

    Returns
    -------
    A fit, also where the image shows no rings: its resolution is then the coarsest fitted, and
    its figure of merit low.

    Raises
    ------
    BadInputError : not an image, pixels that are not finite, a constant image, one smaller than
        128 pixels, or pixels too large to reach beyond the coarsest fitted resolution.
    """
    start = time.perf_counter()
    optics = Optics(voltage_kv, cs_mm, amplitude_contrast)
    data = usable_image(image, device)
    finest = min(0.95 * FINEST_RING_ANGST, 0.85 * config.resolution_high_angst)
    data, pixel_y, pixel_x = resample(data, pixel_size_angst, finest)
    side = min(data.shape)
    if side < _MIN_TILE_PX:
        raise BadInputError(
            None,
            f"image of {tuple(np.shape(image))} pixels is too small for a CTF fit",
            f"at least {_MIN_TILE_PX} pixels of {finest / 2:.2f} A a side",
        )
    tiles = tile_spectra(data, pixel_y, pixel_x, min(config.tile_px, side - side % 2))
    high_angst = max(config.resolution_high_angst, 1.02 * tiles.finest_angst)
    if high_angst >= 0.7 * config.resolution_low_angst:
        raise BadInputError(
            None,
            f"pixel size {pixel_size_angst:g} A shows nothing between "
            f"{config.resolution_low_angst:g} and {high_angst:.1f} A",
            "a smaller pixel, or a coarser resolution_low_angst",
        )
    low, high = 1.0 / config.resolution_low_angst, 1.0 / high_angst
    power = tiles.power.mean(dim=0)
    step = 1.0 / (tiles.side_px * math.sqrt(pixel_y * pixel_x))
    limits = {
        "defocus_min_angst": config.defocus_min_angst,
        "defocus_max_angst": config.defocus_max_angst,
        "astigmatism_max_angst": config.astigmatism_max_angst,
        "phase_plate": config.phase_plate,
    }
    spectrum = flatten_spectrum(tiles, power, low, high)
    found = search(spectrum, optics, step_per_angst=step, **limits)
    found = refine(spectrum, optics, found, **limits)
    plane = None
    if config.tilted:
        for _ in range(_TILT_ROUNDS):  # the levelled spectrum sharpens the fit, and so the plane
            plane = fit_plane(tiles, tiles.power.mean(dim=0), found, optics, low, high, step)
            found = replace(found, defocus_angst=plane.defocus_angst)
            power = level_spectrum(tiles, plane, found, optics)
            spectrum = flatten_spectrum(tiles, power, low, high)
            found = refine(spectrum, optics, found, **limits)
    curve = _whole_profile(tiles, power, low, found, optics, step)
    resolution = float(config.resolution_low_angst)
    if found.score * math.sqrt(len(spectrum.value) / CORRELATED_PX) > _SIGNIFICANT_SIGMA:
        resolution = fit_resolution_angst(curve.frequency_per_angst, curve.correlation, resolution)
    half = found.half_astigmatism_angst
    return CtfFit(
        defocus_u_angst=found.defocus_angst + half,
        defocus_v_angst=found.defocus_angst - half,
        defocus_angle_deg=found.angle_deg,
        phase_shift_deg=found.phase_shift_deg,
        max_resolution_angst=resolution,
        figure_of_merit=found.score,
        ice_ring_score=ice_ring_score(tiles, tiles.power.mean(dim=0)),
        tilt_deg=plane.tilt_deg if plane else math.nan,
        tilt_axis_deg=plane.axis_deg if plane else math.nan,
        defocus_slope_y=plane.slope_y if plane else 0.0,
        defocus_slope_x=plane.slope_x if plane else 0.0,
        frequency_per_angst=curve.frequency_per_angst,
        radial_data=curve.data,
        radial_model=curve.model,
        radial_correlation=curve.correlation,
        spectrum=_centred(power),
        spectrum_pixel_per_angst=(
            1.0 / (tiles.side_px * pixel_y),
            1.0 / (tiles.side_px * pixel_x),
        ),
        resolution_low_angst=config.resolution_low_angst,
        resolution_high_angst=high_angst,
        optics=optics,
        seconds=time.perf_counter() - start,
    )


def _whole_profile(
    tiles, power: torch.Tensor, low: float, fit: Candidate, optics: Optics, step: float
) -> Profile:
    """The profile from the coarsest fitted resolution to the end of the spectrum."""
    mask = band_mask(tiles, low, 1.0 / tiles.finest_angst)
    ky, kx = (grid.expand(mask.shape)[mask].double() for grid in tiles.coordinates())
    return profile(
        power[mask].double().clamp_min(1e-20).log(),
        (ky**2 + kx**2).sqrt(),
        torch.atan2(ky, kx),
        fit,
        optics,
        step,
    )


def _centred(power: torch.Tensor) -> np.ndarray:
    """The whole log spectrum with zero frequency in the centre, from its half-plane."""
    log = power.clamp_min(1e-20).log()
    side = log.shape[0]
    left = torch.roll(log.flip(0), 1, 0)[:, 1 : side - log.shape[1] + 1].flip(1)
    whole = torch.cat([log, left], dim=1)
    return torch.fft.fftshift(whole).float().cpu().numpy()
