"""Assessment of class averages: what each shows, and which go on."""

from cryosnake.assessment.features import FEATURES, class_features
from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.model import ClassModel, load_model
from cryosnake.assessment.overrides import Override, read_overrides
from cryosnake.assessment.select import assess, decisions

__all__ = [
    "FEATURES",
    "LABELS",
    "ClassModel",
    "Override",
    "assess",
    "class_features",
    "decisions",
    "load_model",
    "read_overrides",
]
