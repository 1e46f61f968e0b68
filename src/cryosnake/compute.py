"""Devices: which one a job computes on, and that no two jobs share a GPU.

A scheduler gives a job its GPUs through `CUDA_VISIBLE_DEVICES`. On one machine without a scheduler
the lease does it: a lock per GPU, held by the process that uses it and freed by its end, however
it ends. Jobs that wait, of one session or of several, get the next free GPU in turn.
"""

import contextlib
import getpass
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cryosnake.device_queue import queued
from cryosnake.errors import SessionStopError
from cryosnake.leases import noted


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
        with noted("cpu"):
            yield torch.device("cpu")
        return
    folder = folder or Path(tempfile.gettempdir()) / f"cryosnake-gpus-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    names = [gpu_name(index) for index in range(count)]
    asked_s = time.monotonic()
    index, lock = _next_free(folder, names, poll_s)
    try:
        torch.cuda.set_device(index)
        with noted(f"cuda:{index}", time.monotonic() - asked_s):
            yield torch.device("cuda", index)
    finally:
        lock.release()


def _next_free(folder: Path, names: list[str], poll_s: float) -> tuple[int, FileLock]:
    """Wait until one of some GPUs is free, and take it; who waits for the same ones, in turn."""
    locks = [FileLock(folder / f"{name}.lock") for name in names]
    queue = folder / ("queue-" + hashlib.sha1(" ".join(names).encode()).hexdigest()[:12])
    with queued(queue) as place:
        while True:
            for index, lock in enumerate(locks if place.is_first() else []):
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=0)
                    return index, lock
            time.sleep(poll_s)


def device_number(device: torch.device | str) -> str | None:
    """A GPU's number as other programs take it; None for the CPU."""
    device = torch.device(device)
    return str(device.index or 0) if device.type == "cuda" else None


def gpu_name(index: int) -> str:
    """A name of the GPU that is the same in every process, whichever GPUs each one sees."""
    return str(torch.cuda.get_device_properties(index).uuid)
