"""2D classification: particles sorted into views, with averages, poses and how sure they are."""

from cryosnake.classes2d.classify import Classification, assign, classify2d
from cryosnake.classes2d.online import Schedule
from cryosnake.classes2d.optics import Optics
from cryosnake.classes2d.result import ClassAverages, ParticlePoses

__all__ = [
    "ClassAverages",
    "Classification",
    "Optics",
    "ParticlePoses",
    "Schedule",
    "assign",
    "classify2d",
]
