"""What the pickers' agreement tells a detector that is to be trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.picking.coarse import no_picks
from cryosnake.picking.reliability import Reliability
from cryosnake.picking.training.scoring import (
    MERIT,
    ValidationCurve,
    partners,
    validation_curve,
)

_COLUMNS = ["rlnCoordinateX", "rlnCoordinateY", MERIT]
#: Of all particles, the least and the most that nobody may have found. Pickers that miss the same
#: ones make each other look complete, so the estimate is too low.
_MISSED_LIMITS = (0.2, 0.5)
#: Probability of what some picker found and the consensus refused, where a number is needed.
_DOUBTFUL = 0.5
#: Taken where the agreement tells nothing.
_MISSED_UNKNOWN = 0.2


@dataclass(frozen=True)
class Labels:
    """What is known of some micrographs.

    Attributes
    ----------
    tables : of each, places with the probability of a particle as figure of merit; NaN where
        training is not to ask.
    missed_share : particles that are at none of the places, of these and the known ones together.
    """

    tables: list[pd.DataFrame]
    missed_share: float

    @property
    def known(self) -> float:
        """Expected number of particles among the places that are asked about."""
        return sum(float(table[MERIT].sum()) for table in self.tables)


def make_labels(
    picks: Sequence[pd.DataFrame],
    pickers: Sequence[Mapping[str, pd.DataFrame]],
    reliability: Reliability,
    radius_px: float,
) -> Labels:
    """Labels from a consensus and what its pickers found besides.

    Parameters
    ----------
    picks : of each micrograph, the consensus; its figure of merit is a probability.
    pickers : of each micrograph, the picks of each picker. What is not in the consensus is neither
        a particle nor background: the detector is left to find out.
    reliability : of the pickers.
    radius_px : within which two picks are the same particle.

    Notes
    -----
    Pickers that are fooled alike make their agreement look better than it is, so the probability
    of what only one of them found is not used: taught as background, true particles of one kind
    (touching ones, faint ones) would be unlearned.
    """
    tables = []
    for chosen, found in zip(picks, pickers, strict=True):
        parts = [chosen[_COLUMNS]]
        for table in found.values():
            besides = table[partners(table, parts[0], radius_px) < 0][_COLUMNS]
            parts.append(besides.assign(**{MERIT: np.nan}))
        parts = [part for part in parts if len(part)]
        tables.append(pd.concat(parts, ignore_index=True) if parts else no_picks())
    return Labels(tables, _missed_share(tables, reliability))


def _missed_share(tables: Sequence[pd.DataFrame], reliability: Reliability) -> float:
    """Particles that no picker found, of these and the known ones together."""
    if len(reliability.working) < 2:
        return _MISSED_UNKNOWN
    by_nobody = np.prod([1.0 - reliability.pickers[name].recall for name in reliability.working])
    missed = reliability.particles * len(tables) * by_nobody
    known = sum(float(table[MERIT].sum()) for table in tables)
    return float(np.clip(missed / max(missed + known, 1e-9), *_MISSED_LIMITS))


def label_curve(peaks: Sequence[pd.DataFrame], labels: Labels, radius_px: float) -> ValidationCurve:
    """Precision, recall and F1 of a detector's peaks against labels, over thresholds.

    A place that training does not ask about is a particle by one half, a peak without any label is
    none; the particles that nobody found count among all particles.
    """
    scores, probabilities, particles = [np.zeros(0)], [np.zeros(0)], 0.0
    for found, table in zip(peaks, labels.tables, strict=True):
        known = table[MERIT].fillna(_DOUBTFUL).to_numpy(float)
        scores.append(found[MERIT].to_numpy(float))
        probabilities.append(np.append(known, 0.0)[partners(found, table, radius_px)])
        particles += known.sum()
    particles += labels.known * labels.missed_share / (1.0 - labels.missed_share)
    return validation_curve(np.concatenate(scores), np.concatenate(probabilities), particles)
