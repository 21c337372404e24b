"""The end of a program by SIGINT or SIGTERM, in its own time."""

from __future__ import annotations

import os
import select
import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """
    Is set once, by a signal or by a call, and wakes whoever waits for it.

    Not a threading.Event: a signal handler that sets one while the main thread is about to wait
    for it would wait for itself.
    """

    def __init__(self) -> None:
        self._set = False
        self._told, self._tell = os.pipe()

    def on_signals(self) -> None:
        """Have SIGINT and SIGTERM set it, and do nothing else."""
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self.set())

    def set(self) -> None:
        """Wake whoever waits, now and later."""
        if not self._set:
            self._set = True
            os.write(self._tell, b'!')

    def is_set(self) -> bool:
        """Whether it is time to stop."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until it is set. Returns whether it is."""
        select.select([self._told], [], [], max(0.0, seconds))
        return self._set
