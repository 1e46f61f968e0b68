"""Passing signals on to a child and all that it started."""

import os
import signal
import subprocess
import threading

#: How long a child may take to end before it is told again, harder.
GRACE_S = 20.0
#: A closed terminal ends a run as Ctrl-C does; under `nohup` that signal stays ignored.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Forwarding:
    """Pass signals on to the process group of `child`, politely first, and insist after a while.

    It is entered before the child starts: a signal that has a handler here is back at its default
    in the child, even where this process was started with it ignored (`nohup`, `&` in a script).
    `received` are the signals so far. A second one is passed on harder at once.
    """

    def __init__(self):
        self.child: subprocess.Popen | None = None
        self.received: list[int] = []
        self._before: dict = {}
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> "Forwarding":
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_exception) -> None:
        for timer in self._timers:
            timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, _frame) -> None:
        self.received.append(number)
        self._send(signal.SIGINT if len(self.received) == 1 else signal.SIGTERM)
        if len(self.received) == 1:
            for delay_s, harder in ((GRACE_S, signal.SIGTERM), (2 * GRACE_S, signal.SIGKILL)):
                timer = threading.Timer(delay_s, self._send, (harder,))
                timer.daemon = True
                timer.start()
                self._timers.append(timer)

    def _send(self, number: int) -> None:
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, number)
