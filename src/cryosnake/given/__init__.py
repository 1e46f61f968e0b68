"""Tables that other programs made, from which a session may start: micrographs and particles."""

from cryosnake.given.files import is_table, project_folder, table_kind
from cryosnake.given.micrographs import (
    GivenCtf,
    GivenMicrograph,
    given_micrographs,
    read_micrographs,
)
from cryosnake.given.particles import GivenParticles, read_given_particles

__all__ = [
    "GivenCtf",
    "GivenMicrograph",
    "GivenParticles",
    "given_micrographs",
    "is_table",
    "project_folder",
    "read_given_particles",
    "read_micrographs",
    "table_kind",
]
