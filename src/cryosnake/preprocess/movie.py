"""One movie, from the file to a judged micrograph: ties the rooms of stage 1 together."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cryosnake.acquisition import Facts, check_frame_count, find_metadata, merge
from cryosnake.config.model import AcquisitionConfig, Config
from cryosnake.ctf_fit import CtfFit, draw_ctf
from cryosnake.curation import (
    COMPUTED,
    FLAG_COLUMNS,
    curate_micrograph,
    dose_counts_per_angst2,
    movie_columns,
)
from cryosnake.decisions import Decision
from cryosnake.fourier import bin_image, good_size
from cryosnake.images import stretched, write_mrc, write_png
from cryosnake.motion import MotionResult, correct_motion, write_motion_star
from cryosnake.movies import Movie, check_frame, open_movie
from cryosnake.no_ctf import NO_CTF
from cryosnake.preprocess.columns import acquisition_notes, fact_columns
from cryosnake.preprocess.detector import Detector
from cryosnake.preprocess.journal import MovieResult
from cryosnake.preprocess.outcome import processed_or_rejected
from cryosnake.preprocess.transfer import WITHOUT_CTF, LazyCtf

THUMBNAIL_PX = 512


def open_configured(path: Path, config: AcquisitionConfig, *, threads: int = 2) -> Movie:
    """Open a movie as the configuration says; EER with the dose that the metadata tell."""
    total_dose = None
    if path.suffix.lower() == ".eer":
        total_dose = find_metadata(path).total_dose_e_per_angst2
    return open_movie(
        path,
        eer_fractions=config.eer_fractions,
        eer_fraction_dose_e_per_angst2=config.eer_fraction_dose_e_per_angst2,
        eer_total_dose_e_per_angst2=total_dose,
        eer_upsampling=config.eer_upsampling,
        threads=threads,
    )


def preprocess_movie(
    entry: dict,
    config: Config,
    *,
    session: Path,
    detector: Detector,
    device: torch.device,
) -> MovieResult:
    """Correct, fit and judge one movie, and write its files.

    Parameters
    ----------
    entry : the movie's row of its batch.
    session : the session's folder; all paths in tables are relative to it or absolute.
    detector : gives the gain and the bad pixels.

    Returns
    -------
    MovieResult : always, whatever is wrong with the movie: then with `csnPassInput` 0, and the
        reason in words.

    Raises
    ------
    OSError : the disk is full (or over quota): a matter of the machine, not of the movie.
    """
    session = Path(session)

    def process(row: dict, subject: str) -> MovieResult:
        return _processed(row, subject, config, session, detector, device)

    return processed_or_rejected(entry, process)


def _processed(
    row: dict,
    subject: str,
    config: Config,
    session: Path,
    detector: Detector,
    device: torch.device,
) -> MovieResult:
    path = session / row["rlnMicrographMovieName"]
    acquisition = config.acquisition
    with open_configured(path, acquisition, threads=config.compute.threads) as movie:
        found = _with_eer_dose(find_metadata(path, info=movie.info), movie)
        facts, contradictions = merge(acquisition, found)
        check_frame_count(found, movie.info)
        notes = acquisition_notes(found, contradictions)
        row |= fact_columns(facts, acquisition)
        reference = detector.reference(movie.info)
        motion = correct_motion(
            _checked(movie),
            movie.info.frames,
            movie.info.shape,
            reference.corrector,
            pixel_size_angst=facts.pixel_size_angst,
            voltage_kv=facts.voltage_kv,
            dose_e_per_angst2_per_frame=facts.dose_e_per_angst2_per_frame,
            pre_exposure_e_per_angst2=acquisition.pre_exposure_e_per_angst2,
            super_resolution=acquisition.super_resolution,
            config=config.motion,
            device=device,
        )
    row |= _motion_columns(motion)
    row["csnDose_counts_per_angst2"] = dose_counts_per_angst2(
        motion.frame_mean, facts.pixel_size_angst
    )
    # on the plain sum: exposure weights have taken the fine rings out of the other one
    ctf = LazyCtf(motion.plain, motion.pixel_size_angst, facts, config, device)
    started = time.perf_counter()
    aligned = motion.problem is None
    verdicts = curate_micrograph(
        motion.plain,
        pixel_size_angst=motion.pixel_size_angst,
        drift_max_angst=motion.drift_max_angst if aligned else math.nan,
        drift_path_angst=motion.drift_path_angst if aligned else math.nan,
        ctf=ctf,
        config=config.curation,
        gain=reference.gain if acquisition.super_resolution == 1 else None,
        shifts_px=motion.shifts_px,
        filters=COMPUTED if config.ctf.fit else WITHOUT_CTF,
    )
    row["csnCuration_s"] = time.perf_counter() - started - ctf.seconds
    row |= ctf.columns() if config.ctf.fit else NO_CTF
    row |= movie_columns(verdicts, config.curation)
    row[FLAG_COLUMNS["input"]] = 1
    decisions = [verdict.decision(subject) for verdict in verdicts]
    if not aligned:
        decisions.append(
            Decision(subject, "motion", "fail", motion.problem, "an alignment that can be trusted")
        )
    files = _write(row, motion, ctf.fit, movie.info.shape, config, session)
    return MovieResult(row, decisions, notes, files)


def _checked(movie: Movie) -> Iterator[np.ndarray]:
    for index, frame in enumerate(movie.frames()):
        check_frame(frame, index, movie.info.path)
        yield frame


def _with_eer_dose(found: Facts, movie: Movie) -> Facts:
    """The dose of one fraction of an EER movie, where just that of the whole movie is known."""
    total = found.total_dose_e_per_angst2 or movie.info.total_dose_e_per_angst2
    if movie.info.format != "eer" or total is None:
        return found
    if found.dose_e_per_angst2_per_frame is not None:
        return found
    part = movie.info.raw_frames_per_fraction / movie.info.raw_frames
    source = found.source | {"dose_e_per_angst2_per_frame": "the movie's total dose"}
    return dataclasses.replace(found, dose_e_per_angst2_per_frame=total * part, source=source)


def _motion_columns(motion: MotionResult) -> dict:
    aligned = motion.problem is None
    return {
        "rlnMicrographPixelSize": motion.pixel_size_angst,
        "rlnAccumMotionTotal": motion.accumulated_total_angst if aligned else math.nan,
        "rlnAccumMotionEarly": motion.accumulated_early_angst if aligned else math.nan,
        "rlnAccumMotionLate": motion.accumulated_late_angst if aligned else math.nan,
        "csnDriftMax_angst": motion.drift_max_angst if aligned else math.nan,
        "csnDriftPath_angst": motion.drift_path_angst if aligned else math.nan,
        "csnLocalMotionRms_angst": motion.local_rms_angst,
        "csnMotion_s": motion.seconds,
    }


def _write(
    row: dict,
    motion: MotionResult,
    fit: CtfFit | None,
    frame_shape: tuple[int, int],
    config: Config,
    session: Path,
) -> list[str]:
    """Write the movie's files; their paths relative to the session are returned."""
    stem = row["rlnMicrographName"].removesuffix(".mrc")
    kind = np.float16 if config.motion.output_float16 else np.float32
    files = {"micrograph": f"{stem}.mrc", "motion": f"{stem}.star", "picture": f"{stem}_thumb.png"}
    write_mrc(
        session / files["micrograph"], motion.dose_weighted.astype(kind), motion.pixel_size_angst
    )
    if config.motion.save_plain_sum:
        files["plain"] = f"{stem}_noDW.mrc"
        write_mrc(session / files["plain"], motion.plain.astype(kind), motion.pixel_size_angst)
    write_motion_star(
        session / files["motion"],
        motion,
        row["rlnMicrographMovieName"],
        frame_shape=frame_shape,
        frame_pixel_size_angst=row["rlnMicrographOriginalPixelSize"],
        voltage_kv=row["rlnVoltage"],
        gain_name=config.acquisition.gain,
    )
    write_png(session / files["picture"], thumbnail(motion.dose_weighted))
    if fit is not None:
        files["ctf"] = f"{stem}_ctf.png"
        write_png(session / files["ctf"], draw_ctf(fit))
    row["rlnMicrographMetadata"] = files["motion"]
    return list(files.values())


def thumbnail(image: np.ndarray, side_px: int = THUMBNAIL_PX) -> np.ndarray:
    """A small grey picture (uint8) of an (H, W) micrograph."""
    scale = min(1.0, side_px / max(image.shape))
    shape = tuple(good_size(max(2, int(side * scale))) for side in image.shape)
    small = bin_image(torch.as_tensor(image, dtype=torch.float32), shape)
    return stretched(small.numpy())
