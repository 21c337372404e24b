"""The end of a program by SIGINT or SIGTERM, in its own time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

LONGEST_WAIT_S = 86400.0  # select takes no more than some 10**9
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
        """Wait that long, a day at most, or until it is set. Returns whether it is."""
        select.select([self._told], [], [], min(max(0.0, seconds), LONGEST_WAIT_S))
        return self._set


def interrupt_on_sigterm() -> None:
    """Have SIGTERM raise KeyboardInterrupt too, so that what was started is ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextlib.contextmanager
def stop_held_back() -> Iterator[None]:
    """
    Have SIGINT and SIGTERM wait for the end of the block, and raise KeyboardInterrupt there.

    For a block that starts a process: whoever is interrupted knows what to end. Python's handlers
    are put back; those that rclpy.init sets by default would be lost.
    """
    came = []
    handlers = {
        number: signal.signal(number, lambda *_: came.append(True)) for number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
