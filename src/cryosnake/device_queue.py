"""A queue for the GPUs of one machine: who asked first gets the next free one.

A place in the queue is a file that its owner keeps locked; the lock ends with the process, however
it ends, and so does the place.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

#: A place that nobody holds is cleared away once it is so old: it may be about to be locked.
_STALE_S = 5.0


class Place:
    """A place in a queue, held for as long as the context of `queued` is open."""

    def __init__(self, path: Path):
        self.path = path

    def is_first(self) -> bool:
        """Whether nobody who still waits came before."""
        for other in sorted(self.path.parent.glob("*.place")):
            if other == self.path:
                return True
            if not _abandoned(other):
                return False
        return True  # cleared away by mistake: go on, the devices have locks of their own


@contextmanager
def queued(folder: Path) -> Iterator[Place]:
    """Stand in the queue of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    # the order is that of the clock; the rest of the name makes it unique
    path = folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.place"
    lock = FileLock(path)
    lock.acquire()
    try:
        yield Place(path)
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _abandoned(path: Path) -> bool:
    """Whether the owner of a place is gone; clears it away then."""
    try:
        place = os.open(path, os.O_RDWR)  # never made here, as a lock file would be
    except OSError:
        return True  # gone meanwhile
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(place).st_mtime < _STALE_S:
            return False
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(place)
