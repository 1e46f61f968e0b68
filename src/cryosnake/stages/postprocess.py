"""From two half maps to what is said of a refinement: mask, curves, sharpening, directions."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryosnake.engines.relion_postprocess import CURVES
from cryosnake.engines.relion_postprocess import postprocess as relion_postprocess
from cryosnake.errors import BadInputError
from cryosnake.validation.box import BoxCheck, check_box
from cryosnake.validation.directional import DirectionalFsc, directional_fsc
from cryosnake.validation.fsc import FscCurves, corrected_fsc, resolution_angst
from cryosnake.validation.local_resolution import local_resolution
from cryosnake.validation.mask import automatic_mask, spherical_mask
from cryosnake.validation.preferred import PreferredOrientation, preferred_orientation
from cryosnake.validation.sharpen import GuinierFit, guinier_fit, sharpened

log = logging.getLogger("cryosnake")

#: The mask's edge, in pixels and in resolutions: a steeper one than the map's detail correlates the
#: halves by itself.
_EDGE_PX, _EDGE_RESOLUTIONS = 6.0, 1.0
#: A mask is too tight where it alone correlates halves, of random phases, at the resolution by so
#: much.
MOST_RANDOMISED = 0.15
#: Where it is, it is made wider, and that so often, by so many resolutions.
_WIDER = (0.0, 0.5, 1.0)
_DETAIL_ANGST = 15.0
_FIT_FROM_ANGST = 10.0  # of RELION's fit of the B-factor


@dataclass(frozen=True)
class MaskCheck:
    """The mask under which the resolution is measured.

    Attributes
    ----------
    verdict : `fits`, `too tight` (also after it was widened), or `sphere` where nothing stands out
        of the noise.
    randomised : what the mask alone makes of the correlation, at the resolution.
    widened_angst : by how much it was made wider.
    """

    verdict: str
    randomised: float
    widened_angst: float


@dataclass(frozen=True)
class Postprocessed:
    """What two half maps (n, n, n) tell.

    Attributes
    ----------
    volume : their mean; mask : soft, of the molecule.
    curves : without a resolution (infinite) where none may be claimed.
    unmasked_angst, masked_angst : where these curves fall below 0.143.
    guinier, sharpened, local_angst, box : None where there is no resolution (the first also with
        too few shells beyond 10 A); the maps (n, n, n).
    """

    volume: np.ndarray
    mask: np.ndarray
    curves: FscCurves
    unmasked_angst: float
    masked_angst: float
    guinier: GuinierFit | None
    sharpened: np.ndarray | None
    local_angst: np.ndarray | None
    directional: DirectionalFsc
    orientation: PreferredOrientation
    box: BoxCheck | None
    mask_check: MaskCheck

    @property
    def resolution_angst(self) -> float:
        return self.curves.resolution_angst


def postprocess(
    half1: np.ndarray,
    half2: np.ndarray,
    pixel_size_angst: float,
    views: np.ndarray,
    *,
    diameter_angst: float,
    shown: bool = True,
    seed: int = 1,
) -> Postprocessed:
    """Judge two independent, unfiltered half maps.

    Parameters
    ----------
    half1, half2 : (n, n, n), n even.
    views : (N, 3) directions of the beam, of all particles.
    diameter_angst : of the spherical mask that the particles had.
    shown : whether the particles show the map at all; if not, no resolution is claimed.

    Raises
    ------
    BadInputError : maps that are not equal cubes of finite values.
    """
    volume = ((half1 + half2) / 2).astype(np.float32)
    mask, curves, check = _masked(half1, half2, volume, pixel_size_angst, diameter_angst, seed)
    if not shown:
        curves = replace(curves, resolution_angst=math.inf, resolution_half_angst=math.inf)
    directional = directional_fsc(half1, half2, pixel_size_angst, mask, seed=seed)
    known = math.isfinite(curves.resolution_angst)
    fit = guinier_fit(volume, curves) if known else None
    b_factor_angst2 = max(fit.b_factor_angst2, 0.0) if fit else 0.0
    finest_angst = curves.resolution_angst
    return Postprocessed(
        volume=volume,
        mask=mask,
        curves=curves,
        unmasked_angst=resolution_angst(curves.unmasked, pixel_size_angst),
        masked_angst=resolution_angst(curves.masked, pixel_size_angst),
        guinier=fit,
        sharpened=sharpened(half1, half2, curves, b_factor_angst2) if known else None,
        local_angst=local_resolution(half1, half2, mask, pixel_size_angst, finest_angst)
        if known
        else None,
        directional=directional,
        orientation=preferred_orientation(directional, views, seed=seed),
        box=check_box(volume, pixel_size_angst, diameter_angst, finest_angst) if known else None,
        mask_check=check,
    )


def with_relion(found: Postprocessed, folder: Path, command: str) -> Postprocessed:
    """The same with curves, B-factor and sharpened map of relion_postprocess, which reads
    `half1.mrc`, `half2.mrc` and `mask.mrc` of a folder.

    Raises
    ------
    BadInputError, EngineError : RELION cannot do it.
    """
    pixel_size_angst = found.curves.pixel_size_angst
    theirs = relion_postprocess(
        folder / "half1.mrc",
        folder / "mask.mrc",
        folder / "relion_postprocess",
        pixel_size_angst=pixel_size_angst,
        command=command,
    )
    log.info("RELION %s: %s", theirs.version, theirs.command)
    unmasked, masked, randomised, corrected = (theirs.fsc[name].to_numpy() for name in CURVES)
    side_angst = 2 * (len(corrected) - 1) * pixel_size_angst
    curves = FscCurves(
        pixel_size_angst=pixel_size_angst,
        unmasked=unmasked,
        masked=masked,
        randomised=randomised,
        corrected=corrected,
        randomised_from=max(round(side_angst / theirs.randomised_from_angst), 1),
        resolution_angst=theirs.resolution_angst,
        resolution_half_angst=resolution_angst(corrected, pixel_size_angst, 0.5),
    )
    fit = None
    if theirs.b_factor_angst2 is not None:
        fit = GuinierFit(
            theirs.b_factor_angst2, math.nan, math.nan, _FIT_FROM_ANGST, theirs.resolution_angst
        )
    return replace(
        found,
        curves=curves,
        guinier=fit,
        sharpened=theirs.volume,
        unmasked_angst=resolution_angst(unmasked, pixel_size_angst),
        masked_angst=resolution_angst(masked, pixel_size_angst),
    )


def _masked(
    half1: np.ndarray,
    half2: np.ndarray,
    volume: np.ndarray,
    pixel_size_angst: float,
    diameter_angst: float,
    seed: int,
) -> tuple[np.ndarray, FscCurves, MaskCheck]:
    """The tightest mask that does not correlate the halves by itself, and the curves under it."""
    sphere = spherical_mask(len(volume), 0.5 * diameter_angst, pixel_size_angst)
    start_angst = resolution_angst(
        corrected_fsc(half1, half2, pixel_size_angst).unmasked, pixel_size_angst
    )
    detail_angst = min(max(start_angst, 2.0 * pixel_size_angst), 0.25 * diameter_angst)
    for wider in _WIDER:
        try:
            mask = automatic_mask(
                volume,
                pixel_size_angst,
                low_pass_angst=max(_DETAIL_ANGST, detail_angst),
                extend_px=3.0 + wider * detail_angst / pixel_size_angst,
                edge_px=max(_EDGE_PX, _EDGE_RESOLUTIONS * detail_angst / pixel_size_angst),
            )
        except BadInputError as error:
            log.info("no mask of the molecule: %s", error)
            curves = corrected_fsc(half1, half2, pixel_size_angst, sphere, seed=seed)
            return sphere, curves, MaskCheck("sphere", _randomised(curves), 0.0)
        # nothing lies outside of the particles' own mask, but their noise ends there
        mask = np.minimum(mask, sphere)
        curves = corrected_fsc(half1, half2, pixel_size_angst, mask, seed=seed)
        randomised = _randomised(curves)
        if randomised <= MOST_RANDOMISED:
            return mask, curves, MaskCheck("fits", randomised, wider * detail_angst)
    return mask, curves, MaskCheck("too tight", randomised, wider * detail_angst)


def _randomised(curves: FscCurves) -> float:
    """Correlation of phase-randomised halves about the resolution, where the mask alone counts."""
    side_angst = 2 * (len(curves.unmasked) - 1) * curves.pixel_size_angst
    if not math.isfinite(curves.resolution_angst):
        return 0.0
    at = round(side_angst / curves.resolution_angst)
    first = max(at - 1, curves.randomised_from + 2)
    return float(np.mean(curves.randomised[first : max(at, first) + 2]))
