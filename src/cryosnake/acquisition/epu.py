"""Facts from the XML file that EPU writes beside every exposure."""

import math
import os
import re
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from pathlib import Path

from cryosnake.acquisition.facts import Facts, facts_from
from cryosnake.errors import BadInputError

_GRID_SQUARE = re.compile(r"GridSquare_(\d+)")
_FOIL_HOLE = re.compile(r"FoilHole_(\d+)")
_E_PER_METRE2_IN_E_PER_ANGST2 = 1e-20


def read_epu_xml(path: str | os.PathLike) -> Facts:
    """Read the XML of an exposure (EPU 1.2 to 3.x).

    The pixel size and `image_width_px` x `image_height_px` are those of the image the XML
    describes, which may be binned against the movie; `find_metadata` scales it to the movie. Dose
    is EPU's measurement on the specimen, divided by the number of fractions.

    Raises
    ------
    BadInputError : missing, unreadable, or not an exposure's XML.
    """
    path = Path(path)
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise BadInputError(
            path, f"cannot be read ({error.strerror})", "an EPU XML file"
        ) from error
    except ElementTree.ParseError as error:
        raise BadInputError(path, f"is not XML ({error})", "an EPU XML file") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "MicroscopeImage":
        raise BadInputError(path, f"is XML of a {root.tag}", "a MicroscopeImage of EPU")
    custom = _key_values(root.find("CustomData"))
    camera = root.find("microscopeData/acquisition/camera")
    settings = _key_values(camera.find("CameraSpecificInput") if camera is not None else None)
    frames = _fractions(settings.get("FractionationSettings"))
    dose = _number(custom.get("Dose"))
    total_dose = dose * _E_PER_METRE2_IN_E_PER_ANGST2 if dose else None
    tilt = _number(root.find("microscopeData/stage/Position/A"))
    pixel_size = _number(root.find("SpatialScale/pixelSize/x/numericValue"))
    voltage = _number(root.find("microscopeData/gun/AccelerationVoltage"))
    return facts_from(
        str(path),
        pixel_size_angst=pixel_size * 1e10 if pixel_size else None,
        voltage_kv=voltage / 1e3 if voltage else None,
        dose_e_per_angst2_per_frame=total_dose / frames if total_dose and frames else None,
        total_dose_e_per_angst2=total_dose,
        frames=frames,
        acquisition_time=_iso_time(root.find("microscopeData/acquisition/acquisitionDateTime")),
        stage_x_um=_scaled(root.find("microscopeData/stage/Position/X"), 1e6),
        stage_y_um=_scaled(root.find("microscopeData/stage/Position/Y"), 1e6),
        stage_tilt_deg=math.degrees(tilt) if tilt is not None else None,
        beam_shift_x=_number(root.find("microscopeData/optics/BeamShift/_x")),
        beam_shift_y=_number(root.find("microscopeData/optics/BeamShift/_y")),
        image_width_px=_whole(camera, "ReadoutArea/width"),
        image_height_px=_whole(camera, "ReadoutArea/height"),
        **places(path),
    )


def places(path: str | os.PathLike) -> dict[str, str | None]:
    """Grid square and foil hole from an EPU path, as keywords of `Facts`."""
    path = Path(path)
    squares, holes = _GRID_SQUARE.findall(str(path.parent)), _FOIL_HOLE.findall(path.name)
    return {
        "grid_square": squares[-1] if squares else None,
        "foil_hole": holes[-1] if holes else None,
    }


def _key_values(parent: ElementTree.Element | None) -> dict[str, ElementTree.Element]:
    """The Value elements of a serialized dictionary, by their Key."""
    if parent is None:
        return {}
    pairs = ((item.findtext("Key"), item.find("Value")) for item in parent)
    return {key: value for key, value in pairs if key and value is not None}


def _number(element: ElementTree.Element | None) -> float | None:
    if element is None or not element.text:
        return None
    try:
        value = float(element.text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _scaled(element: ElementTree.Element | None, factor: float) -> float | None:
    value = _number(element)
    return None if value is None else value * factor


def _whole(parent: ElementTree.Element | None, name: str) -> int | None:
    value = _number(parent.find(name)) if parent is not None else None
    return int(value) if value else None


def _fractions(settings: ElementTree.Element | None) -> int | None:
    """Number of fractions: told by newer EPU, listed one by one by older."""
    if settings is None:
        return None
    for element in settings.iter():
        if element.tag.lower() == "numberoffractions":
            value = _number(element)
            return int(value) if value else None
    listed = sum(element.tag == "DoseFractionDefinition" for element in settings.iter())
    return listed or None


def _iso_time(element: ElementTree.Element | None) -> str | None:
    if element is None or not element.text:
        return None
    try:
        return datetime.fromisoformat(element.text).isoformat(timespec="seconds")
    except ValueError:
        return None
