"""Stacks of images that grow while they are written, and are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryosnake.errors import BadInputError
from cryosnake.files import written_whole


class StackWriter:
    """Appends square images to an MRC stack; see `written_stack`."""

    def __init__(self, open_file, *, float16: bool):
        self._open_file = open_file
        self._dtype = np.dtype("<f2" if float16 else "<f4")
        self._stream = None
        self._side = 0
        self.count = 0
        self._sum = self._squares = 0.0
        self._low, self._high = np.inf, -np.inf

    def append(self, images: np.ndarray) -> None:
        """Write images (n, s, s) behind those already written."""
        if len(images) == 0:
            return
        if self._stream is None:
            self._side = images.shape[-1]
            self._stream = self._open_file()
            self._stream.write(bytes(HEADER_DTYPE.itemsize))
        if images.shape[1:] != (self._side, self._side):
            raise ValueError(f"{images.shape = } in a stack of {self._side} px a side")
        stored = np.ascontiguousarray(images, self._dtype)
        self._stream.write(stored.data)
        self.count += len(images)
        self._sum += float(images.sum(dtype=np.float64))
        self._squares += float(np.vdot(images, images))
        self._low = min(self._low, float(stored.min()))
        self._high = max(self._high, float(stored.max()))

    def finish(self, pixel_size_angst: float) -> None:
        """Write the header, now that the number of images is known."""
        side, pixels = self._side, self.count * self._side**2
        header = np.zeros((), HEADER_DTYPE).view(np.recarray)
        header.nx = header.ny = header.mx = header.my = side
        header.nz, header.mz = self.count, 1  # a stack of images, not a volume
        header.mode = 12 if self._dtype.itemsize == 2 else 2
        header.cella = (side * pixel_size_angst, side * pixel_size_angst, pixel_size_angst)
        header.cellb = (90.0, 90.0, 90.0)
        header.mapc, header.mapr, header.maps = 1, 2, 3
        header.ispg = 0
        header.dmin, header.dmax = self._low, self._high
        header.dmean = self._sum / pixels
        header.rms = np.sqrt(max(0.0, self._squares / pixels - float(header.dmean) ** 2))
        header.nversion = 20141
        header.map = b"MAP "
        header.machst = [0x44, 0x44, 0, 0]
        self._stream.seek(0)
        self._stream.write(header.tobytes())


@contextlib.contextmanager
def written_stack(
    path: str | os.PathLike, pixel_size_angst: float, *, float16: bool = False
) -> Iterator[StackWriter]:
    """Give a writer; when the block ends well, the stack is put in its place.

    MRC has no stack without images: where none was appended there is no file afterwards, not even
    one from before.

    Examples
    --------
    >>> with written_stack("particles.mrcs", 3.54) as stack:
    ...     stack.append(images)
    """
    path = Path(path)
    with contextlib.ExitStack() as files:

        def open_file():
            return files.enter_context(open(files.enter_context(written_whole(path)), "wb"))

        writer = StackWriter(open_file, float16=float16)
        yield writer
        if writer.count:
            writer.finish(pixel_size_angst)
    if not writer.count:
        path.unlink(missing_ok=True)


def read_images(path: str | os.PathLike, numbers: np.ndarray) -> np.ndarray:
    """Some images (n, s, s) of a stack, as float32, without reading the others.

    Parameters
    ----------
    numbers : (n,) counted from 1, as in `rlnImageName`.

    Raises
    ------
    BadInputError : missing, not a stack, or without an image of such a number.
    """
    try:
        with mrcfile.mmap(path, mode="r") as mrc:
            if mrc.data.ndim != 3:
                raise BadInputError(path, f"data of shape {mrc.data.shape}", "a stack of images")
            numbers = np.asarray(numbers, np.int64)
            if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(mrc.data):
                raise BadInputError(
                    path,
                    f"images {numbers.min()} to {numbers.max()} are asked for",
                    f"1 to {len(mrc.data)}",
                )
            return mrc.data[numbers - 1].astype(np.float32)
    except (OSError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "an MRC stack") from error
