"""A thread per core, each computing in one thread.

The operations of motion correction are many and short. Shared between threads one by one they
spend their time at barriers, all the more when other jobs use the same cores; frames and blocks
shared between threads do not. Results do not depend on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


class Workers:
    """Runs functions on as many threads as there are cores to use; see `workers`."""

    def __init__(self, pool: ThreadPoolExecutor | None, count: int):
        self._pool = pool
        self.count = count

    def each(self, function: Callable, items: Iterable) -> list:
        """Call `function` with every item; results in the order of the items. Errors are raised."""
        if self._pool is None:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def ahead(self, function: Callable, items: Iterable) -> Iterator:
        """Like `each`, but takes the next item only when a thread is free for it."""
        if self._pool is None:
            yield from map(function, items)
            return
        waiting = []
        for item in items:
            if len(waiting) == self.count:
                yield waiting.pop(0).result()
            waiting.append(self._pool.submit(function, item))
        for one in waiting:
            yield one.result()


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """Workers for a device: `torch.get_num_threads()` threads on a CPU, the caller's on a GPU.
    Meanwhile torch itself uses one thread."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield Workers(None, 1)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Workers(pool, threads)
    finally:
        torch.set_num_threads(threads)
