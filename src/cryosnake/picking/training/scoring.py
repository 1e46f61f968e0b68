"""Peaks of a detector's scores, and how they meet other picks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from cryosnake.picking.coarse import picks_table
from cryosnake.picking.mask import Mask, keep
from cryosnake.picking.network import Detector, model_scores
from cryosnake.picking.peaks import find_peaks
from cryosnake.picking.training.dataset import Reduced

#: Column of the figure of merit.
MERIT = "rlnAutopickFigureOfMerit"
#: Distance of the scores that are picked from, in pixels of the reduced micrograph.
PICKING_STRIDE_PX = 2
#: No two particles are nearer than this, in diameters.
MIN_DISTANCE = 0.6
#: Within which a pick is the same particle as another, in diameters.
SAME_PARTICLE = 0.4


def score_peaks(
    micrograph: Reduced,
    model: Detector,
    mask: Mask | None = None,
    *,
    stride_px: int = PICKING_STRIDE_PX,
) -> pd.DataFrame:
    """All peaks of a detector's scores on a micrograph, best first.

    Parameters
    ----------
    mask : where particles can be; everywhere where None.
    stride_px : distance of the scores in pixels of the reduced micrograph.

    Returns
    -------
    Table of coordinates in pixels of the full-size micrograph; the figure of merit is the score.
    """
    scores = model_scores(micrograph.pixels, model, stride=stride_px).float().cpu().numpy()
    peaks = find_peaks(scores, max(1.0, MIN_DISTANCE * micrograph.particle_px / stride_px))
    step_px = stride_px * micrograph.scale_px
    found = picks_table(peaks.x * step_px, peaks.y * step_px, peaks.height, 1)
    return found if mask is None else keep(found, *mask)


def coordinates(table: pd.DataFrame) -> np.ndarray:
    """(N, 2) as (x, y) in pixels of the full-size micrograph."""
    return table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float).reshape(-1, 2)


def partners(picks: pd.DataFrame, others: pd.DataFrame, radius_px: float) -> np.ndarray:
    """Index in `others` of the partner of each pick, one to one, nearest pairs first; -1: none."""
    found = np.full(len(picks), -1)
    if not len(picks) or not len(others):
        return found
    near = cKDTree(coordinates(picks)).sparse_distance_matrix(
        cKDTree(coordinates(others)), radius_px, output_type="ndarray"
    )
    taken = np.zeros(len(others), bool)
    for pick, other in near[["i", "j"]][np.argsort(near["v"], kind="stable")]:
        if found[pick] < 0 and not taken[other]:
            found[pick], taken[other] = other, True
    return found


@dataclass(frozen=True)
class ValidationCurve:
    """What is to be expected of the picks above each threshold.

    Attributes
    ----------
    thresholds (N,) : falling; precision, recall, f1 (N,) : of the picks with at least that score.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def best(self) -> int:
        """Index of the highest F1."""
        return int(np.argmax(self.f1))


def validation_curve(
    scores: np.ndarray, probabilities: np.ndarray, particles: float
) -> ValidationCurve:
    """Expected precision, recall and F1 over thresholds.

    Parameters
    ----------
    scores (N,) : of picks, higher is better; probabilities (N,) : that each is a particle.
    particles : expected number of all particles.

    Returns
    -------
    ValidationCurve with one entry a pick, empty where there are no picks.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(probabilities[order])
    number = np.arange(1, len(order) + 1)
    particles = max(particles, hits[-1] if len(hits) else 0.0, 1e-9)
    return ValidationCurve(
        scores[order], hits / number, hits / particles, 2 * hits / (number + particles)
    )
