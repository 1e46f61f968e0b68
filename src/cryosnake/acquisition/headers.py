"""Facts from the headers of the movies themselves."""

import os
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import mrcfile
import numpy as np

from cryosnake.acquisition.facts import Facts, facts_from
from cryosnake.errors import BadInputError
from cryosnake.movies import MovieInfo

_OLE_EPOCH = datetime(1899, 12, 30)
_FEI_TYPES = (b"FEI1", b"FEI2")


def read_fei_header(path: str | os.PathLike) -> Facts:
    """Read the extended header that Thermo Fisher's programs write into MRC files.

    Facts that the header leaves at zero (not measured) are not told. The dose is that on the
    specimen of the whole exposure.

    Raises
    ------
    BadInputError : missing, not MRC, or without such a header.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, permissive=True, header_only=True) as mrc:
                kind = bytes(mrc.header.exttyp)
                records = mrc.indexed_extended_header if kind in _FEI_TYPES else None
                frames = int(mrc.header.nz)
                size = int(mrc.header.nx), int(mrc.header.ny)
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "an MRC file") from error
    if records is None or len(records) == 0:
        raise BadInputError(path, f"has an extended header of type {kind!r}", "FEI1 or FEI2")
    record = records[0]

    def told(name: str, factor: float = 1.0) -> float | None:
        value = float(record[name])
        return value * factor if np.isfinite(value) and value != 0 else None

    total_dose = told("Dose", 1e-20)
    return facts_from(
        str(path),
        pixel_size_angst=told("Pixel size X", 1e10),
        voltage_kv=told("HT", 1e-3),
        total_dose_e_per_angst2=total_dose,
        dose_e_per_angst2_per_frame=total_dose / frames if total_dose and frames > 0 else None,
        frames=frames,
        acquisition_time=_iso_time(float(record["Timestamp"])),
        stage_x_um=told("X-Stage", 1e6),
        stage_y_um=told("Y-Stage", 1e6),
        stage_tilt_deg=told("Alpha tilt"),
        beam_shift_x=told("Shift X"),
        beam_shift_y=told("Shift Y"),
        image_width_px=size[0],
        image_height_px=size[1],
    )


def read_header(info: MovieInfo) -> Facts:
    """Facts from what `open_movie` has read: frames, pixel size, and for EER the dose.

    An MRC movie's extended header of Thermo Fisher is read too, where there is one.
    """
    total = info.total_dose_e_per_angst2
    facts = facts_from(
        str(info.path),
        pixel_size_angst=info.pixel_size_angst,
        frames=info.frames,
        image_width_px=info.width_px,
        image_height_px=info.height_px,
        total_dose_e_per_angst2=total,
        dose_e_per_angst2_per_frame=(
            total * info.raw_frames_per_fraction / info.raw_frames if total else None
        ),
    )
    return facts


def _iso_time(days: float) -> str | None:
    """The time of a count of days since 1899-12-30, as Windows keeps it."""
    if not 1 < days < 200_000:
        return None
    return (_OLE_EPOCH + timedelta(days=days)).isoformat(timespec="seconds")
