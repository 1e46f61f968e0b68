"""The seven labels of a micrograph."""

from dataclasses import dataclass, field

#: good; film: much of the view is support film; drift_crack: the specimen moved during frames, or
#: the ice is torn; minor_ice, major_ice: crystalline ice in traces, or everywhere; contamination:
#: dark lumps; empty: no structure that the optics has transferred (no specimen, or none to see).
LABELS = ("good", "film", "drift_crack", "minor_ice", "major_ice", "contamination", "empty")


@dataclass(frozen=True)
class MicrographClass:
    """What a micrograph looks like, and why.

    Parameters
    ----------
    label : one of `LABELS`.
    confidence : 0 to 1.
    reasons : what speaks most for the label, in words with values, the strongest first.
    features : all measured features by name (`cryosnake.curation.features.FEATURES` describes
        them); NaN where a feature cannot be measured.
    scores : log-odds of each label.
    """

    label: str
    confidence: float
    reasons: tuple[str, ...] = ()
    features: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.label not in LABELS:
            raise ValueError(f"label = {self.label!r} is not one of {LABELS}")
