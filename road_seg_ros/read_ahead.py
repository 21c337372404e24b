"""Read frames in a thread, so that decoding or rendering does not disturb the rate of a demo."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

from road_seg_ros.frames import Frame

FRAMES_AHEAD = 100  # 140 MB of KITTI frames
STOP_CHECK_S = 0.1


class ReadAhead:
    """
    Iterates over frames that a thread has read before they are needed.

    What reading raises is raised where the frames are used; at the very first frame already here.
    """

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self._ready: queue.Queue[Frame | Exception | None] = queue.Queue(FRAMES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name='reader')
        self._thread.start()
        self._first = self._ready.get()
        if isinstance(self._first, Exception):
            raise self._first

    def __iter__(self) -> Iterator[Frame]:
        item, self._first = self._first, None
        while item is not None:
            if isinstance(item, Exception):
                raise item
            yield item
            item = self._ready.get()

    def close(self) -> None:
        """Stop reading. The thread is not left to the end of the program: OpenCV may be in it."""
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                if not self._put(frame):
                    return
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: Frame | Exception | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=STOP_CHECK_S)
            except queue.Full:
                continue
            return True
        return False
