"""Which devices this process has leased, and for how long: what the record of a job tells.

It stands apart from `compute` so that a job that computes nothing need not load PyTorch.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Lease:
    """A device that this process held.

    Parameters
    ----------
    device : `cpu`, or `cuda:0`.
    waited_s : how long was waited until it was free.
    taken_s, given_back_s : when, by the monotonic clock; None: it is still held.
    """

    device: str
    waited_s: float
    taken_s: float
    given_back_s: float | None = None

    @property
    def held_s(self) -> float:
        """How long it was held, by now where it still is."""
        end_s = time.monotonic() if self.given_back_s is None else self.given_back_s
        return end_s - self.taken_s


_leases: list[Lease] = []


def leases() -> list[Lease]:
    """The devices that this process has leased so far, in that order."""
    return list(_leases)


@contextmanager
def noted(device: str, waited_s: float = 0.0) -> Iterator[None]:
    """Note that a device is held for as long as the context is open."""
    lease = Lease(device, waited_s, time.monotonic())
    _leases.append(lease)
    try:
        yield
    finally:
        lease.given_back_s = time.monotonic()
