"""The truth about a simulated movie, and the files it is kept in."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.files import write_text, written_whole
from cryosnake.simulate.drift import LocalMotion
from cryosnake.simulate.scenarios import Conditions
from cryosnake.simulate.specimen import Particles


@dataclass(frozen=True)
class MovieTruth:
    """What is true of one movie.

    Parameters
    ----------
    index : number of the movie, from 0; name : file name without folder and suffix.
    conditions : scenario, defocus, ice, ... ; particles : positions and orientations.
    displacement_px : (F, 2) as (y, x), whole-frame displacement of the specimen relative to the
        first frame, in pixels. `shift_px` is minus this.
    local : local displacement on top of it, in angstrom, or None.
    pixel_size_angst, voltage_kv, cs_mm, amplitude_contrast : as in the configuration.
    dose_e_per_angst2_per_frame : exposure of the specimen in a frame, of this movie.
    mean_counts : expected counts of a pixel of sensitivity 1 in a frame, without contrast.
    tilt_deg, tilt_axis_deg : defocus increases by tan(tilt) angstrom per angstrom along the
        direction (-sin axis, cos axis) in (x, y).
    """

    index: int
    name: str
    conditions: Conditions
    particles: Particles
    displacement_px: np.ndarray
    local: LocalMotion | None
    pixel_size_angst: float
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float
    dose_e_per_angst2_per_frame: float
    mean_counts: float
    tilt_deg: float
    tilt_axis_deg: float

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return self.conditions.scenario

    @property
    def shift_px(self) -> np.ndarray:
        """(F, 2) as (y, x): the whole-frame correction in pixels relative to the first frame, in
        the sign of RELION's data_global_shift and of `MotionResult.shifts_px`."""
        return -self.displacement_px

    def local_shift_px(self, frame: int, y_px, x_px) -> np.ndarray:
        """(..., 2) as (y, x): the local correction in pixels on top of the whole-frame one."""
        shape = np.broadcast_shapes(np.shape(y_px), np.shape(x_px))
        if self.local is None:
            return np.zeros((*shape, 2))
        return -self.local.displacement_angst(frame, y_px, x_px) / self.pixel_size_angst

    def as_row(self) -> dict:
        """One row of the table of truth: numbers and labels of the movie."""
        c = self.conditions
        steps_angst = np.hypot(*np.diff(self.displacement_px, axis=0).T) * self.pixel_size_angst
        return {
            "index": self.index,
            "movie": self.name,
            "scenario": c.scenario,
            "defocus_u_angst": round(c.defocus_u_angst, 2),
            "defocus_v_angst": round(c.defocus_v_angst, 2),
            "defocus_angle_deg": round(c.defocus_angle_deg, 3),
            "ice_thickness_angst": round(float(c.ice_thickness_angst), 2),
            "dose_e_per_angst2_per_frame": round(self.dose_e_per_angst2_per_frame, 5),
            "mean_counts": round(self.mean_counts, 5),
            "particles": len(self.particles),
            "drift_path_angst": round(float(steps_angst.sum()), 3),
            "drift_max_angst": round(float(steps_angst.max(initial=0.0)), 3),
            "tilt_deg": self.tilt_deg,
            "file_fault": c.file_fault,
        }

    def motion_table(self) -> pd.DataFrame:
        """One row a frame: the whole-frame shift in pixels (the correction)."""
        return pd.DataFrame(
            {
                "frame": np.arange(1, len(self.displacement_px) + 1),
                "shift_x_px": self.shift_px[:, 1],
                "shift_y_px": self.shift_px[:, 0],
            }
        )

    def particle_table(self) -> pd.DataFrame:
        """One row a particle, in RELION's labels; the species counts from 1."""
        p = self.particles
        return pd.DataFrame(
            {
                "rlnCoordinateX": p.x_px,
                "rlnCoordinateY": p.y_px,
                "rlnAngleRot": p.rot_deg,
                "rlnAngleTilt": p.tilt_deg,
                "rlnAnglePsi": p.psi_deg,
                "rlnClassNumber": p.species + 1,
            }
        )

    def local_dict(self) -> dict | None:
        """The local model as plain numbers: displacement, not correction."""
        if self.local is None:
            return None
        return {
            "meaning": "displacement of the specimen in angstrom = saturation[frame] * "
            "(coefficients @ [v, u, v*v - 1/12, v*u, u*u - 1/12]); v = (y_px + 0.5) / height "
            "- 0.5, u = (x_px + 0.5) / width - 0.5; rows y, x; the shift is minus this",
            "coefficients_angst": self.local.coefficients_angst.tolist(),
            "saturation": self.local.saturation.tolist(),
        }


def write_truth(truth: MovieTruth, folder: Path) -> None:
    """Write `<name>_motion.csv`, `<name>_particles.csv` and `<name>.json` into `folder`."""
    for suffix, table in (
        ("motion", truth.motion_table()),
        ("particles", truth.particle_table()),
    ):
        with written_whole(folder / f"{truth.name}_{suffix}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.5f")
    write_text(
        folder / f"{truth.name}.json",
        json.dumps({**truth.as_row(), "local_motion": truth.local_dict()}, indent=1) + "\n",
    )
