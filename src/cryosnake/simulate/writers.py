"""Movies and gain references as files."""

import math
from pathlib import Path

import mrcfile
import numpy as np
import tifffile

from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.eer import write_eer
from cryosnake.simulate.movie import SimulatedMovie

SUFFIXES = {"tiff": ".tiff", "mrc": ".mrc", "eer": ".eer"}
_COMPRESSIONS = {"lzw": "lzw", "zip": "zlib", "none": None}
_EER_MEAN_EVENTS = 0.08  # a pixel and camera frame; half of it is lost to coincidence
_TURN_BACK = {
    "none": lambda a: a,
    "flip_y": lambda a: a[::-1],
    "flip_x": lambda a: a[:, ::-1],
    "rotate_180": lambda a: a[::-1, ::-1],
    "rotate_90": lambda a: np.rot90(a, -1),
    "rotate_270": lambda a: np.rot90(a, 1),
    "transpose": lambda a: a.T,
    "anti_transpose": lambda a: a[::-1, ::-1].T,
}


def camera_frames_per_frame(config: SimulationConfig) -> int:
    """EER camera frames that a frame of the simulation is spread over."""
    if config.eer_frames_per_frame is not None:
        return config.eer_frames_per_frame
    counts = config.dose_e_per_angst2_per_frame * config.pixel_size_angst**2
    return max(1, math.ceil(counts / _EER_MEAN_EVENTS))


def write_movie(movie: SimulatedMovie, path: Path) -> None:
    """Write a movie in the format of its configuration, frame by frame; no date, no name of a
    program goes into it, so that the same movie gives the same bytes.

    TIFF rows are turned (the first is the top), MRC and EER rows are not, as RELION reads them.
    """
    config = movie.config
    match config.format:
        case "tiff":
            _write_tiff(movie, path)
        case "mrc":
            _write_mrc(movie, path)
        case "eer":
            write_eer(
                path,
                movie.frames(),
                n_frames=config.frames,
                shape=config.shape,
                camera_frames_per_frame=camera_frames_per_frame(config),
                pixel_size_angst=config.pixel_size_angst,
                total_dose_e_per_angst2=config.frames * config.dose_e_per_angst2_per_frame,
                rng=np.random.default_rng([config.seed, movie.truth.index, 4]),
            )


def _write_tiff(movie: SimulatedMovie, path: Path) -> None:
    config = movie.config
    per_cm = 1e8 / config.pixel_size_angst
    size = config.frames * config.height_px * config.width_px * movie.dtype.itemsize
    with tifffile.TiffWriter(path, bigtiff=size > 3 << 30) as tiff:
        for frame in movie.frames():
            tiff.write(
                np.ascontiguousarray(frame[::-1]),
                photometric="minisblack",
                compression=_COMPRESSIONS[config.tiff_compression],
                rowsperstrip=config.height_px,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
                contiguous=False,
            )


def _write_mrc(movie: SimulatedMovie, path: Path) -> None:
    config = movie.config
    shape = (config.frames, *config.shape)
    with mrcfile.new_mmap(path, shape, mrc_mode=6, overwrite=True) as mrc:
        for index, frame in enumerate(movie.frames()):
            mrc.data[index] = frame
        mrc.set_image_stack()
        mrc.voxel_size = config.pixel_size_angst
        mrc.header.label[:] = b""  # mrcfile's label has the date
        mrc.header.nlabl = 0
        mrc.update_header_stats()


def write_gain(gain: np.ndarray, config: SimulationConfig, folder: Path) -> Path | None:
    """Write the gain reference (H, W; multiplicative, row 0 bottom) as the configuration asks:
    `gain.mrc`, `gain.tiff` or `gain.gain`; returns its path, None where none is wanted."""
    if config.gain_format == "none":
        return None
    stored = np.ascontiguousarray(_TURN_BACK[config.gain_orientation](gain))
    if config.format == "eer" and config.gain_format != "gain":
        stored = np.divide(1.0, stored, out=np.zeros_like(stored), where=stored > 0)
    path = folder / f"gain.{config.gain_format}"
    if config.gain_format == "mrc":
        with mrcfile.new(path, overwrite=True) as mrc:
            mrc.set_data(stored)
            mrc.voxel_size = config.pixel_size_angst
            mrc.header.label[:] = b""
            mrc.header.nlabl = 0
    else:
        rows = stored if config.gain_format == "gain" else stored[::-1]
        tifffile.imwrite(
            path,
            np.ascontiguousarray(rows),
            photometric="minisblack",
            metadata=None,
            software=False,
        )
    return path
