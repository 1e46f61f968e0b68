"""The classes of a round as the rules see them, and how a rule words its decision."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cryosnake.decisions import Decision
from cryosnake.errors import BadInputError
from cryosnake.feedback.measure import Measures, measured

#: Below these numbers nothing is certain: an alarm is only a suspicion.
FEWEST_PARTICLES = 500
FEWEST_CLASSES = 4
#: A class counts from this many particles and from this part of the mean population: the averages
#: of smaller ones are of anything.
LEAST_POPULATION = 20
LEAST_OF_MEAN = 0.2
#: A class whose halves agree no further than this part of the particle's diameter shows nothing.
UNRESOLVED = 0.5
#: Share of the particles that are no longer than what counts as the length of the particle.
LONGEST = 0.85
#: Share of the mask's circumference, 30 degrees, at which density must be cut.
CUT = 0.08
#: A cut particle is in the middle: its outline's centre is within this share of the mask's radius.
#: Neighbours, which lie at the sides, are cut in any mask.
CENTRED = 0.25
#: Share of the particles in classes that are cut at which the mask is too small.
MOSTLY_CUT = 0.40
_COLUMNS = (
    "csnClassPopulation",
    "csnClassLabel",
    "csnClassKept",
    "rlnEstimatedResolution",
)


@dataclass(frozen=True)
class Classes:
    """K class averages with their table and the measured size.

    Parameters
    ----------
    averages : (K, n, n).
    population : (K,) particles; label : (K,) names; kept : (K,) bool.
    resolution_angst : (K,).
    diameter_angst, long_axis_angst, short_axis_angst : the measured size of the particle.
    """

    averages: np.ndarray
    population: np.ndarray
    label: np.ndarray
    kept: np.ndarray
    resolution_angst: np.ndarray
    pixel_size_angst: float
    diameter_angst: float
    long_axis_angst: float
    short_axis_angst: float
    mask_diameter_angst: float
    subject: str
    evidence: str

    @classmethod
    def of(cls, averages: np.ndarray, table: pd.DataFrame, **facts) -> "Classes":
        """Of the table `classes` of a round.

        Raises
        ------
        BadInputError : a column is missing, there is not one row an average, or a size is not
            positive.
        """
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing:
            raise BadInputError(None, f"no column {missing[0]}", "the classes of a round")
        if len(table) != len(averages):
            raise BadInputError(
                None, f"{len(table)} rows for {len(averages)} class averages", "one row an average"
            )
        for name, value in facts.items():
            if name.endswith("_angst") and not value > 0:
                raise BadInputError(None, f"{name} = {value}", "a positive number")
        return cls(
            averages=np.asarray(averages),
            population=table["csnClassPopulation"].to_numpy(int),
            label=table["csnClassLabel"].to_numpy(str),
            kept=table["csnClassKept"].to_numpy(int) == 1,
            resolution_angst=table["rlnEstimatedResolution"].to_numpy(float),
            **facts,
        )

    @cached_property
    def measures(self) -> list[Measures]:
        """Of all classes, in order."""
        return [
            measured(
                average,
                pixel_size_angst=self.pixel_size_angst,
                diameter_angst=self.diameter_angst,
                mask_diameter_angst=self.mask_diameter_angst,
            )
            for average in self.averages
        ]

    def counted(self, chosen: np.ndarray) -> np.ndarray:
        """(M,) indices of those of the chosen classes (K,) bool that have enough particles and show
        density."""
        mean = self.population[chosen].mean() if chosen.any() else 0.0
        least = max(LEAST_POPULATION, LEAST_OF_MEAN * mean)
        shown = self.value("mass") > 0
        shown &= self.resolution_angst < UNRESOLVED * self.diameter_angst
        return np.flatnonzero(chosen & (self.population >= least) & shown)

    @cached_property
    def good(self) -> np.ndarray:
        """(M,) indices of the kept classes that count."""
        return self.counted(self.kept)

    @cached_property
    def extents_angst(self) -> tuple[float, float]:
        """Length and mean diameter of the particle as the good classes show it: the length that
        85 % of the particles do not exceed, and the median diameter."""
        shares = self.shares(self.good)
        return (
            weighted_quantile(self.value("long_angst")[self.good], shares, LONGEST),
            weighted_quantile(self.value("diameter_angst")[self.good], shares, 0.5),
        )

    @cached_property
    def seen(self) -> np.ndarray:
        """(M,) indices of the classes with particles in them, whole or not: kept, or labelled good
        or clip."""
        return self.counted(self.kept | np.isin(self.label, ("good", "clip")))

    @cached_property
    def cut(self) -> np.ndarray:
        """(K,) bool, classes whose central density the mask cuts."""
        middle = self.averages.shape[-1] // 2
        off_px = np.array([np.hypot(*(np.array(m.centre_px) - middle)) for m in self.measures])
        centred = off_px * self.pixel_size_angst < CENTRED * self.mask_diameter_angst / 2
        return centred & (self.value("contact") >= CUT)

    @property
    def mostly_cut(self) -> bool:
        """Whether the mask cuts most: neither mass nor size can then be measured."""
        return bool(self.shares(self.seen)[self.cut[self.seen]].sum() >= MOSTLY_CUT)

    def value(self, name: str) -> np.ndarray:
        """(K,) one of the measures of all classes."""
        return np.array([getattr(one, name) for one in self.measures], float)

    def shares(self, classes: np.ndarray) -> np.ndarray:
        """(M,) shares of the particles of the given classes, adding up to 1."""
        return self.population[classes] / max(self.population[classes].sum(), 1)

    def decide(
        self,
        rule: str,
        among: np.ndarray,
        *,
        level: str,
        value: str,
        threshold: str,
        confidence: float,
        because: str,
    ) -> Decision:
        """Word a decision about the classes `among`.

        Parameters
        ----------
        level : `alarm`, `suspicion`, `clear` or `open` (nothing can be said), which become the
            verdicts warn, unsure, pass and info. With too few particles or classes an alarm is but
            a suspicion, and all else is open.
        """
        particles = int(self.population[among].sum())
        if particles < FEWEST_PARTICLES or len(among) < FEWEST_CLASSES:
            level = "suspicion" if level == "alarm" else "open"
            confidence = min(confidence, 0.3)
            because = (
                f"{because}; too little to tell: {particles} particles in {len(among)} classes"
            )
        sentence = because if self.evidence == "-" else f"{self.evidence}: {because}"
        verdicts = {"alarm": "warn", "suspicion": "unsure", "clear": "pass", "open": "info"}
        return Decision(
            self.subject, rule, verdicts[level], value, threshold, round(confidence, 2), sentence
        )

    def nothing(self, rule: str, threshold: str) -> Decision:
        """The decision of a rule that has no class to look at."""
        return self.decide(
            rule,
            np.zeros(0, int),
            level="open",
            value="-",
            threshold=threshold,
            confidence=0.0,
            because="no class average to look at",
        )

    def unmeasurable(self, rule: str, threshold: str) -> Decision:
        """The decision of a rule about mass or size where the mask cuts most classes."""
        return self.decide(
            rule,
            self.seen,
            level="open",
            value="-",
            threshold=threshold,
            confidence=0.0,
            because="the mask cuts most averages, so that neither mass nor size can be measured",
        )


def graded(value: float, suspicion: float, alarm: float) -> tuple[str, float]:
    """Level and confidence of a value that is the worse the larger: 0.5 at the threshold of alarm,
    0.95 at twice its distance to that of suspicion and at 0."""
    if value >= alarm:
        return "alarm", min(0.95, 0.5 + 0.45 * (value - alarm) / (2 * (alarm - suspicion)))
    if value >= suspicion:
        return "suspicion", 0.5
    return "clear", min(0.95, 0.5 + 0.45 * (suspicion - value) / suspicion)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value below which a share of the weights lies (the median at 0.5)."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])
