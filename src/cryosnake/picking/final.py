"""Picking every micrograph of a session with what its training chose."""

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree

from cryosnake.picking.coarse import no_picks
from cryosnake.picking.consensus import consensus
from cryosnake.picking.mask import Mask, keep, usable_mask
from cryosnake.picking.pickers import PICKERS
from cryosnake.picking.size_model import ParticleSize
from cryosnake.picking.training.dataset import reduce
from cryosnake.picking.training.judge import CONSENSUS, TRAINED
from cryosnake.picking.training.model_file import PickingModel
from cryosnake.picking.training.scoring import (
    MERIT,
    SAME_PARTICLE,
    coordinates,
    score_peaks,
)

#: Nearer than this, in diameters, two picks are one particle.
DUPLICATE = 0.5
_COLUMNS = ["rlnCoordinateX", "rlnCoordinateY", MERIT]


def pick_micrograph(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    model: PickingModel,
    *,
    mode: str = "ilp",
    k: int = 2,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Pick a micrograph with what was chosen when the model was trained.

    Parameters
    ----------
    image : (H, W) full-size micrograph, particles dark; values that are not finite are not usable.
    pixel_size_angst : of the image.
    size : of the particle; the trained model goes by the diameter that it was trained with.
    model : as `load_model` gives it, its detector on `device`.
    mode, k : of the consensus, where that was chosen; see `consensus`.

    Returns
    -------
    Table of `rlnCoordinateX`, `rlnCoordinateY` in pixels of the image, and
    `rlnAutopickFigureOfMerit` (log-odds of the trained or general model, the score of another
    picker, or the probability of the consensus; higher is better), best first. Nothing at the
    border, on contamination, film or cracks, and no particle twice. Empty where nothing is found,
    in a constant image, and in one smaller than two particles.
    """
    if image.ndim != 2:
        raise ValueError(f"a micrograph has two dimensions, not {image.shape = }")
    mask = usable_mask(image, pixel_size_angst, size)
    if not mask.usable.any():
        return no_picks()
    if model.chosen == CONSENSUS:
        picks = _consensus(image, pixel_size_angst, size, model, mask, mode, k, device)
    else:
        picks = _picks(image, pixel_size_angst, size, model, mask, device)
    picks = keep(picks[_COLUMNS], *mask)
    picks = picks.sort_values(MERIT, ascending=False, kind="stable", ignore_index=True)
    return without_duplicates(picks, DUPLICATE * size.diameter_angst / pixel_size_angst)


def _picks(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    model: PickingModel,
    mask: Mask,
    device: torch.device | str,
) -> pd.DataFrame:
    """What the trained model or the chosen picker finds."""
    if model.chosen == TRAINED:
        # exactly as the peaks were made that the threshold was chosen on
        small = reduce(image, pixel_size_angst, model.diameter_angst, device=device)
        peaks = score_peaks(small, model.detector, mask)
        return peaks[peaks[MERIT] >= model.threshold]
    return PICKERS[model.chosen](image, pixel_size_angst, size, mask=mask, device=device)


def _consensus(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    model: PickingModel,
    mask: Mask,
    mode: str,
    k: int,
    device: torch.device | str,
) -> pd.DataFrame:
    """What the pickers agree on, by their reliability on the training micrographs."""
    found = {
        name: PICKERS[name](image, pixel_size_angst, size, mask=mask, device=device)
        for name in model.reliability.pickers
    }
    radius_px = SAME_PARTICLE * model.diameter_angst / pixel_size_angst
    return consensus(
        found, radius_px, mode=mode, k=min(k, len(found)), reliability=model.reliability
    )


def without_duplicates(picks: pd.DataFrame, distance_px: float) -> pd.DataFrame:
    """Of picks that are nearer than a distance to a better one that is kept, none.

    Parameters
    ----------
    picks : best first.
    """
    kept = np.ones(len(picks), bool)
    if len(picks) > 1:
        pairs = cKDTree(coordinates(picks)).query_pairs(distance_px, output_type="ndarray")
        for better, worse in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
            kept[worse] &= not kept[better]
    return picks[kept].reset_index(drop=True)
