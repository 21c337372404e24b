"""Read in a thread, so that decoding, rendering or the disk does not disturb a rate."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar('Item')


class ReadAhead(Generic[Item]):
    """
    Iterates over items that a thread has read before they are needed.

    No more are read while those that wait have a summed size of `capacity` or more. What reading
    raises is raised where the items are used; at the very first item already here.
    """

    def __init__(
        self,
        items: Iterable[Item],
        capacity: int,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._items = items
        self._capacity = capacity
        self._size = size
        self._ready: deque[Item] = deque()
        self._waiting = 0  # the summed size of what is ready
        self._error: Exception | None = None
        self._ended = False  # there is nothing more to read
        self._stopped = False
        self._changed = threading.Condition()
        # A daemon: an interrupt may come before anyone is there to close this.
        self._thread = threading.Thread(target=self._read, name='reader', daemon=True)
        self._thread.start()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
        except KeyboardInterrupt:
            self.close()
            raise
        if self._error is not None and not self._ready:
            raise self._error

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._waiting -= self._size(item)
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading. The thread is not left to the end of the program: OpenCV may be in it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _read(self) -> None:
        error = None
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._waiting < self._capacity)
                    if self._stopped:
                        return
                    self._ready.append(item)
                    self._waiting += self._size(item)
                    self._changed.notify_all()
        except Exception as raised:
            error = raised
        finally:
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()
