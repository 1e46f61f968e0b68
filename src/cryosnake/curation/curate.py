"""All filters of one movie, in order: drift, power spectrum, micrograph class, CTF.

(The dose is judged over the whole session, see `cryosnake.curation.dose`.)
"""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import numpy as np
import torch

from cryosnake.config.model import CurationConfig
from cryosnake.curation.classifier import classify_micrograph
from cryosnake.curation.filters import class_filter, ctf_filter, drift_filter
from cryosnake.curation.fixed_pattern import gain_residual, stripe_ratio
from cryosnake.curation.spectrum import quadrant_spectrum_correlations, spectrum_filter
from cryosnake.curation.verdict import Verdict, rejects

#: The filters of one movie, in the order in which they are asked.
COMPUTED = ("drift", "spectrum", "class", "ctf")


class Ctf(Protocol):
    """What curation needs of a CTF fit (`cryosnake.ctf_fit.CtfFit` has it)."""

    defocus_u_angst: float
    defocus_v_angst: float
    max_resolution_angst: float


def curate_micrograph(
    image: np.ndarray | torch.Tensor,
    *,
    pixel_size_angst: float,
    drift_max_angst: float,
    drift_path_angst: float,
    ctf: Ctf | Callable[[], Ctf | None] | None,
    config: CurationConfig,
    gain: np.ndarray | torch.Tensor | None = None,
    shifts_px: np.ndarray | None = None,
    filters: Collection[str] = COMPUTED,
) -> list[Verdict]:
    """Judge one movie.

    Parameters
    ----------
    image : (H, W), at least 256 px on each side; the aligned sum without dose weights.
    pixel_size_angst : of the image.
    drift_max_angst, drift_path_angst : of the whole-frame shifts; NaN: the alignment failed.
    ctf : the fit, or a function that makes it when it is needed; None (or a function that gives
        None): the fit failed.
    config : thresholds; in mode `sequence` the first filter that rejects ends it and the CTF of a
        rejected movie is not fitted; in mode `all` every filter is computed.
    gain, shifts_px : the gain reference as it was applied, turned onto the frames, and the (F, 2)
        shifts; with both, the sum is searched for the pattern of the reference.
    filters : those that can be computed: a micrograph without frames has no drift, one that is
        taken as it is no CTF.

    Returns
    -------
    The verdicts, in order. `cryosnake.curation.movie_columns` makes the row of them.
    """
    image = torch.as_tensor(image).to(torch.float32)
    verdicts = []
    for verdict in _verdicts(
        filters,
        image,
        pixel_size_angst,
        (drift_max_angst, drift_path_angst),
        ctf,
        config,
        gain,
        shifts_px,
    ):
        verdicts.append(verdict)
        if config.mode == "sequence" and not verdict.passed and rejects(verdict.filter, config):
            break
    return verdicts


def _verdicts(
    filters, image, pixel_size_angst, drift_angst, ctf, config, gain, shifts_px
) -> Iterator:
    """The verdicts one by one, so that what is not asked for is not computed."""
    if "drift" in filters:
        yield drift_filter(*drift_angst, config)
    strength = math.nan
    if gain is not None and shifts_px is not None:
        strength, uncertainty = gain_residual(image, gain, shifts_px)
        if uncertainty > config.gain_max_strength / 3.0:
            strength = math.nan  # drift has smeared the pattern beyond recognition: no verdict
    yield spectrum_filter(
        *quadrant_spectrum_correlations(image, pixel_size_angst),
        config,
        stripes=stripe_ratio(image),
        gain_strength=strength,
    )
    yield class_filter(classify_micrograph(image, pixel_size_angst), config)
    if "ctf" not in filters:
        return
    fit = ctf() if callable(ctf) else ctf
    if fit is None:
        yield ctf_filter(math.nan, math.nan, math.nan, config)
    else:
        yield ctf_filter(fit.defocus_u_angst, fit.defocus_v_angst, fit.max_resolution_angst, config)
