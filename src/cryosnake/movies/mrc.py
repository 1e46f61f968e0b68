"""MRC movies: modes 0, 1, 2, 6, 12 and packed 4-bit (101), read frame by frame.

Format: Cheng et al. 2015, J Struct Biol 192, 146; IMOD's extensions (unsigned bytes, 4-bit data)
as in https://bio3d.colorado.edu/imod/doc/mrc_format.txt.
"""

import struct
import threading
import warnings
from pathlib import Path

import mrcfile
import numpy as np

from cryosnake.errors import BadInputError
from cryosnake.movies.movie import (
    Movie,
    MovieInfo,
    bad_input,
    check_size,
    file_size,
    plausible_pixel_size_angst,
)

HEADER_BYTES = 1024
IMOD_STAMP = 1146047817
IMOD_SIGNED_BYTES = 1
IMOD_PACKED_4_BIT = 16
DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}


def open_mrc(path: Path, *, threads: int = 2) -> Movie:
    """Open an MRC movie or image.

    Raises
    ------
    BadInputError : not MRC, an unsupported mode, or another amount of data than the header says.
    """
    size = file_size(path)
    if size < HEADER_BYTES:
        raise BadInputError(path, f"has {size} bytes", f"an MRC header of {HEADER_BYTES} bytes")
    with bad_input(path, "has no readable MRC header"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # missing MAP or stamp: checked below
        with mrcfile.open(path, permissive=True, header_only=True) as mrc:
            header = mrc.header.copy()
            pixel_size = float(mrc.voxel_size.x) if header.mx > 0 else 0.0
    order = header.mode.dtype.byteorder
    mode, width, height, frames = (int(header[k]) for k in ("mode", "nx", "ny", "nz"))
    if mode not in DTYPES:
        raise BadInputError(path, f"MRC mode {mode}", f"one of {sorted(DTYPES)}")
    dtype = np.dtype(DTYPES[mode]).newbyteorder(order)
    packed = mode == 101
    with open(path, "rb") as stream:
        raw = stream.read(HEADER_BYTES)
    stamp, flags = struct.unpack_from(f"{'>' if order == '>' else '<'}2i", raw, 152)
    if mode == 0 and stamp == IMOD_STAMP:
        if flags & IMOD_PACKED_4_BIT:
            packed, width = True, 2 * width
        elif not flags & IMOD_SIGNED_BYTES:
            dtype = np.dtype("u1")
    check_size(path, frames, height, width)
    start = HEADER_BYTES + int(header.nsymbt)
    row_bytes = (width + 1) // 2 if packed else width * dtype.itemsize
    frame_bytes = height * row_bytes
    _check_length(path, size, start, frames, frame_bytes)

    stream = open(path, "rb")  # noqa: SIM115 - closed by Movie.close
    lock = threading.Lock()

    def read_frame(index: int) -> np.ndarray:
        buffer = np.empty(frame_bytes, np.uint8)
        with lock:
            stream.seek(start + index * frame_bytes)
            count = stream.readinto(buffer)
        if count != frame_bytes:
            raise BadInputError(
                path, f"frame {index} ends after {count} bytes", f"{frame_bytes} bytes"
            )
        if packed:
            return _unpacked(buffer.reshape(height, row_bytes), width)
        frame = buffer.view(dtype).reshape(height, width)
        return frame if dtype.isnative else frame.astype(dtype.newbyteorder("="))

    # 1.0 is what programs write that do not know the pixel size
    known = plausible_pixel_size_angst(pixel_size) if pixel_size != 1.0 else None
    info = MovieInfo(
        path=path,
        format="mrc",
        frames=frames,
        height_px=height,
        width_px=width,
        dtype=np.dtype(np.uint8) if packed else dtype.newbyteorder("="),
        pixel_size_angst=known,
        raw_frames=frames,
    )
    return Movie(info, read_frame, stream.close, threads=threads)


def _check_length(path: Path, size: int, start: int, frames: int, frame_bytes: int) -> None:
    expected = start + frames * frame_bytes
    if size < expected:
        whole = max(0, (size - start) // frame_bytes)
        raise BadInputError(
            path,
            f"is truncated: {size} bytes hold {whole} of {frames} frames",
            f"{expected} bytes, as its header says",
        )
    if size >= expected + frame_bytes:
        raise BadInputError(
            path,
            f"holds {(size - start) // frame_bytes} frames of data",
            f"{frames}, as its header says",
        )


def _unpacked(rows: np.ndarray, width: int) -> np.ndarray:
    """(H, W) uint8 from rows of bytes with two 4-bit pixels each, the first in the low bits."""
    pixels = np.empty((rows.shape[0], 2 * rows.shape[1]), np.uint8)
    np.bitwise_and(rows, 15, out=pixels[:, 0::2])
    np.right_shift(rows, 4, out=pixels[:, 1::2])
    return (
        pixels[:, :width] if width == pixels.shape[1] else np.ascontiguousarray(pixels[:, :width])
    )
