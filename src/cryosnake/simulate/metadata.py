"""Where movies lie and what the microscope's programs write beside them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.writers import SUFFIXES

_START = datetime(2025, 3, 3, 9, 0, 0, tzinfo=UTC)
_SECONDS_PER_MOVIE = 6.0
_BEAM_SHIFT_STEP = 0.03  # EPU's units, from hole to hole
_BEAM_SHIFT_STEP_UM = 1.8
_SQUARE_ID, _HOLE_ID, _POSITION_ID = 19400000, 19500000, 19600000


@dataclass(frozen=True)
class Place:
    """Where and when a movie is taken.

    Parameters
    ----------
    square_id, hole_id : EPU's numbers.
    stage_um : (x, y) of the stage; beam_cell : (column, row) in the beam-shift pattern.
    jitter : (x, y), small error of the beam shift in units of the pattern's step.
    time : when the exposure ends.
    """

    square_id: int
    hole_id: int
    stage_um: tuple[float, float]
    beam_cell: tuple[int, int]
    jitter: tuple[float, float]
    time: datetime

    def beam_shift(self, grid: int, step: float) -> tuple[float, float]:
        """Beam-image shift (x, y) in the units of `step`."""
        middle = (grid - 1) / 2
        return (
            (self.beam_cell[0] - middle + self.jitter[0]) * step,
            (self.beam_cell[1] - middle + self.jitter[1]) * step,
        )


def place_of(config: SimulationConfig, index: int) -> Place:
    """The place of movie `index`: grid squares in turn, in them stage positions, at each the holes
    of the beam-shift pattern."""
    per_square = -(-config.movies // config.squares)
    per_stage = config.beam_shift_grid**2
    square, in_square = divmod(index, per_square)
    group, cell = divmod(in_square, per_stage)
    centre = np.random.default_rng([config.seed, square, 404]).uniform(-600, 600, 2)
    offset = np.random.default_rng([config.seed, square, group, 405]).uniform(-25, 25, 2)
    jitter = np.random.default_rng([config.seed, index, 406]).normal(0, 0.02, 2)
    seconds = max(config.pace_s, _SECONDS_PER_MOVIE)
    return Place(
        square_id=_SQUARE_ID + 137 * square,
        hole_id=_HOLE_ID + index,
        stage_um=(float(centre[0] + offset[0]), float(centre[1] + offset[1])),
        beam_cell=(cell % config.beam_shift_grid, cell // config.beam_shift_grid),
        jitter=(float(jitter[0]), float(jitter[1])),
        time=_START + timedelta(seconds=seconds * index),
    )


def movie_path(config: SimulationConfig, index: int) -> Path:
    """Path of a movie below the acquisition's folder."""
    place = place_of(config, index)
    suffix = SUFFIXES[config.format]
    if config.metadata != "epu":
        return Path(f"movie_{index + 1:05d}{suffix}")
    stem = _epu_stem(place)
    ending = "EER" if config.format == "eer" else "Fractions"
    folder = Path("Images-Disc1") / f"GridSquare_{place.square_id}" / "Data"
    return folder / f"{stem}_{ending}{suffix}"


def sidecar(config: SimulationConfig, index: int, *, defocus_angst: float) -> tuple[Path, str]:
    """Path (below the acquisition's folder) and text of the metadata of a movie.

    The applied defocus is rounded to 0.1 um, as an operator chooses it.
    """
    place = place_of(config, index)
    movie = movie_path(config, index)
    if config.metadata == "epu":
        return movie.with_name(f"{_epu_stem(place)}.xml"), _epu_xml(config, place, defocus_angst)
    return movie.with_name(f"{movie.name}.mdoc"), _mdoc(config, place, movie.name, defocus_angst)


def _epu_stem(place: Place) -> str:
    a = _POSITION_ID + 10 * place.beam_cell[1] + place.beam_cell[0]
    return f"FoilHole_{place.hole_id}_Data_{a}_{a + 2}_{place.time:%Y%m%d_%H%M%S}"


def _epu_xml(config: SimulationConfig, place: Place, defocus_angst: float) -> str:
    dose = config.dose_e_per_angst2_per_frame * config.frames
    shift_x, shift_y = place.beam_shift(config.beam_shift_grid, _BEAM_SHIFT_STEP)
    size_m = config.pixel_size_angst * 1e-10
    schema = "http://www.w3.org/2001/XMLSchema"
    arrays = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
    interface = "http://schemas.datacontract.org/2004/07/Fei.Applications.Common.Omp.Interface"
    types = "http://schemas.datacontract.org/2004/07/Fei.Types"
    drawing = "http://schemas.datacontract.org/2004/07/System.Drawing"

    def custom(key: str, kind: str, value: str) -> str:
        return (
            f"<a:KeyValueOfstringanyType><a:Key>{key}</a:Key>"
            f'<a:Value i:type="b:{kind}" xmlns:b="{schema}">{value}</a:Value>'
            "</a:KeyValueOfstringanyType>"
        )

    return (
        '<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects" '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
        f'<name>Simulated</name><CustomData xmlns:a="{arrays}">'
        + custom("Dose", "double", repr(dose * 1e20))
        + custom("DoseOnCamera", "double", repr(dose * config.pixel_size_angst**2))
        + custom("PhasePlateUsed", "boolean", "false")
        + custom("AppliedDefocus", "double", f"{-round(defocus_angst, -3) * 1e-10:.3E}")
        + "</CustomData><SpatialScale><pixelSize>"
        f"<x><numericValue>{size_m!r}</numericValue></x>"
        f"<y><numericValue>{size_m!r}</numericValue></y></pixelSize></SpatialScale>"
        "<microscopeData><acquisition>"
        f"<acquisitionDateTime>{place.time.isoformat()}</acquisitionDateTime><camera>"
        f'<Binning xmlns:a="{drawing}"><a:x>1</a:x><a:y>1</a:y></Binning>'
        f'<CameraSpecificInput xmlns:a="{arrays}"><a:KeyValueOfstringanyType>'
        "<a:Key>FractionationSettings</a:Key>"
        f'<a:Value i:type="b:EquidistantFractionation" xmlns:b="{interface}">'
        f"<b:NumberOffractions>{config.frames}</b:NumberOffractions></a:Value>"
        "</a:KeyValueOfstringanyType></CameraSpecificInput>"
        f'<ReadoutArea xmlns:a="{drawing}"><a:height>{config.height_px}</a:height>'
        f"<a:width>{config.width_px}</a:width><a:x>0</a:x><a:y>0</a:y></ReadoutArea>"
        "</camera></acquisition><core><ApplicationSoftware>EPU</ApplicationSoftware>"
        "<ApplicationSoftwareVersion>3.4.0.5704</ApplicationSoftwareVersion></core>"
        f"<gun><AccelerationVoltage>{config.voltage_kv * 1e3:.0f}</AccelerationVoltage></gun>"
        f'<optics><BeamShift xmlns:a="{types}"><a:_x>{shift_x!r}</a:_x><a:_y>{shift_y!r}</a:_y>'
        "</BeamShift></optics><stage><Position>"
        f"<A>{np.deg2rad(config.tilt_deg):.9f}</A><B>0</B>"
        f"<X>{place.stage_um[0] * 1e-6:.9e}</X><Y>{place.stage_um[1] * 1e-6:.9e}</Y><Z>0</Z>"
        "</Position></stage></microscopeData></MicroscopeImage>\n"
    )


def _mdoc(config: SimulationConfig, place: Place, name: str, defocus_angst: float) -> str:
    shift_x, shift_y = place.beam_shift(config.beam_shift_grid, _BEAM_SHIFT_STEP_UM)
    time = f"{place.time:%d-%b-%y  %H:%M:%S}"
    dose = config.dose_e_per_angst2_per_frame
    lines = [
        f"T = SerialEM: simulated Camera -> 0:K3        {time}    ",
        f"Voltage = {config.voltage_kv:.0f}",
        "",
        "[FrameSet = 0]",
        *([] if config.gain_format == "none" else [f"GainReference = gain.{config.gain_format}"]),
        f"TiltAngle = {config.tilt_deg:g}",
        f"StagePosition = {place.stage_um[0]:.3f} {place.stage_um[1]:.3f}",
        "StageZ = 0",
        "Magnification = 81000",
        f"ExposureDose = {dose * config.frames:.5f}",
        f"PixelSpacing = {config.pixel_size_angst:g}",
        f"Defocus = {-round(defocus_angst, -3) * 1e-4:.3f}",
        f"ImageShift = {shift_x:.5f} {shift_y:.5f}",
        "Binning = 1",
        f"SubFramePath = X:\\simulated\\{name}",
        f"NumSubFrames = {config.frames}",
        f"FrameDosesAndNumber = {dose:.5f} {config.frames}",
        f"DateTime = {time}",
        "",
    ]
    return "\n".join(lines)
