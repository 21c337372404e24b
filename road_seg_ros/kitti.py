"""
A KITTI download, as it is unpacked: its images with their times, calibration and ground truth.

Geiger, Lenz, Stiller & Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR 2013, and the
road and odometry benchmarks made of it. Cameras 0 and 1 are grey, 2 and 3 colour; even ones are
on the left.

    KITTI raw        2011_09_26/calib_cam_to_cam.txt
                     2011_09_26/2011_09_26_drive_0001_sync/image_02/{timestamps.txt,data/*.png}
    KITTI odometry   sequences/00/{calib.txt,times.txt,image_2/*.png}
    KITTI Road       {training,testing}/{image_2/um_000000.png,calib/um_000000.txt}
                     training/gt_image_2/um_road_000000.png
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from road_seg_ros import metrics
from road_seg_ros.image_files import (
    ImageFile,
    ImageSequence,
    SourceError,
    list_images,
    read_image,
    write_image,
)

LEFT_COLOUR = 2
ROAD, RAW, ODOMETRY = 'KITTI Road', 'KITTI raw', 'KITTI odometry'
SPLITS = ('training', 'testing')
SEARCH_DEPTH = 3  # folders above a drive or sequence
NS = 1_000_000_000
STAMPS = range(2**31 * NS)  # what a ROS stamp can hold: until 2038


@dataclass(frozen=True)
class Calibration:
    """
    The camera model of an image, in the terms of sensor_msgs/CameraInfo.

    Matrices row by row. The fourth column of p is KITTI's: from camera 0, not from the left
    camera of the pair as in image_proc. size: width and height it was made for, where KITTI says.
    """

    k: tuple[float, ...]  # 3x3
    d: tuple[float, ...]  # plumb_bob: k1, k2, p1, p2, k3
    r: tuple[float, ...]  # 3x3
    p: tuple[float, ...]  # 3x4
    size: tuple[int, int] | None = None


class CalibrationFile:
    """
    A calibration file of KITTI: lines of a name, a colon and numbers.

    SourceError, here and by `numbers`, names the file and what it lacks or has wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            lines = _read_lines(path)
        except OSError as error:
            raise SourceError(f'{path} cannot be read: {error.strerror}') from error
        parts = (line.partition(':') for line in lines)
        self._lines = {name.strip(): text for name, colon, text in parts if colon}

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return the numbers behind a name, which must be so many and finite."""
        if name not in self:
            raise SourceError(f'{self._path} has no line {name}:')
        text = self._lines[name].strip()
        try:
            values = tuple(map(float, text.split()))
        except ValueError as error:
            raise SourceError(f'{self._path}, {name}: {error}') from error
        if len(values) != count or not all(map(math.isfinite, values)):
            raise SourceError(f'{self._path}, {name}: must be {count} numbers, is {text!r}')
        return values


def find_sequence(folder: Path, camera: int | None = None) -> ImageSequence | None:
    """
    Return the images of a KITTI folder, or None if it is not laid out as one.

    folder: a raw drive, an odometry sequence, KITTI Road or its training or testing, the images of
    one of these, or a folder above. camera: 0..3; left out, left colour if it is there.
    SourceError if there are several drives to choose from, or no images of the camera.
    """
    folder = folder.resolve()
    inside = folder.parent if folder.name == 'data' else folder
    number = _camera_number(inside)
    if _cameras(inside.parent).get(number) in (folder, folder / 'data'):
        root = inside.parent
    else:
        number, root = None, _find_root(folder)
    if root is None:
        return None
    cameras = _cameras(root)
    if camera is None:
        left = LEFT_COLOUR if LEFT_COLOUR in cameras else min(cameras)
        camera = left if number is None else number
    if camera not in cameras:
        raise SourceError(
            f'{root} has no images of camera {camera}; it has those of '
            f'{", ".join(map(str, sorted(cameras)))}'
        )
    return _describe(root, cameras[camera], camera)


def read_stamps(sequence: ImageSequence) -> list[int] | None:
    """
    Return the recorded time of each image in ns, or None if none were recorded.

    KITTI raw: since 1970, with its clock taken for UTC; odometry: since the first image.
    SourceError if the times are not one for each image, each later than the one before.
    """
    file = sequence.times
    if file is None or not file.is_file():
        return None
    lines = [line.strip() for line in _read_lines(file) if line.strip()]
    parse = _date_ns if sequence.kind == RAW else _seconds_ns
    try:
        stamps = [parse(line) for line in lines]
    except (ValueError, InvalidOperation) as error:
        raise SourceError(f'{file} holds a line that is no time: {error}') from error
    if strange := [line for line, ns in zip(lines, stamps, strict=True) if ns not in STAMPS]:
        raise SourceError(f'{file} holds a time that a ROS stamp cannot have: {strange[0]}')
    if len(stamps) != len(sequence.files):
        raise SourceError(
            f'{file} holds {len(stamps)} times for the {len(sequence.files)} images in '
            f'{sequence.folder}; something is missing (kitti_to_bag --rate 10 does without times)'
        )
    for index in range(1, len(stamps)):
        if stamps[index] <= stamps[index - 1]:
            raise SourceError(
                f'{file} does not go forward: {lines[index]} in line {index + 1} follows '
                f'{lines[index - 1]} (kitti_to_bag --rate 10 does without times)'
            )
    return stamps


def read_calibration(path: Path, camera: int, rectified: bool) -> Calibration:
    """
    Read one camera's model from calib_cam_to_cam.txt (raw), calib.txt (odometry) or KITTI Road's.

    rectified: whether the images are, as all are but those of a raw `_extract` drive. Their model
    has no distortion, and its k is the left part of p. SourceError says what is wrong.
    """
    file = CalibrationFile(path)
    numbers = file.numbers

    def size(key: str) -> tuple[int, int] | None:
        return tuple(map(round, numbers(key, 2))) if key in file else None

    of_raw = f'P_rect_{camera:02d}'
    p = numbers(of_raw if of_raw in file else f'P{camera}', 12)
    if rectified:
        k = (*p[0:3], *p[4:7], *p[8:11])
        identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
        return Calibration(k, (0.0,) * 5, identity, p, size(f'S_rect_{camera:02d}'))
    return Calibration(
        numbers(f'K_{camera:02d}', 9),
        numbers(f'D_{camera:02d}', 5),
        numbers(f'R_rect_{camera:02d}', 9),
        p,
        size(f'S_{camera:02d}'),
    )


def read_label(path: Path) -> np.ndarray:
    """
    Read a KITTI Road label: uint8 (H, W) of NOT_ROAD, ROAD and NOT_SCORED of `metrics`.

    Colours as in its devkit: road where blue > 0, scored where red > 0; black is another
    carriageway. SourceError if it cannot be decoded or has a colour that such labels do not have.
    """
    bgr = read_image(path)
    strange = (bgr[..., 1] > 0) | (bgr[..., ::2] % 255 > 0).any(-1)
    if strange.any():
        blue, green, red = bgr[strange][0]
        raise SourceError(
            f'{path} has {np.count_nonzero(strange)} pixels of unexpected colours, '
            f'the first #{red:02x}{green:02x}{blue:02x}; a label is a PNG of pure red (not '
            'road), magenta (road) and black (not scored)'
        )
    label = np.where(bgr[..., 0], metrics.ROAD, metrics.NOT_ROAD).astype(np.uint8)
    label[bgr[..., 2] == 0] = metrics.NOT_SCORED
    return label


def write_label(path: Path, label: np.ndarray) -> None:
    """Write a label, uint8 (H, W) as `read_label` returns it, as a PNG. OSError if that fails."""
    bgr = np.zeros((*label.shape, 3), np.uint8)
    bgr[label == metrics.ROAD, 0] = 255
    bgr[label != metrics.NOT_SCORED, 2] = 255
    write_image(path, bgr)


def _camera_number(folder: Path) -> int | None:
    """Return 2 for image_2 (odometry, Road) and image_02 (raw)."""
    match = re.fullmatch(r'image_0?([0-3])', folder.name)
    return int(match[1]) if match else None


def _cameras(root: Path) -> dict[int, Path]:
    """Return the folders with the images of each camera of a drive or sequence."""
    cameras = {}
    for folder in sorted(root.glob('image_*')):
        images = folder / 'data' if len(folder.name) == len('image_02') else folder
        if (number := _camera_number(folder)) is not None and images.is_dir():
            cameras[number] = images
    return cameras


def _find_root(folder: Path) -> Path | None:
    """Return the drive, sequence or Road split at a folder or below it."""
    for depth in range(SEARCH_DEPTH + 1):
        parents = {path.parent for path in folder.glob('*/' * depth + 'image_*')}
        roots = sorted(root for root in parents if _cameras(root))
        # Of KITTI Road as a whole, that with the ground truth.
        roots = [r for r in roots if r.name != SPLITS[1] or r.with_name(SPLITS[0]) not in roots]
        if len(roots) > 1:
            names = ', '.join(str(root.relative_to(folder)) for root in roots[:5])
            raise SourceError(
                f'{folder} holds {len(roots)} drives or sequences; give one of them: {names}'
                f'{", ..." if len(roots) > 5 else ""}'
            )
        if roots:
            return roots[0]
    return None


def _describe(root: Path, images: Path, camera: int) -> ImageSequence:
    paths = list_images(images)
    if images.name == 'data':
        calibration = root.parent / 'calib_cam_to_cam.txt'
        files = [ImageFile(path, calibration) for path in paths]
        rectified = not root.name.endswith('_extract')
        return ImageSequence(RAW, files, images.parent / 'timestamps.txt', camera, rectified)
    if root.name in SPLITS:
        files = [_road_file(root, path, camera) for path in paths]
        return ImageSequence(ROAD, files, camera=camera)
    files = [ImageFile(path, root / 'calib.txt') for path in paths]
    return ImageSequence(ODOMETRY, files, root / 'times.txt', camera)


def _road_file(root: Path, path: Path, camera: int) -> ImageFile:
    category, _, number = path.stem.rpartition('_')
    label = None
    if camera == LEFT_COLOUR:  # of the others there is none, and this one's would look right
        label = root / 'gt_image_2' / f'{category}_road_{number}.png'
    return ImageFile(path, root / 'calib' / f'{path.stem}.txt', label)


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding='utf-8-sig', errors='replace').splitlines()


def _date_ns(line: str) -> int:
    """Turn `2011-09-26 13:02:25.964389445` into ns since 1970, exactly."""
    whole, _, fraction = line.partition('.')
    moment = datetime.strptime(whole, '%Y-%m-%d %H:%M:%S').replace(tzinfo=timezone.utc)
    if not re.fullmatch(r'\d{0,9}', fraction):
        raise ValueError(f'{line!r}')
    return round(moment.timestamp()) * NS + int(fraction.ljust(9, '0'))


def _seconds_ns(line: str) -> int:
    """Turn `1.037875e-01` seconds into ns, exactly."""
    seconds = Decimal(line)
    if not seconds.is_finite():
        raise ValueError(f'{line!r}')
    return round(seconds * NS)
