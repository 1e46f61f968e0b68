"""Facts of the acquisition: from EPU, SerialEM and file headers, merged with the configuration."""

from cryosnake.acquisition.epu import read_epu_xml
from cryosnake.acquisition.facts import (
    Alternative,
    Contradiction,
    Facts,
    combined,
    merge,
)
from cryosnake.acquisition.headers import read_fei_header, read_header
from cryosnake.acquisition.optics import optics_groups
from cryosnake.acquisition.search import check_frame_count, find_metadata
from cryosnake.acquisition.serialem import read_mdoc

__all__ = [
    "Alternative",
    "Contradiction",
    "Facts",
    "check_frame_count",
    "combined",
    "find_metadata",
    "merge",
    "optics_groups",
    "read_epu_xml",
    "read_fei_header",
    "read_header",
    "read_mdoc",
]
