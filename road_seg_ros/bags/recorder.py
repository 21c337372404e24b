"""Keep what the node sends back, as pictures and a video."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros.image_files import for_opencv, write_image

VIDEO, SHEET = 'overlay.mp4', 'contact_sheet.png'
KEPT = (VIDEO, SHEET, 'report.json')  # beside the masks
MARK = '.road_seg_demo'  # beside them too, with the names of the masks: they may be replaced
SHEET_COLUMNS, SHEET_ROWS = 3, 5
THUMBNAIL_WIDTH = 414
MOST_PIXELS = 8190  # to a side of a video: MPEG-4 has 13 bits for it


class RecorderError(RuntimeError):
    """A picture or video that could not be written."""


class Video:
    """An mp4 of pictures (uint8 (H, W, 3) BGR); all are brought to the size of the first."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        # MPEG-4 counts in parts of 1 / 65535 s; OpenCV refuses what needs finer ones.
        self._rate = min(max(0.01, round(rate, 2 if rate < 600 else 0)), 65535.0)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def add(self, picture: np.ndarray) -> None:
        """Append a picture. OSError if no video can be written."""
        if self._writer is None:
            height, width = picture.shape[:2]
            # 4:2:0 video: even sides
            scale = min(1.0, MOST_PIXELS / max(height, width))
            sides = (int(scale * side) // 2 * 2 for side in (width, height))
            self._size = tuple(max(2, side) for side in sides)
            fourcc = cv2.VideoWriter_fourcc(*'mp4v')
            path = for_opencv(self._path)
            self._writer = cv2.VideoWriter(path, fourcc, self._rate, self._size)
            if not self._writer.isOpened():
                raise OSError(f'OpenCV cannot write the video {self._path.name}')
        # A frame of another size would be left out silently.
        self._writer.write(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA))

    def close(self) -> None:
        """Finish the file; there is none without a picture."""
        if self._writer is not None:
            self._writer.release()


class Recorder:
    """
    Writes overlays and masks from a thread of its own, so that receiving them never waits.

    out: a new folder, or one with a recording, which is replaced; RecorderError if it has masks
    of another origin.
    """

    def __init__(self, out: Path, rate: float) -> None:
        self._out = out
        self._video = Video(out / VIDEO, rate)
        self._thumbnails: list[np.ndarray] = []
        self._every, self._count = 1, 0
        self._items: queue.Queue[tuple[str, str, np.ndarray] | None] = queue.Queue()
        self._error: Exception | None = None
        _make_room(out)
        # A name a line, also of a recording that is killed.
        self._made = open(out / MARK, 'w', 1, encoding='utf-8', errors='surrogateescape')
        # A daemon: an interrupt may come before anyone is there to close this.
        self._thread = threading.Thread(target=self._run, name='recorder', daemon=True)
        self._thread.start()

    def add(self, kind: str, name: str, pixels: np.ndarray) -> None:
        """Keep a `mask` (uint8 (H, W)) or an `overlay` (uint8 (H, W, 3) BGR) of that name."""
        self._items.put((kind, name, pixels))

    def close(self) -> None:
        """Finish the files. RecorderError if one could not be written."""
        self._items.put(None)
        self._thread.join()
        self._made.close()
        if self._error is not None:
            raise RecorderError(f'cannot write to {self._out}: {self._error}') from self._error
        self._video.close()
        if self._thumbnails:
            try:
                write_image(self._out / SHEET, contact_sheet(self._thumbnails))
            except OSError as error:
                raise RecorderError(f'cannot write to {self._out}: {error}') from error

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                self._write(*item)
            except Exception as error:  # raised by close, in the caller's thread
                self._error = self._error or error

    def _write(self, kind: str, name: str, pixels: np.ndarray) -> None:
        if kind == 'overlay':
            self._add_overlay(pixels)
        else:
            print(f'{name}.png', file=self._made)
            write_image(self._out / 'masks' / f'{name}.png', pixels)

    def _add_overlay(self, overlay: np.ndarray) -> None:
        self._video.add(overlay)
        height, width = overlay.shape[:2]
        if self._count % self._every == 0:
            size = (THUMBNAIL_WIDTH, max(1, round(height * THUMBNAIL_WIDTH / width)))
            self._thumbnails.append(cv2.resize(overlay, size, interpolation=cv2.INTER_AREA))
        self._count += 1
        if len(self._thumbnails) > 4 * SHEET_COLUMNS * SHEET_ROWS:  # thin out a long recording
            self._thumbnails = self._thumbnails[::2]
            self._every *= 2


def _make_room(out: Path) -> None:
    """Remove what a recording before has left. RecorderError if anything is not of one."""
    masks, mark = out / 'masks', out / MARK
    pictures = list(masks.glob('*.png'))
    there = [*pictures, *(out / name for name in KEPT if (out / name).exists())]
    foreign = there
    if mark.exists():
        made = mark.read_text(encoding='utf-8', errors='surrogateescape').splitlines()
        foreign = [picture for picture in pictures if made and picture.name not in made]
    if foreign:
        raise RecorderError(
            f'{foreign[0]} is there and of no recording; delete it or choose another folder'
        )
    masks.mkdir(parents=True, exist_ok=True)
    for old in there:
        old.unlink()


def contact_sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures (uint8 BGR, any sizes) evenly picked and laid out in a grid."""
    count = min(len(pictures), SHEET_COLUMNS * SHEET_ROWS)
    picked = [pictures[round(i)] for i in np.linspace(0, len(pictures) - 1, count)]
    height, width = picked[0].shape[:2]
    tiles = [cv2.resize(picture, (width, height)) for picture in picked]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[i : i + SHEET_COLUMNS]) for i in range(0, len(tiles), SHEET_COLUMNS)]
    return np.vstack(rows)
