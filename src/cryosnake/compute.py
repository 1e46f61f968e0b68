"""Devices: which one a job computes on, and that no two jobs share a GPU.

A scheduler gives a job its GPUs through `CUDA_VISIBLE_DEVICES`. On one machine without a scheduler
the lease does it: a lock per GPU, held by the process that uses it and freed by its end, however
it ends.
"""

import contextlib
import getpass
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cryosnake.errors import SessionStopError


def use_threads(threads: int) -> None:
    """Compute with this many CPU threads."""
    torch.set_num_threads(threads)


@contextlib.contextmanager
def leased_device(
    choice: str, *, folder: Path | None = None, poll_s: float = 1.0
) -> Iterator[torch.device]:
    """The device to compute on, for as long as the context is open.

    Parameters
    ----------
    choice : `cpu`; `cuda`; or `auto`, a GPU where the process sees one, else the CPU.
    folder : where the locks of the GPUs lie; by default one a user in the machine's temporary
        folder (a GPU belongs to a machine, not to a session).
    poll_s : how often a free GPU is looked for, when all are leased.

    Raises
    ------
    SessionStopError : `cuda` is asked for and there is no GPU.
    """
    count = 0 if choice == "cpu" else torch.cuda.device_count()
    if count == 0:
        if choice == "cuda":
            raise SessionStopError("compute.device = cuda, but this job sees no GPU")
        yield torch.device("cpu")
        return
    folder = folder or Path(tempfile.gettempdir()) / f"cryosnake-gpus-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{gpu_name(index)}.lock") for index in range(count)]
    while True:
        for index, lock in enumerate(locks):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                torch.cuda.set_device(index)
                yield torch.device("cuda", index)
            finally:
                lock.release()
            return
        time.sleep(poll_s)


def device_number(device: torch.device | str) -> str | None:
    """A GPU's number as other programs take it; None for the CPU."""
    device = torch.device(device)
    return str(device.index or 0) if device.type == "cuda" else None


def gpu_name(index: int) -> str:
    """A name of the GPU that is the same in every process, whichever GPUs each one sees."""
    return str(torch.cuda.get_device_properties(index).uuid)
