"""Facts from SerialEM's mdoc files."""

import logging
import os
from datetime import datetime
from pathlib import Path, PureWindowsPath

import mdocfile.data_models

from cryosnake.acquisition.facts import Facts, facts_from
from cryosnake.errors import BadInputError

# mdocfile warns about every key that it does not name, which are most
logging.getLogger("mdocfile").setLevel(logging.ERROR)
_TIME_FORMATS = (
    "%d-%b-%y  %H:%M:%S",
    "%d-%b-%y %H:%M:%S",
    "%d-%b-%Y  %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
)


def read_mdoc(path: str | os.PathLike, *, movie: str | os.PathLike | None = None) -> Facts:
    """Read a frame-set mdoc (or the section of one movie in a longer mdoc).

    `PixelSpacing` is that of the image as saved (already divided by super-resolution binning).
    The dose of a frame is that of `FrameDosesAndNumber` where all frames have the same, else
    `ExposureDose` divided by `NumSubFrames`. `ImageShift` (micrometres) is the beam-image shift.

    Parameters
    ----------
    movie : the movie; in an mdoc of several, its section is the one whose `SubFramePath` has the
        same file name. By default the first section.

    Raises
    ------
    BadInputError : missing, unreadable, not an mdoc, or without a section of the movie.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInputError(path, f"cannot be read ({error.strerror})", "an mdoc file") from error
    try:
        mdoc = mdocfile.data_models.Mdoc.from_lines(text.splitlines())
    except (ValueError, IndexError) as error:  # pydantic's errors are ValueErrors
        raise BadInputError(path, f"cannot be parsed ({error})", "an mdoc file") from error
    if not mdoc.section_data:
        raise BadInputError(path, "has no section", "an mdoc file with [FrameSet = 0]")
    section = _section(mdoc.section_data, path, movie)
    extra = section.model_extra or {}
    voltage = mdoc.global_data.Voltage or section.Voltage
    stage = section.StagePosition or (None, None)
    shift = section.ImageShift or (None, None)
    pixel_size = section.PixelSpacing or mdoc.global_data.PixelSpacing
    total_dose = section.ExposureDose or None
    frame_dose = _frame_dose(section)
    if frame_dose is None and total_dose and section.NumSubFrames:
        frame_dose = total_dose / section.NumSubFrames
    gain = extra.get("GainReference")
    return facts_from(
        str(path),
        pixel_size_angst=pixel_size,
        voltage_kv=voltage,
        dose_e_per_angst2_per_frame=frame_dose,
        total_dose_e_per_angst2=total_dose,
        frames=section.NumSubFrames,
        gain=str(path.parent / PureWindowsPath(gain).name) if gain else None,
        acquisition_time=_iso_time(section.DateTime),
        stage_x_um=stage[0],
        stage_y_um=stage[1],
        stage_tilt_deg=section.TiltAngle,
        beam_shift_x=shift[0],
        beam_shift_y=shift[1],
    )


def _section(sections: list, path: Path, movie: str | os.PathLike | None):
    if movie is None:
        return sections[0]
    name = Path(movie).name
    for section in sections:
        if section.SubFramePath and PureWindowsPath(str(section.SubFramePath)).name == name:
            return section
    if len(sections) == 1 or sections[0].FrameSet is not None:
        return sections[0]  # a frame set is of one movie, which may have been renamed or converted
    raise BadInputError(path, f"has no section of {name}", f"SubFramePath = ...{name}")


def _frame_dose(section) -> float | None:
    """Exposure of a frame where all frames have the same."""
    doses = {dose for dose, _ in section.FrameDosesAndNumbers or ()}
    return doses.pop() or None if len(doses) == 1 else None


def _iso_time(text: str | None) -> str | None:
    for layout in _TIME_FORMATS if text else ():
        try:
            return datetime.strptime(text, layout).isoformat(timespec="seconds")
        except ValueError:
            continue
    return None
