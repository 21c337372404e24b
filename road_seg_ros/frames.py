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
from road_seg_ros.image_files import (
    DEFAULT_RATE_HZ,
    IMAGE_SUFFIXES,
    ImageFile,
    ImageSequence,
    SourceError,
    even_stamps,
    list_files,
    list_images,
    read_image,
)
from road_seg_ros.kitti import find_sequence, read_stamps

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')
BAG_SUFFIXES = ('.mcap', '.db3')
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


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
    path = Path(source).expanduser()
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
    return (path / 'metadata.yaml').is_file() or bool(list_files(path, BAG_SUFFIXES))


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
        image = read_image(path)
        if image is None:
            raise SourceError(f'{path} cannot be decoded as an image')
        yield Frame(image, stamp, path.stem if stems[path.stem] == 1 else path.name)


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
                yield Frame(image, round(index * 1e9 / rate), f'{index:06d}')
                index += 1
        finally:
            capture.release()
        if not index:
            raise SourceError(f'{path} holds no frame that can be decoded')

    return Frames(f'video {path.name}, {rate:.1f} Hz', read())


def _open_bag(path: Path) -> Frames:
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SourceError(
            f'reading {path} needs the package rosbags: pip install rosbags'
        ) from error
    from sensor_msgs.msg import CompressedImage, Image

    from road_seg_ros import image_msgs

    # Files that were copied without their metadata.yaml can be read all the same.
    has_metadata = path.is_file() or (path / 'metadata.yaml').is_file()
    paths = [path] if has_metadata else list_files(path, BAG_SUFFIXES)
    try:
        reader = AnyReader(paths, default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    except Exception as error:  # a damaged file makes the reader raise almost anything
        raise SourceError(f'{path} cannot be read as a rosbag2: {error}') from error
    connections = [c for c in reader.connections if c.msgtype in IMAGE_TYPES]
    if not connections:
        topics = sorted(f'{c.topic} ({c.msgtype})' for c in reader.connections)
        reader.close()
        raise SourceError(
            f'{path} has no image topic; it holds {", ".join(topics) or "no messages"}'
        )
    counts = Counter({(c.topic, c.msgtype): 0 for c in connections})
    for connection in connections:  # a split bag has one for each of its files
        counts[connection.topic, connection.msgtype] += connection.msgcount
    [((topic, kind), count)] = counts.most_common(1)  # one camera: the one with most images
    chosen = [c for c in connections if (c.topic, c.msgtype) == (topic, kind)]

    def read() -> Iterator[Frame]:
        try:
            for index, (_, stamp_ns, data) in enumerate(reader.messages(chosen)):
                message = reader.deserialize(data, kind)
                if kind == IMAGE_TYPES[0]:
                    fields = ('height', 'width', 'encoding', 'is_bigendian', 'step')
                    ros = Image(**{name: getattr(message, name) for name in fields})
                    ros.data.frombytes(message.data.tobytes())
                    image = image_msgs.image_to_bgr(ros)
                else:
                    ros = CompressedImage(format=message.format)
                    ros.data.frombytes(message.data.tobytes())
                    image = image_msgs.compressed_to_bgr(ros)
                yield Frame(image, stamp_ns, f'{index:06d}')
        except image_msgs.ImageError as error:
            raise SourceError(f'{path}, topic {topic}: {error}') from error
        finally:
            reader.close()

    return Frames(f'bag {path.name}, {count} images of {topic}', read())
