"""What kitti_to_bag writes of each image: its pixels or file, its calibration and ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros.bags.reading import BAG_SUFFIXES
from road_seg_ros.frames import is_bag, open_frames, open_sequence
from road_seg_ros.image_files import (
    DEFAULT_RATE_HZ,
    IMAGE_SUFFIXES,
    ImageFile,
    ImageSequence,
    SourceError,
    even_stamps,
    expanded,
    is_turned,
    require_image,
)
from road_seg_ros.image_header import JPEG_START, read_size
from road_seg_ros.kitti import (
    LEFT_COLOUR,
    NS,
    ROAD,
    Calibration,
    read_calibration,
    read_label,
    read_stamps,
)
from road_seg_ros.metrics import TRUTH

START_NS = NS  # of recordings without a date: a stamp of 0 means `no time` in ROS


@dataclass(frozen=True)
class Picture:
    """
    What is written of one image.

    data: uint8 (H, W, 3) BGR, or with a `format` the uint8 bytes of a JPEG file. ground_truth:
    uint8 (H, W), with the values of TRUTH.
    """

    name: str
    width: int
    height: int
    data: np.ndarray
    format: str = ''
    calibration: Calibration | None = None
    ground_truth: np.ndarray | None = None


@dataclass(frozen=True)
class Shot:
    """An image that is still to be read. read raises SourceError if it cannot be used."""

    stamp_ns: int
    read: Callable[[], Picture]


@dataclass(frozen=True)
class Recording:
    """
    What there is to convert.

    count: of images; None for a video, which shows it only while read. notes: what a user should
    know of it.
    """

    description: str
    shots: Iterator[Shot]
    count: int | None
    sizes_differ: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """
    What to make of a source.

    rate: Hz; None for the recorded times, and 10 Hz where there are none. camera: 0..3 of KITTI's;
    None for left colour. calibration: a KITTI file to use instead of the source's own. quality: of
    JPEG, 1..100; images that are JPEG already are passed through as they are, unless Exif has them
    turned. mixed_sizes: accept images of different sizes, as KITTI Road always has.
    """

    rate: float | None = None
    camera: int | None = None
    calibration: Path | None = None
    camera_info: bool = True
    ground_truth: bool = True
    compressed: bool = False
    quality: int = 90
    mixed_sizes: bool = False


def open_recording(source: str | Path, choices: Choices) -> Recording:
    """
    Look at a source without reading its images.

    source: KITTI raw, odometry or Road, a folder of images, an image or a video. SourceError says
    what is wrong with it, or with what was chosen.
    """
    path = expanded(source)
    if not path.exists():
        raise SourceError(f'{source} does not exist')
    if path.suffix.lower() in BAG_SUFFIXES or (path.is_dir() and is_bag(path)):
        raise SourceError(f'{source} is a rosbag2 already')
    if path.is_dir():
        return _open_files(open_sequence(path, choices.camera), choices)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        sequence = ImageSequence('one image', [ImageFile(path)], camera=choices.camera)
        return _open_files(sequence, choices)
    return _open_video(path, choices)


def _open_files(sequence: ImageSequence, choices: Choices) -> Recording:
    files = sequence.files
    recorded = read_stamps(sequence) if choices.rate is None else None
    stamps = recorded or even_stamps(len(files), choices.rate or DEFAULT_RATE_HZ)
    offset = START_NS if stamps[0] == 0 else 0
    files, calibration_note = _with_calibration(files, choices)
    files = [
        file if choices.ground_truth and _has_label(file) else replace(file, label=None)
        for file in files
    ]
    unlabelled = sum(file.label is None for file in files)
    reader = _Reader(choices, _camera(sequence.camera), sequence.rectified)
    shots = (
        Shot(stamp + offset, partial(reader.read, file))
        for stamp, file in zip(stamps, files, strict=True)
    )
    notes = [calibration_note] if calibration_note else []
    if recorded is None and choices.rate is None:
        notes.append('no recorded times: 10 Hz assumed, --rate changes it')
    if sequence.kind == ROAD and choices.ground_truth and sequence.camera != LEFT_COLOUR:
        notes.append(f'no ground truth: it belongs to camera {LEFT_COLOUR}')
    elif 0 < unlabelled < len(files):
        notes.append(f'{unlabelled} of {len(files)} images have no ground truth')
    differ = choices.mixed_sizes or sequence.kind == ROAD  # which is of several drives
    return Recording(sequence.description, shots, len(files), differ, tuple(notes))


def _open_video(path: Path, choices: Choices) -> Recording:
    video = open_frames(path)
    [file], note = _with_calibration([ImageFile(path)], choices)
    reader = _Reader(choices, _camera(choices.camera), rectified=True)
    shots = (
        Shot(
            START_NS + (round(index * 1e9 / choices.rate) if choices.rate else frame.stamp_ns),
            partial(reader.take, file, frame.image),
        )
        for index, frame in enumerate(video.frames)
    )
    notes = (note,) if note else ()
    return Recording(video.description, shots, None, choices.mixed_sizes, notes)


def _camera(number: int | None) -> int:
    return LEFT_COLOUR if number is None else number


def _with_calibration(files: list[ImageFile], choices: Choices) -> tuple[list[ImageFile], str]:
    """Return the files with the calibration that was chosen, and a note if there is none."""
    if not choices.camera_info:
        return [replace(file, calibration=None) for file in files], ''
    if choices.calibration is not None:
        files = [replace(file, calibration=choices.calibration) for file in files]
    wanted = [file.calibration for file in files if file.calibration is not None]
    if not wanted:
        return files, 'no calibration, so no camera_info: --calibration FILE adds it'
    if missing := [path for path in wanted if not path.is_file()]:
        problem = (
            f'the calibration of {len(missing)} of {len(files)} images is missing, the first '
            f'{missing[0]}'
        )
        # KITTI Road has one for each image, and is used without.
        if any(file.calibration and file.calibration.stem == file.path.stem for file in files):
            note = f'{problem}, so no camera_info: --calibration FILE adds it'
            return [replace(file, calibration=None) for file in files], note
        raise SourceError(
            f'{problem}; --calibration FILE names another, --no-camera-info does without'
        )
    return files, ''


def _has_label(file: ImageFile) -> bool:
    return file.label is not None and file.label.is_file()


@dataclass(frozen=True)
class _Reader:
    """Turns images into pictures, in several threads at once."""

    choices: Choices
    camera: int
    rectified: bool
    # One file for all images, except for KITTI Road.
    read_calibration: Callable[[Path, int, bool], Calibration] = field(
        default_factory=lambda: lru_cache(2)(read_calibration)
    )

    def read(self, file: ImageFile) -> Picture:
        try:
            data = np.fromfile(file.path, np.uint8)
        except OSError as error:
            raise SourceError(f'{file.path} cannot be read: {error.strerror}') from error
        is_jpeg = data[: len(JPEG_START)].tobytes() == JPEG_START
        # Nobody who decodes a ROS message turns it as Exif asks.
        if self.choices.compressed and is_jpeg and not is_turned(data):
            return self._complete(file, data, 'jpeg')
        return self.take(file, require_image(data, file.path))

    def take(self, file: ImageFile, image: np.ndarray) -> Picture:
        """Return the picture of pixels, uint8 (H, W, 3) BGR."""
        if not self.choices.compressed:
            return self._complete(file, image)
        quality = (cv2.IMWRITE_JPEG_QUALITY, self.choices.quality)
        _, data = cv2.imencode('.jpg', image, quality)
        return self._complete(file, data.reshape(-1), 'bgr8; jpeg compressed bgr8')

    def _complete(self, file: ImageFile, data: np.ndarray, format: str = '') -> Picture:
        """Add what belongs to an image, and see that it fits."""
        if format:
            try:
                width, height = read_size(data.tobytes())
            except ValueError as error:
                raise SourceError(f'{file.path} cannot be decoded: {error}') from error
        else:
            height, width = data.shape[:2]
        calibration = ground_truth = None
        if file.calibration is not None:
            calibration = self.read_calibration(file.calibration, self.camera, self.rectified)
            if calibration.size not in (None, (width, height)):
                made_for = 'x'.join(map(str, calibration.size))
                raise SourceError(
                    f'{file.path} is {width}x{height}, {file.calibration} is for {made_for}; '
                    '--no-camera-info does without'
                )
        if file.label is not None:
            label = read_label(file.label)
            if label.shape != (height, width):
                raise SourceError(
                    f'{file.label} is {label.shape[1]}x{label.shape[0]}, its image '
                    f'{width}x{height}; they must have the same size'
                )
            ground_truth = np.empty_like(label)
            for value, shown in TRUTH.items():
                ground_truth[label == value] = shown
        return Picture(str(file.path), width, height, data, format, calibration, ground_truth)
