"""2D classification: particles sorted into views, with averages, poses and how sure they are."""

from cryosnake.classes2d.classification import Classification, load_classification
from cryosnake.classes2d.classify import classify2d
from cryosnake.classes2d.contribution import Contribution, load_contribution
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ClassAverages, ParticlePoses
from cryosnake.classes2d.running_total import running_total
from cryosnake.classes2d.schedule import Schedule
from cryosnake.classes2d.streaming import Assignment, assign, updated

__all__ = [
    "Assignment",
    "ClassAverages",
    "Classification",
    "Contribution",
    "Optics",
    "ParticlePoses",
    "Schedule",
    "assign",
    "classify2d",
    "load_classification",
    "load_contribution",
    "running_total",
    "updated",
]
