"""Picking by a detector network: the pretrained ones, or one trained on the session."""

import numpy as np
import pandas as pd
import torch

from cryosnake.picking.coarse import no_picks
from cryosnake.picking.mask import Mask, keep
from cryosnake.picking.network import Detector, DetectorPair, pretrained_pair, score_map
from cryosnake.picking.network_input import DIAMETER_PX
from cryosnake.picking.peaks import find_peaks
from cryosnake.picking.size_model import ParticleSize

#: Smallest distance of two picks, in diameters: particles that touch are seen from the side.
MIN_DISTANCE = 0.6
#: Of the expected number of particles: with fewer their scores have no distribution to fit.
MIN_PARTICLES = 5.0
_MIXTURE_STEPS = 100
_MIN_DEVIATION = 0.3


def pick_network(
    image: np.ndarray,
    pixel_size_angst: float,
    size: ParticleSize,
    *,
    mask: Mask | None = None,
    model: Detector | DetectorPair | None = None,
    threshold: float | None = None,
    device: torch.device | str = "cpu",
    diameter_px: float = DIAMETER_PX,
) -> pd.DataFrame:
    """Pick particles by a detector network.

    Parameters
    ----------
    image : (H, W) micrograph, particles dark; values that are not finite are background.
    pixel_size_angst : of the image.
    size : of the particle; its diameter is brought to `diameter_px` pixels.
    mask : where particles can be, as `usable_mask` gives it; None for everywhere.
    model : a detector on `device`; None for the pretrained ones (loaded at every call: load them
        once with `pretrained_pair` where there are many micrographs).
    threshold : log-odds at and above which peaks are picked; None to let it follow from the
        micrograph, see `score_threshold`.
    diameter_px : of a particle on the model's grid.

    Returns
    -------
    rlnCoordinateX, rlnCoordinateY in pixels of `image`; rlnAutopickFigureOfMerit, the model's
    log-odds of a particle; best first. Empty where no peak reaches the threshold, in a constant
    image, and in one smaller than two particles.

    Raises
    ------
    SessionStopError, BadInputError : no pretrained weights, see `weights.pretrained`.
    """
    too_small = min(image.shape) * pixel_size_angst < 2 * size.diameter_angst
    finite = image[np.isfinite(image)]
    if too_small or not finite.size or not np.ptp(finite) > 0:
        return no_picks()
    model = model or pretrained_pair(device)
    scores, scale_px = score_map(
        image, pixel_size_angst, size.diameter_angst, model, device, diameter_px=diameter_px
    )
    distance_px = MIN_DISTANCE * size.diameter_angst / (pixel_size_angst * scale_px)
    peaks = find_peaks(scores, max(1.0, distance_px))
    picks = pd.DataFrame(
        {
            "rlnCoordinateX": peaks.x * scale_px,
            "rlnCoordinateY": peaks.y * scale_px,
            "rlnAutopickFigureOfMerit": peaks.height,
        }
    )
    if mask is not None:
        picks = keep(picks, *mask)
    if threshold is None:
        threshold = score_threshold(picks["rlnAutopickFigureOfMerit"].to_numpy())
    return picks[picks["rlnAutopickFigureOfMerit"] >= threshold].reset_index(drop=True)


def score_threshold(log_odds: np.ndarray) -> float:
    """Threshold on the scores of the peaks of one micrograph, of the highest expected F1.

    A detector's log-odds are right only for data like those that it was trained on; elsewhere they
    are shifted and stretched, but still fall into two heaps. A mixture of two Gaussians, started
    from the detector's own probabilities, tells which peak belongs to which; where the heaps run
    into one another it knows less than the detector does, so the mean of both probabilities is
    taken. The threshold is not below even odds: a micrograph without particles has hardly a pick.

    Parameters
    ----------
    log_odds : (N,) of all peaks, without a threshold.
    """
    own = 1.0 / (1.0 + np.exp(-np.asarray(log_odds, float)))
    if own.sum() < MIN_PARTICLES or (1.0 - own).sum() < MIN_PARTICLES:
        return 0.0
    heights = np.asarray(log_odds, float)[:, None]
    share = np.stack([1.0 - own, own], axis=1)
    for _ in range(_MIXTURE_STEPS):
        count = share.sum(0) + 1e-9
        mean = (share * heights).sum(0) / count
        variance = (share * (heights - mean) ** 2).sum(0) / count
        deviation = np.maximum(np.sqrt(variance), _MIN_DEVIATION)
        density = count / deviation * np.exp(-0.5 * ((heights - mean) / deviation) ** 2)
        share = density / (density.sum(1, keepdims=True) + 1e-300)
    # the wider Gaussian must not take back the highest peaks
    order = np.argsort(heights[:, 0], kind="stable")
    fitted = np.maximum.accumulate(share[order, int(np.argmax(mean))])
    particle = 0.5 * (fitted + own[order])[::-1]
    hits = np.cumsum(particle)
    expected_f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    return max(0.0, float(heights[order[::-1][int(np.argmax(expected_f1))], 0]))
