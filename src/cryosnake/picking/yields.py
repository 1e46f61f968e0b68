"""Does a region of the session hold fewer particles than the rest? Alerts from counts alone."""

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from cryosnake.decisions import Decision

#: Smallest number of micrographs that a region, and what it is held against, must have.
ENOUGH_MICROGRAPHS = 5
#: A region's median below this part of the session's is low.
LOW_RATIO = 0.5


def yield_alerts(
    counts: pd.DataFrame,
    *,
    window_micrographs: int = 50,
    low_ratio: float = LOW_RATIO,
    significance: float = 0.01,
) -> list[Decision]:
    """Warn where the latest micrographs, or a grid square, hold far fewer particles than the rest.

    Two things must hold: the region's median is below `low_ratio` times the session's, and the
    region's counts are smaller than all others beyond chance (one-sided rank test of Mann and
    Whitney 1947, Ann Math Stat 18, 50, divided by the number of regions tested). The second keeps
    a few poor views among a handful from raising an alarm; ranks take no notice of how far the
    number of particles varies from view to view.

    Parameters
    ----------
    counts : one row a picked micrograph, in the order of time, with `picks` (particles on it; rows
        where it is missing are left out) and `square` (name of the grid square, `-` unknown).
    window_micrographs : how many of the last rows are the latest ones; they are judged once as
        many came before.
    low_ratio : part of the session's median (over all rows) below which a yield is low.
    significance : chance of a false alert, over all regions together.

    Returns
    -------
    list of Decision
        Rule `yield`, verdict `warn`: squares (subject: the square's name) in the order in which
        they were last seen, then the latest micrographs (subject: `session`).
    """
    known = counts[counts["picks"].notna()]
    picks = known["picks"].to_numpy(float)
    squares = known["square"].astype(str).to_numpy()
    regions = _squares(squares)
    if window_micrographs <= len(picks) // 2:
        latest = np.arange(len(picks)) >= len(picks) - window_micrographs
        regions.append(("session", f"the latest {window_micrographs} micrographs", latest))
    if not regions:
        return []
    session_median = float(np.median(picks))
    alerts = []
    for subject, words, inside in regions:
        median = float(np.median(picks[inside]))
        if not median < low_ratio * session_median:
            continue
        chance = mannwhitneyu(picks[inside], picks[~inside], alternative="less").pvalue
        if chance * len(regions) >= significance:
            continue
        alerts.append(
            Decision(
                subject=subject,
                rule="yield",
                verdict="warn",
                value=f"{median:g} particles a micrograph (median) in {words}",
                threshold=f"at least {low_ratio:g} of the session's median of {session_median:g}",
                confidence=float(1.0 - min(1.0, chance * len(regions))),
                evidence=f"{int(inside.sum())} micrographs with {picks[inside].sum():.0f} particles"
                f" against {int((~inside).sum())} others with a median of"
                f" {np.median(picks[~inside]):g}; rank test p = {chance:.1g}",
            )
        )
    return alerts


def _squares(squares: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """Name, words and rows of each square with enough micrographs, the last seen last."""
    names, first_from_end, sizes = np.unique(squares[::-1], return_index=True, return_counts=True)
    return [
        (str(names[i]), f"grid square {names[i]}", squares == names[i])
        for i in np.argsort(-first_from_end)
        if names[i] != "-" and min(sizes[i], len(squares) - sizes[i]) >= ENOUGH_MICROGRAPHS
    ]
