"""Where the CTF of a micrograph comes from: fitted, given with it, or none."""

import math
import time

import numpy as np

from cryosnake.acquisition import Facts
from cryosnake.config.model import Config
from cryosnake.ctf_fit import CtfFit, fit_ctf
from cryosnake.curation import COMPUTED
from cryosnake.given import GivenCtf
from cryosnake.preprocess.columns import amplitude_contrast

#: The filters of an image that is taken as it is.
WITHOUT_CTF = tuple(name for name in COMPUTED if name != "ctf")


class LazyCtf:
    """The CTF fit, made when a filter asks for it (in mode `sequence` it may never be)."""

    def __init__(
        self, image: np.ndarray, pixel_size_angst: float, facts: Facts, config: Config, device
    ):
        self._image, self._pixel_size_angst = image, pixel_size_angst
        self._facts, self._config, self._device = facts, config, device
        self.fit: CtfFit | None = None
        self.seconds = 0.0

    def __call__(self) -> CtfFit:
        started = time.perf_counter()
        self.fit = fit_ctf(
            self._image,
            pixel_size_angst=self._pixel_size_angst,
            voltage_kv=self._facts.voltage_kv,
            cs_mm=self._facts.cs_mm,
            amplitude_contrast=amplitude_contrast(self._facts, self._config.acquisition),
            config=self._config.ctf,
            device=self._device,
        )
        self.seconds = time.perf_counter() - started
        return self.fit

    def columns(self) -> dict:
        """The row's columns of the fit; none where it was not asked for."""
        if self.fit is None:
            return {}
        return ctf_columns(self.fit) | {
            "csnCtf_s": self.seconds,
            "csnIceRingScore": self.fit.ice_ring_score,
            "csnTilt_deg": self.fit.tilt_deg,
            "csnTiltAxis_deg": self.fit.tilt_axis_deg,
        }


def ctf_columns(ctf: CtfFit | GivenCtf) -> dict:
    """The row's columns that a fitted CTF and one that came with the micrograph share."""
    mean = 0.5 * (ctf.defocus_u_angst + ctf.defocus_v_angst)
    return {
        "rlnDefocusU": ctf.defocus_u_angst,
        "rlnDefocusV": ctf.defocus_v_angst,
        "rlnDefocusAngle": ctf.defocus_angle_deg,
        "rlnPhaseShift": ctf.phase_shift_deg,
        "rlnCtfMaxResolution": ctf.max_resolution_angst,
        "rlnCtfFigureOfMerit": ctf.figure_of_merit,
        "csnDefocusMean_angst": mean,
        "csnAstigmatism_ratio": abs(ctf.defocus_u_angst - ctf.defocus_v_angst) / mean
        if mean
        else math.nan,
    }
