"""Orders on stdin, for a process that has to do something else while it waits for them."""

from __future__ import annotations

import queue
import sys
import threading


class Orders:
    """The lines of stdin, read by a thread. `ended` is set when no more will come."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, name='orders', daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self.ended.set()

    def take(self, timeout: float) -> str | None:
        """Return the next line, or None if none comes within that many seconds."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
