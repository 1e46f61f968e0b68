"""How far each picker can be trusted, from how the pickers agree: no truth is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.picking.chance import Meeting, best_meeting
from cryosnake.picking.cliques import tidy
from cryosnake.picking.detection_fit import Picks, fit_pickers
from cryosnake.picking.detection_model import SILENT, DetectionModel
from cryosnake.picking.thresholds import f1_threshold


@dataclass(frozen=True)
class PickerReliability:
    """What the agreement tells about one picker.

    Attributes
    ----------
    picks : number of its picks on all micrographs.
    status : "works", "empty", "chance" (it meets the others no more often than at random), or
        "unknown" (nothing to compare it with, or no two pickers agree).
    precision, recall : estimated; NaN unless it works.
    meeting : with the picker with which it agrees best; None where there is nothing to compare.
    """

    picks: int
    status: str
    precision: float
    recall: float
    meeting: Meeting | None

    @property
    def failed(self) -> bool:
        """Whether it found nothing, or nothing but what chance would."""
        return self.status in ("empty", "chance")


@dataclass(frozen=True)
class Reliability:
    """What the agreement tells about all pickers.

    Attributes
    ----------
    pickers : by name.
    model : of those that work; None where none does.
    radius_px : within which two picks are the same particle.
    sites : number of areas of one radius in a micrograph.
    occupied : share of the sites that hold a particle, mean over the micrographs.
    threshold : of the probability, at which the expected F1 is best.
    """

    pickers: dict[str, PickerReliability]
    model: DetectionModel | None
    radius_px: float
    sites: float
    occupied: float
    threshold: float

    @property
    def working(self) -> list[str]:
        """Pickers whose behaviour is known."""
        return [name for name, one in self.pickers.items() if one.status == "works"]

    @property
    def failed(self) -> list[str]:
        """Pickers that found nothing, or nothing but what chance would."""
        return [name for name, one in self.pickers.items() if one.failed]

    @property
    def particles(self) -> float:
        """Expected number of particles in a micrograph; NaN where no picker is known."""
        return self.occupied * self.sites

    def table(self) -> pd.DataFrame:
        """One row a picker, for people."""
        return pd.DataFrame(
            {
                name: {
                    "picks": one.picks,
                    "status": one.status,
                    "precision": one.precision,
                    "recall": one.recall,
                    "agrees_best_with": one.meeting.other if one.meeting else "-",
                    "agreement": one.meeting.observed if one.meeting else np.nan,
                    "agreement_by_chance": one.meeting.chance if one.meeting else np.nan,
                }
                for name, one in self.pickers.items()
            }
        ).T


def estimate_reliability(
    micrographs: Sequence[Mapping[str, pd.DataFrame]],
    radius_px: float,
    *,
    area_px2: float | None = None,
) -> Reliability:
    """Estimate how reliable each picker is from the agreement of all on several micrographs.

    Parameters
    ----------
    micrographs : of each the table of picks of each picker. A picker that is absent from a
        micrograph has no picks there.
    radius_px : within which two picks are the same particle; about 0.4 particle diameters.
    area_px2 : of a micrograph; the box around all picks where None.
    """
    if not radius_px > 0:
        raise BadInputError(None, f"radius_px = {radius_px}", "a positive number of pixels")
    names = sorted({name for one in micrographs for name in one})
    tidied = {name: tidied_picks(micrographs, name, radius_px) for name in names}
    counts = {name: sum(map(len, tidied[name][0])) for name in names}
    status, meetings = _status(tidied, counts, radius_px)
    working = [name for name in names if status[name] == "works"]
    sites = site_number([tidied[name][0] for name in names], radius_px, area_px2)
    precision, recall = dict.fromkeys(names, np.nan), dict.fromkeys(names, np.nan)
    model, occupied, threshold = None, float("nan"), 0.0
    if working:
        fit = fit_pickers({name: tidied[name] for name in working}, radius_px, sites)
        model, occupied = fit.model, float(fit.shares.mean())
        threshold = f1_threshold(fit.probabilities, fit.shares.sum() * sites)
        for number, (name, picker) in enumerate(model.pickers.items()):
            hits = fit.probabilities[fit.members[:, number] >= 0].sum()
            precision[name] = float(hits / counts[name])
            recall[name] = float(1 - picker.at_particle[SILENT])
    pickers = {
        name: PickerReliability(
            counts[name], status[name], precision[name], recall[name], meetings[name]
        )
        for name in names
    }
    return Reliability(pickers, model, radius_px, sites, occupied, threshold)


def tidied_picks(
    micrographs: Sequence[Mapping[str, pd.DataFrame]], name: str, radius_px: float
) -> Picks:
    """Positions and scores of one picker, one array a micrograph."""
    pairs = [
        tidy(one[name], radius_px) if name in one else (np.empty((0, 2)), np.empty(0))
        for one in micrographs
    ]
    return [points for points, _ in pairs], [scores for _, scores in pairs]


def site_number(points: list[list[np.ndarray]], radius_px: float, area_px2: float | None) -> float:
    """Number of areas of one radius in a micrograph, at least that of the picks on any.

    Parameters
    ----------
    points : of each picker and micrograph (N, 2) positions.
    """
    site_px2 = np.pi * radius_px**2
    every = [one for picker in points for one in picker if len(one)]
    if not every:
        return 1.0 if area_px2 is None else max(area_px2 / site_px2, 1.0)
    if area_px2 is None:
        low = np.min([one.min(axis=0) for one in every], axis=0)
        high = np.max([one.max(axis=0) for one in every], axis=0)
        area_px2 = float(np.prod(high - low + 2 * radius_px))
    most = max(sum(map(len, of_one)) for of_one in zip(*points, strict=True))
    return max(area_px2 / site_px2, float(most) + 1.0)


def _status(
    tidied: dict[str, Picks], counts: dict[str, int], radius_px: float
) -> tuple[dict[str, str], dict[str, Meeting | None]]:
    """Which pickers work, and how they meet the others."""
    status, meetings = {}, {}
    for name, (own, _) in tidied.items():
        others = {other: picks[0] for other, picks in tidied.items() if other != name}
        meetings[name] = best_meeting(own, others, radius_px)
        if not counts[name]:
            status[name] = "empty"
        elif meetings[name] is None:
            status[name] = "unknown"
        else:
            status[name] = "works" if meetings[name].beyond_chance else "chance"
    if "works" not in status.values():
        # No two agree: some have failed, but nothing says which.
        status = {name: "unknown" if now == "chance" else now for name, now in status.items()}
    return status, meetings
