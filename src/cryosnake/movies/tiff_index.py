"""The directories of a TIFF file, read strictly.

General TIFF libraries stop quietly at a directory or strip that lies beyond the end of the file, so
a truncated movie looks like a shorter one. Here every directory and every strip must be there.
Format: TIFF Revision 6.0 (1992), BigTIFF, and for EER the tags of compression 65002.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cryosnake.errors import BadInputError

MAX_PAGES = 200_000
_INTEGER_TYPES = {
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    18: "u8",
}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_ROWS_PER_STRIP, _OFFSETS, _COUNTS = 278, 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_EER_BITS = (65007, 65008, 65009)
_WANTED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS_PER_STRIP, _OFFSETS, _COUNTS,
    _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, *_EER_BITS,
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A directory: one frame. `offsets` and `counts` are of its strips or tiles, in bytes."""

    width_px: int
    height_px: int
    compression: int
    samples: int
    offsets: np.ndarray
    counts: np.ndarray
    eer_bits: tuple[int, int, int] | None


def read_pages(stream: BinaryIO, size: int, path: Path) -> list[Page]:
    """Read all directories of a TIFF or BigTIFF file of `size` bytes.

    Raises
    ------
    BadInputError : not TIFF; a directory, a tag or a strip that is missing or lies beyond the end
        of the file.
    """
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 4 else None
    if version not in (42, 43):
        raise BadInputError(path, f"begins with {head[:8]!r}", "a TIFF file")
    big = version == 43
    pointer = f"{order}{'Q' if big else 'I'}"
    start = 8 if big else 4
    if len(head) < start + struct.calcsize(pointer):
        raise BadInputError(path, f"is truncated in its header ({size} bytes)", "a TIFF file")
    (offset,) = struct.unpack_from(pointer, head, start)
    pages: list[Page] = []
    seen = set()
    while offset:
        if offset in seen or len(pages) >= MAX_PAGES:
            raise BadInputError(path, f"directory {len(pages)} is in a loop", "a chain that ends")
        seen.add(offset)
        page, offset = _read_page(stream, size, path, len(pages), offset, order, big)
        pages.append(page)
    if not pages:
        raise BadInputError(path, "has no image directory", "at least one frame")
    return pages


def _read_page(stream, size, path, index, offset, order, big) -> tuple[Page, int]:
    count_format, entry_format, pointer = (
        (f"{order}Q", f"{order}HHQ8s", f"{order}Q")
        if big
        else (f"{order}H", f"{order}HHI4s", f"{order}I")
    )

    def take(position: int, length: int) -> bytes:
        if position < 8 or position + length > size:
            raise BadInputError(
                path,
                f"is truncated: the directory of frame {index} needs byte {position + length}, "
                f"the file has {size}",
                "a complete file",
            )
        stream.seek(position)
        data = stream.read(length)
        if len(data) != length:
            raise BadInputError(path, f"ends while frame {index} is read", "a complete file")
        return data

    (entries,) = struct.unpack(count_format, take(offset, struct.calcsize(count_format)))
    if not 1 <= entries <= 4096:
        raise BadInputError(path, f"directory {index} has {entries} tags", "1 to 4096")
    position = offset + struct.calcsize(count_format)
    length = entries * struct.calcsize(entry_format)
    block = take(position, length + struct.calcsize(pointer))
    tags = {}
    for tag, kind, count, value in struct.iter_unpack(entry_format, block[:length]):
        if tag not in _WANTED or kind not in _INTEGER_TYPES:
            continue
        dtype = np.dtype(f"{order}{_INTEGER_TYPES[kind]}")
        total = count * dtype.itemsize
        if total > len(value):
            value = take(struct.unpack(pointer, value)[0], total)
        tags[tag] = np.frombuffer(value[:total], dtype).astype(np.int64)
    (following,) = struct.unpack_from(pointer, block, length)
    return _page(path, index, size, tags), following


def _page(path: Path, index: int, size: int, tags: dict) -> Page:
    def one(tag: int, name: str, default: int | None = None) -> int:
        if tag in tags and tags[tag].size:
            return int(tags[tag][0])
        if default is None:
            raise BadInputError(path, f"frame {index} has no {name} tag", "a TIFF image")
        return default

    width, height = one(_WIDTH, "width"), one(_HEIGHT, "height")
    if width < 1 or height < 1:
        raise BadInputError(path, f"frame {index} is {width} x {height} pixels", "an image")
    samples = one(_SAMPLES, "samples", 1)
    if _TILE_OFFSETS in tags:
        tile_width, tile_height = one(_TILE_WIDTH, "tile width"), one(_TILE_HEIGHT, "tile height")
        chunks = -(-width // max(1, tile_width)) * -(-height // max(1, tile_height))
        offsets, counts = tags[_TILE_OFFSETS], tags.get(_TILE_COUNTS)
    else:
        rows = one(_ROWS_PER_STRIP, "rows per strip", height)
        chunks = -(-height // rows) if rows > 0 else 0
        offsets, counts = tags.get(_OFFSETS), tags.get(_COUNTS)
    if offsets is None or counts is None or not (offsets.size == counts.size >= chunks > 0):
        raise BadInputError(path, f"frame {index} has no complete list of strips", f"{chunks}")
    if (counts <= 0).any():
        raise BadInputError(path, f"frame {index} has an empty strip", "data in every strip")
    end = int((offsets + counts).max())
    if end > size or (offsets < 8).any():
        raise BadInputError(
            path,
            f"is truncated: frame {index} ends at byte {end}, the file has {size}",
            "a complete file",
        )
    eer_bits = tuple(one(tag, "EER", d) for tag, d in zip(_EER_BITS, (7, 2, 2), strict=True))
    return Page(
        width, height, one(_COMPRESSION, "compression", 1), samples, offsets, counts, eer_bits
    )
