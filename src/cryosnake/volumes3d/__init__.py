"""Volumes from particles: ab initio reconstruction, 3D classification, refinement."""

from cryosnake.volumes3d.ab_initio import ab_initio
from cryosnake.volumes3d.classify3d import ClassifySchedule, classify3d
from cryosnake.volumes3d.refine import RefineSchedule, refine
from cryosnake.volumes3d.result import Classified3D, Refined, VolumePoses, VolumeResult
from cryosnake.volumes3d.schedule import AbInitioSchedule, Stage

__all__ = [
    "AbInitioSchedule",
    "Classified3D",
    "ClassifySchedule",
    "RefineSchedule",
    "Refined",
    "Stage",
    "VolumePoses",
    "VolumeResult",
    "ab_initio",
    "classify3d",
    "refine",
]
