"""Writing EER: the electron events of a counting camera, run-length encoded.

Thermo Fisher's EER documentation 3.0, and Guo et al. 2020 (IUCrJ 7, 860): a BigTIFF with one
directory a camera frame, written here byte by byte because no package encodes EER. The events of a
frame, in the order of the pixels, are a stream of bits, least significant first: the number of
pixels skipped since the last event (7 bits), then the quarter of the pixel in y and x (2 bits
each). 127 means that 127 pixels are skipped and no event follows. A pixel has one event in a frame
at most.
"""

import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

COMPRESSION_7_BIT = 65001
_SKIP_BITS = 7
_EVENT_BITS = _SKIP_BITS + 4
_SKIP_MOST = 2**_SKIP_BITS - 1


def encode_events(pixels: np.ndarray, subpixels: np.ndarray, n_pixels: int) -> bytes:
    """Encode the events of one frame of `n_pixels` pixels.

    The run from the last event to the end of the frame is written too, so that a decoder stops
    there and not in the filling to whole 16-bit words.

    Parameters
    ----------
    pixels : (N,) flat pixel numbers (row times width plus column), strictly increasing.
    subpixels : (N,) 0 to 15, quarter in y times 4 plus quarter in x, as stored.
    """
    stops = np.append(pixels.astype(np.int64), n_pixels)
    gaps = np.diff(stops, prepend=-1) - 1
    jumps, skips = np.divmod(gaps, _SKIP_MOST)
    ends = np.cumsum(jumps * _SKIP_BITS + _EVENT_BITS)
    bits = np.ones(16 * -(-int(ends[-1]) // 16), np.uint8)  # jumps are ones throughout
    quarters = np.append(subpixels.astype(np.int64), 0)
    values = skips | (quarters >> 2) << _SKIP_BITS | (quarters & 3) << (_SKIP_BITS + 2)
    for bit in range(_EVENT_BITS):
        bits[ends - _EVENT_BITS + bit] = (values >> bit) & 1
    return np.packbits(bits, bitorder="little").tobytes()


def split_into_events(
    counts: np.ndarray, camera_frames: int, rng: np.random.Generator
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Spread the counts (H, W) of one frame over camera frames at random.

    Electrons that fall on the same pixel of the same camera frame are counted once, as a camera
    does. Yields (pixels, subpixels) a camera frame, for `encode_events`.
    """
    electrons = np.repeat(np.arange(counts.size), counts.ravel())
    when = rng.integers(0, camera_frames, len(electrons), dtype=np.int32)
    order = np.argsort(when, kind="stable")
    edges = np.searchsorted(when[order], np.arange(camera_frames + 1))
    for start, end in pairwise(edges):
        pixels = np.unique(electrons[order[start:end]])
        yield pixels, rng.integers(0, 16, len(pixels), dtype=np.uint8)


def write_eer(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    n_frames: int,
    shape: tuple[int, int],
    camera_frames_per_frame: int,
    pixel_size_angst: float,
    total_dose_e_per_angst2: float,
    rng: np.random.Generator,
) -> None:
    """Write an EER movie. Rows are written as they are: RELION does not turn EER.

    Parameters
    ----------
    frames : counts (H, W), each written as `camera_frames_per_frame` camera frames.
    """
    height, width = shape
    total = n_frames * camera_frames_per_frame
    metadata = _metadata(shape, total, pixel_size_angst, total_dose_e_per_angst2)
    with open(path, "wb") as stream:
        stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
        where = 16
        last_next = None
        for counts in frames:
            for pixels, subpixels in split_into_events(counts, camera_frames_per_frame, rng):
                encoded = encode_events(pixels, subpixels, height * width)
                directory = _directory(where, shape, len(encoded), metadata)
                stream.write(directory)
                last_next = where + len(directory) - len(metadata) - 8
                stream.write(encoded)
                stream.write(bytes(-len(encoded) % 8))
                where += len(directory) + len(encoded) + -len(encoded) % 8
                metadata = b""  # only in the first directory
        if last_next is not None:
            stream.seek(last_next)
            stream.write(struct.pack("<Q", 0))  # no directory follows


def _directory(where: int, shape: tuple[int, int], size: int, metadata: bytes) -> bytes:
    """A BigTIFF directory at byte `where`, then its metadata; the events follow at once, and the
    next directory after them, at a multiple of 8."""
    height, width = shape
    short, long8, undefined = 3, 16, 7
    n_tags = 9 + bool(metadata)
    length = 8 + 20 * n_tags + 8
    data = where + length + len(metadata)
    tags = [
        (256, long8, 1, width),
        (257, long8, 1, height),
        (258, short, 1, 1),
        (259, short, 1, COMPRESSION_7_BIT),
        (262, short, 1, 1),
        (273, long8, 1, data),
        (277, short, 1, 1),
        (278, long8, 1, height),
        (279, long8, 1, size),
    ]
    if metadata:
        tags.append((65001, undefined, len(metadata), where + length))
    entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
    following = data + size + -size % 8
    return struct.pack("<Q", n_tags) + entries + struct.pack("<Q", following) + metadata


def _metadata(
    shape: tuple[int, int], frames: int, pixel_size_angst: float, total_dose: float
) -> bytes:
    height, width = shape
    dose_per_pixel = total_dose * pixel_size_angst**2
    items = [
        ("acquisitionID", "", "simulated"),
        ("cameraName", "", "BM-Falcon"),
        ("commercialName", "", "Falcon 4"),
        ("exposureTime", "s", f"{frames / 250:.6f}"),
        ("meanDoseRate", "e/pixel/s", f"{dose_per_pixel / (frames / 250):.6f}"),
        ("numberOfFrames", "", str(frames)),
        ("sensorImageHeight", "pixel", str(height)),
        ("sensorImageWidth", "pixel", str(width)),
        ("sensorPixelSize.height", "m", f"{pixel_size_angst * 1e-10:.9e}"),
        ("sensorPixelSize.width", "m", f"{pixel_size_angst * 1e-10:.9e}"),
        ("totalDose", "e/pixel", f"{dose_per_pixel:.6f}"),
    ]
    lines = [f'  <item name="{n}" unit="{u}">{v}</item>' for n, u, v in items]
    text = ("<metadata>\n" + "\n".join(lines) + "\n</metadata>\n").encode()
    return text + b" " * (-len(text) % 8)
