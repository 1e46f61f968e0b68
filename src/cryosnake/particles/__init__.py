"""Particles: cut out of micrographs, normalised, rescaled, flagged, and written with their table.

The same functions extract again, at another pixel size, from a table of particles.
"""

from cryosnake.particles.batch import BatchResult, extract_batch
from cryosnake.particles.extract import extract_micrograph
from cryosnake.particles.flags import FlagLimits
from cryosnake.particles.settings import ExtractionSettings, output_for_pixel_size
from cryosnake.particles.stack import read_images, written_stack
from cryosnake.particles.table import (
    merge_particles,
    read_particles,
    regroup_particles,
    write_no_particles,
    write_particles,
)

__all__ = [
    "BatchResult",
    "ExtractionSettings",
    "FlagLimits",
    "extract_batch",
    "extract_micrograph",
    "merge_particles",
    "output_for_pixel_size",
    "read_images",
    "read_particles",
    "regroup_particles",
    "write_no_particles",
    "write_particles",
    "written_stack",
]
