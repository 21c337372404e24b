"""Image files: which they are, in what order, when they were taken; and their pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros.image_header import is_truncated

DEFAULT_RATE_HZ = 10.0  # KITTI's, for recordings without timestamps
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm')


class SourceError(ValueError):
    """A file or folder of images, labels or calibrations that cannot be used, and why."""


@dataclass(frozen=True)
class ImageFile:
    """One image of a sequence. The other files are where they belong; they need not be there."""

    path: Path
    calibration: Path | None = None
    label: Path | None = None  # KITTI Road's ground truth


@dataclass(frozen=True)
class ImageSequence:
    """The images of one camera, in the order in which they were taken."""

    kind: str  # 'KITTI raw', 'images'
    files: list[ImageFile]
    times: Path | None = None  # a file with the time of each image
    camera: int | None = None  # of KITTI's four; None where not known
    rectified: bool = True

    @property
    def folder(self) -> Path:
        """Return where the images are."""
        return self.files[0].path.parent

    @property
    def description(self) -> str:
        """Return what the sequence is, for people."""
        return f'{self.kind}: {len(self.files)} images of {self.folder}'


def even_stamps(count: int, rate: float = DEFAULT_RATE_HZ) -> list[int]:
    """Return the stamps, in ns from 0, of a camera at `rate` Hz."""
    return [round(index * 1e9 / rate) for index in range(count)]


def expanded(source: str | Path) -> Path:
    """Return a path with its `~` replaced. SourceError if there is no such user."""
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise SourceError(f'{source}: {error}') from error


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder in numeric order. SourceError if there is none."""
    if paths := list_files(folder, IMAGE_SUFFIXES):
        return paths
    raise SourceError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with these suffixes, numbers in their names in numeric order."""

    def order(path: Path) -> list[object]:
        parts = re.split(r'(\d+)', path.name)
        return [int(part) if part.isdecimal() else part for part in parts]

    return sorted((p for p in folder.iterdir() if p.suffix.lower() in suffixes), key=order)


def read_image(path: Path) -> np.ndarray:
    """Return the pixels of an image file, uint8 (H, W, 3) BGR. SourceError if it is not one."""
    return require_image(np.fromfile(path, np.uint8), path)  # cv2.imread prints a warning


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W) or (H, W, 3) BGR pixels as the name's ending says. OSError if not."""
    content = cv2.imencode(path.suffix, pixels)[1]  # not cv2.imwrite: see `for_opencv`
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OSError(f'{path} cannot be written: {error.strerror}') from error


def for_opencv(path: Path) -> str:
    """Return a path for OpenCV, which crashes on names that are no UTF-8: SourceError instead."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SourceError(f'{path!r} is not a name in UTF-8; choose another') from error
    return str(path)


def require_image(data: np.ndarray, path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Do as `decode_image` does with what a file holds; SourceError names it if it is none."""
    image = decode_image(data, flags)
    if image is None:
        raise SourceError(f'{path} cannot be decoded as an image')
    return image


def decode_image(data: np.ndarray, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """
    Return the pixels of an encoded image (uint8 bytes), or None if it is not a whole one.

    uint8 (H, W, 3) BGR, unless OpenCV's flags say otherwise. MemoryError if there is too little.
    """
    if not data.size or is_truncated(data.tobytes()):
        return None
    try:
        return cv2.imdecode(data, flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        return None  # it claims more pixels than OpenCV takes


def is_turned(data: np.ndarray) -> bool:
    """Whether `decode_image` turns or mirrors what is stored (uint8 bytes), as Exif may ask."""
    if b'exif' not in data.tobytes().lower():  # Exif in a JPEG, eXIf in PNG, EXIF in WebP
        return False
    stored = decode_image(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is not None and not np.array_equal(stored, decode_image(data))
