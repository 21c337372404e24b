"""
Camera frames from wherever they are: a folder, a video, KITTI or a rosbag2.

`open_frames` looks at the path and picks the reader. Every reader yields frames one at a time, so
a long recording needs no more memory than a short one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros import synthetic
from road_seg_ros.bags.reading import (
    BAG_SUFFIXES,
    IMAGE_TYPES,
    Bag,
    BagError,
    bag_files,
    deserialize,
    find_camera,
)
from road_seg_ros.image_files import (
    DEFAULT_RATE_HZ,
    IMAGE_SUFFIXES,
    ImageFile,
    ImageSequence,
    SourceError,
    even_stamps,
    expanded,
    for_opencv,
    list_images,
    read_image,
)
from road_seg_ros.kitti import find_sequence, read_stamps

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')


@dataclass(frozen=True)
class Frame:
    """
    One image. image: uint8 (H, W, 3) BGR; name: for file names.

    stamp_ns: since 1970 where the recording says, else since its first image.
    """

    image: np.ndarray
    stamp_ns: int
    name: str


@dataclass(frozen=True)
class Frames:
    """A recording: what it is, and its frames."""

    description: str
    frames: Iterator[Frame]


def open_frames(source: str | Path) -> Frames:
    """
    Open a source of frames.

    source: a folder of images, a KITTI Road folder, a KITTI raw drive or odometry sequence (or a
    folder above it), a video, a rosbag2 folder or one of its .mcap or .db3 files, or a single
    image.
    SourceError says what is wrong with it; while reading, the frames raise it too.
    """
    path = expanded(source)
    if not path.exists():
        raise SourceError(f'{source} does not exist')
    if path.is_file():
        return _open_file(path)
    if is_bag(path):
        return _open_bag(path)
    sequence = open_sequence(path)
    stamps = read_stamps(sequence) or even_stamps(len(sequence.files))
    return Frames(sequence.description, _read_images(sequence, stamps))


def open_sequence(folder: Path, camera: int | None = None) -> ImageSequence:
    """
    Return the image files of a folder, KITTI's or any other.

    camera: 0..3, of KITTI's. SourceError says what is wrong.
    """
    if (sequence := find_sequence(folder, camera)) is not None:
        return sequence
    files = [ImageFile(path) for path in list_images(folder)]
    return ImageSequence('images', files, camera=camera)


def is_bag(path: Path) -> bool:
    """Whether a folder is a rosbag2, or what is left of one without its metadata.yaml."""
    return (path / 'metadata.yaml').is_file() or bool(bag_files(path))


def synthetic_frames(count: int, seed: int = 0) -> Frames:
    """Return a drive through a synthetic street, rendered as it is read."""

    def read() -> Iterator[Frame]:
        scenes = synthetic.drive(seed, count, rate=DEFAULT_RATE_HZ)
        for index, (stamp, scene) in enumerate(zip(even_stamps(count), scenes, strict=True)):
            yield Frame(scene.image, stamp, f'{index:06d}')

    return Frames(f'a synthetic drive of {count} frames', read())


def _open_file(path: Path) -> Frames:
    suffix = path.suffix.lower()
    if suffix in BAG_SUFFIXES:
        return _open_bag(path.parent if (path.parent / 'metadata.yaml').is_file() else path)
    if suffix in VIDEO_SUFFIXES:
        return _open_video(path)
    if suffix in IMAGE_SUFFIXES:
        sequence = ImageSequence('one image', [ImageFile(path)])
        return Frames(f'one image, {path.name}', _read_images(sequence, [0]))
    raise SourceError(
        f'{path} is not an image, video or bag; supported are '
        f'{", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES + BAG_SUFFIXES)}'
    )


def _read_images(sequence: ImageSequence, stamps: list[int]) -> Iterator[Frame]:
    paths = [file.path for file in sequence.files]
    stems = Counter(path.stem for path in paths)
    for path, stamp in zip(paths, stamps, strict=True):
        yield Frame(read_image(path), stamp, path.stem if stems[path.stem] == 1 else path.name)


def _open_video(path: Path) -> Frames:
    capture = cv2.VideoCapture(for_opencv(path))
    if not capture.isOpened():
        raise SourceError(f'{path} cannot be opened as a video')
    rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE_HZ

    def read() -> Iterator[Frame]:
        index, last = 0, -1
        try:
            while True:
                good, image = capture.read()
                if not good:
                    break
                # As the file has it, if it rises from frame to frame; it may vary.
                stamp = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if stamp <= last:
                    stamp = max(last + 1, round(index * 1e9 / rate))
                yield Frame(image, stamp, f'{index:06d}')
                index, last = index + 1, stamp
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
    topic = find_camera(bag.topics)
    if topic is None:
        there = ', '.join(map(str, bag.topics)) or 'no messages'
        bag.close()
        raise SourceError(f'{path} has no image topic; it holds {there}')

    def decode(data: bytes) -> np.ndarray:
        if topic.type == IMAGE_TYPES[0]:
            return image_msgs.image_to_bgr(deserialize(data, Image))
        return image_msgs.compressed_to_bgr(deserialize(data, CompressedImage))

    def read() -> Iterator[Frame]:
        with bag:
            try:
                for index, (_, stamp_ns, data) in enumerate(bag.messages([topic])):
                    yield Frame(decode(data), stamp_ns, f'{index:06d}')
            except (BagError, image_msgs.ImageError) as error:
                raise SourceError(f'{path}, topic {topic.name}: {error}') from error

    return Frames(f'bag {path.name}, {topic.count} images of {topic.name}', read())
