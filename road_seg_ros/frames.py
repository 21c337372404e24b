"""
Camera frames from wherever they are: a folder, a video, KITTI or a rosbag2.

`open_frames` looks at the path and picks the reader. Every reader yields frames one at a time, so
a long recording needs no more memory than a short one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros import synthetic
from road_seg_ros.bags import BAG_SUFFIXES, Bag, BagError, deserialize

DEFAULT_RATE_HZ = 10.0  # KITTI's, for recordings without timestamps
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


class SourceError(ValueError):
    """A source of frames that cannot be used; names it and says what would do."""


@dataclass(frozen=True)
class Frame:
    """One image. image: uint8 (H, W, 3) BGR; time: s, of the recording; name: for file names."""

    image: np.ndarray
    time: float
    name: str


@dataclass(frozen=True)
class Frames:
    """A recording: what it is, and its frames."""

    description: str
    frames: Iterator[Frame]


def open_frames(source: str | Path) -> Frames:
    """
    Open a source of frames.

    source: a folder of images, a KITTI Road folder, a KITTI raw drive (or a folder above it), a
    video, a rosbag2 folder or one of its .mcap or .db3 files, or a single image.
    SourceError says what is wrong with it; while reading, the frames raise it too.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise SourceError(f'{source} does not exist')
    if path.is_file():
        return _open_file(path)
    if (path / 'metadata.yaml').is_file() or list_files(path, BAG_SUFFIXES):
        return _open_bag(path)
    if (path / 'training' / 'image_2').is_dir():
        return _open_images(path / 'training' / 'image_2', 'KITTI Road')
    if drives := sorted(path.glob('**/image_02/data')):
        return _open_images(drives[0], 'KITTI raw')
    return _open_images(path, 'images')


def read_image(path: Path) -> np.ndarray | None:
    """Return the pixels of an image file, uint8 (H, W, 3) BGR, or None if it is not one."""
    data = np.fromfile(path, np.uint8)  # not cv2.imread, which prints a warning of its own
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None


def synthetic_frames(count: int, seed: int = 0) -> Frames:
    """Return a drive through a synthetic street, rendered as it is read."""

    def read() -> Iterator[Frame]:
        scenes = synthetic.drive(seed, count, rate=DEFAULT_RATE_HZ)
        for index, scene in enumerate(scenes):
            yield Frame(scene.image, index / DEFAULT_RATE_HZ, f'{index:06d}')

    return Frames(f'a synthetic drive of {count} frames', read())


def _open_file(path: Path) -> Frames:
    suffix = path.suffix.lower()
    if suffix in BAG_SUFFIXES:
        return _open_bag(path.parent if (path.parent / 'metadata.yaml').is_file() else path)
    if suffix in VIDEO_SUFFIXES:
        return _open_video(path)
    if suffix in IMAGE_SUFFIXES:
        return Frames(f'one image, {path.name}', _read_images([path], [0.0]))
    raise SourceError(
        f'{path} is not an image, video or bag; supported are '
        f'{", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES + BAG_SUFFIXES)}'
    )


def _open_images(folder: Path, kind: str) -> Frames:
    paths = list_files(folder, IMAGE_SUFFIXES)
    if not paths:
        raise SourceError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    return Frames(
        f'{kind}: {len(paths)} images of {folder}', _read_images(paths, _times(folder, paths))
    )


def _times(folder: Path, paths: list[Path]) -> list[float]:
    """Return the times of a KITTI raw drive (timestamps.txt), else those of a 10 Hz camera."""
    file = folder.parent / 'timestamps.txt'
    if folder.name == 'data' and file.is_file():
        lines = [line for line in file.read_text(encoding='utf-8').splitlines() if line.strip()]
        try:
            times = [_seconds(line) for line in lines]
        except ValueError as error:
            raise SourceError(f'{file} holds a line that is no time: {error}') from error
        if len(times) >= len(paths):
            return times
    return [index / DEFAULT_RATE_HZ for index in range(len(paths))]


def _seconds(line: str) -> float:
    """Turn `2011-09-26 13:02:25.964389445` into seconds since 1970."""
    whole, _, fraction = line.strip().partition('.')
    moment = datetime.strptime(whole, '%Y-%m-%d %H:%M:%S').replace(tzinfo=timezone.utc)
    return moment.timestamp() + float(f'0.{fraction or 0}')


def _read_images(paths: list[Path], times: list[float]) -> Iterator[Frame]:
    stems = Counter(path.stem for path in paths)
    for path, time in zip(paths, times, strict=False):  # timestamps may go on
        image = read_image(path)
        if image is None:
            raise SourceError(f'{path} cannot be decoded as an image')
        yield Frame(image, time, path.stem if stems[path.stem] == 1 else path.name)


def _open_video(path: Path) -> Frames:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f'{path} cannot be opened as a video')
    rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE_HZ

    def read() -> Iterator[Frame]:
        index = 0
        try:
            while True:
                good, image = capture.read()
                if not good:
                    break
                yield Frame(image, index / rate, f'{index:06d}')
                index += 1
        finally:
            capture.release()
        if not index:
            raise SourceError(f'{path} holds no frame that can be decoded')

    return Frames(f'video {path.name}, {rate:.1f} Hz', read())


def _open_bag(path: Path) -> Frames:
    from sensor_msgs.msg import CompressedImage, Image

    from road_seg_ros import image_msgs

    try:
        bag = Bag(path)
    except BagError as error:
        raise SourceError(str(error)) from error
    topics = [topic for topic in bag.topics if topic.type in IMAGE_TYPES]
    if not topics:
        there = ', '.join(map(str, bag.topics)) or 'no messages'
        bag.close()
        raise SourceError(f'{path} has no image topic; it holds {there}')
    topic = max(topics, key=lambda topic: topic.count)  # one camera: the one with most images

    def decode(data: bytes) -> np.ndarray:
        if topic.type == IMAGE_TYPES[0]:
            return image_msgs.image_to_bgr(deserialize(data, Image))
        return image_msgs.compressed_to_bgr(deserialize(data, CompressedImage))

    def read() -> Iterator[Frame]:
        with bag:
            try:
                for index, (_, stamp_ns, data) in enumerate(bag.messages([topic])):
                    yield Frame(decode(data), stamp_ns / 1e9, f'{index:06d}')
            except (BagError, image_msgs.ImageError) as error:
                raise SourceError(f'{path}, topic {topic.name}: {error}') from error

    return Frames(f'bag {path.name}, {topic.count} images of {topic.name}', read())


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with these suffixes, numbers in their names in numeric order."""

    def order(path: Path) -> list[object]:
        parts = re.split(r'(\d+)', path.name)
        return [int(part) if part.isdigit() else part for part in parts]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in suffixes), key=order)
