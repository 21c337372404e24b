"""The one-slot hand-over between the ROS callback and the inference thread."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Frame = TypeVar('Frame')


class LatestFrame(Generic[Frame]):
    """Holds the newest frame only: memory stays constant however fast frames come."""

    def __init__(self) -> None:
        self._condition = threading.Condition()  # of a lock that one thread may take twice
        self._frame: Frame | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called: whoever still works on a frame may forget its result."""
        return self._closed

    def put(self, frame: Frame) -> int:
        """Store a frame. Returns how many it overtook that were never taken: 0 or 1."""
        with self._condition:
            overtaken = self.clear()
            self._frame = frame
            self._condition.notify()
            return overtaken

    def take(self) -> Frame | None:
        """Wait for a frame and remove it. None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._frame is not None)
            frame, self._frame = self._frame, None
            return None if self._closed else frame

    def clear(self) -> int:
        """Forget a frame that waits. Returns how many there were: 0 or 1."""
        with self._condition:
            waited, self._frame = self._frame is not None, None
            return int(waited)

    def close(self) -> int:
        """Do as `clear` does, wake whoever waits, and let `take` return None from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            return self.clear()
