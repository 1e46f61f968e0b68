"""The columns of a row that say how an image was taken, and what metadata contradict."""

import math
from pathlib import Path

from cryosnake.acquisition import Contradiction, Facts
from cryosnake.config.model import AcquisitionConfig
from cryosnake.preprocess.journal import Note
from cryosnake.tables import star_text


def amplitude_contrast(facts: Facts, config: AcquisitionConfig) -> float:
    """The amplitude contrast of an image: what is known of it, else what the configuration says."""
    found = facts.amplitude_contrast
    return config.amplitude_contrast if found is None else found


def fact_columns(facts: Facts, config: AcquisitionConfig) -> dict:
    """The columns of the acquisition facts; NaN and `-` where a fact is not known."""

    def number(value) -> float:
        return math.nan if value is None else float(value)

    def text(value) -> str:
        return "-" if value is None else star_text(value)

    return {
        "rlnMicrographOriginalPixelSize": facts.pixel_size_angst,
        "rlnMicrographPixelSize": facts.pixel_size_angst * config.super_resolution,
        "rlnVoltage": facts.voltage_kv,
        "rlnSphericalAberration": number(facts.cs_mm),
        "rlnAmplitudeContrast": amplitude_contrast(facts, config),
        "csnAcquisitionTime": text(facts.acquisition_time),
        "csnGridSquare": text(facts.grid_square),
        "csnFoilHole": text(facts.foil_hole),
        "csnStageX_um": number(facts.stage_x_um),
        "csnStageY_um": number(facts.stage_y_um),
        "csnStageTilt_deg": number(facts.stage_tilt_deg),
        "csnBeamShiftX": number(facts.beam_shift_x),
        "csnBeamShiftY": number(facts.beam_shift_y),
        "csnDosePerFrame_e_per_angst2": number(facts.dose_e_per_angst2_per_frame),
        "csnFrames": facts.frames,
    }


def acquisition_notes(found: Facts, contradictions: list[Contradiction]) -> list[Note]:
    """What many movies of a batch have in common: contradictions, and metadata not readable."""
    return [
        *(
            Note("acquisition", "warn", _in_words(c), "the configuration and the files agree")
            for c in contradictions
        ),
        *(
            Note("acquisition", "info", problem, "metadata that can be read")
            for problem in found.problems
        ),
    ]


def _in_words(contradiction: Contradiction) -> str:
    """A contradiction without the file's name and beyond three digits, so that those of many
    movies are one."""

    def shown(value) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    kind = Path(contradiction.source).suffix.lstrip(".").lower() or contradiction.source
    return (
        f"{contradiction.name}: {shown(contradiction.chosen)} is used, "
        f"the {kind} file says {shown(contradiction.other)}"
    )
