"""
KITTI Road from its own folders: pairs of a camera image and its road label, and folds of them.

Fritsch, Kuehnl & Geiger, "A New Performance Measure and Evaluation Benchmark for Road Detection
Algorithms", ITSC 2013. Label colours as in its devkit: road where blue > 0, valid where red > 0;
what is not valid (black: another carriageway) is never scored nor trained on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from road_seg_ros.image_files import IMAGE_SUFFIXES, SourceError, read_image
from road_seg_ros.kitti import read_label
from road_seg_ros.metrics import NOT_SCORED

KITTI_CATEGORIES = ('um', 'umm', 'uu')
T = TypeVar('T')
URBAN = 'urban'  # the benchmark's name for all categories together


@dataclass(frozen=True)
class Pair:
    """One labelled image: `um_000000` of category `um`."""

    name: str
    category: str
    image_path: Path
    label_path: Path

    @property
    def number(self) -> int:
        """Return what stands behind the category in its name."""
        return int(self.name.rpartition('_')[2])

    @property
    def is_kitti(self) -> bool:
        """Whether it is called as KITTI Road's images are."""
        return self.category in KITTI_CATEGORIES

    @property
    def calibration_path(self) -> Path:
        """Return where KITTI Road keeps the calibration of this image; it need not be there."""
        return self.image_path.parent.parent / 'calib' / f'{self.name}.txt'

    def read_image(self) -> np.ndarray:
        """Return the image, uint8 (H, W, 3) BGR. SourceError if it cannot be decoded."""
        return read_image(self.image_path)

    def read_label(self) -> np.ndarray:
        """
        Return the label, uint8 (H, W) of NOT_ROAD, ROAD, NOT_SCORED.

        SourceError if it cannot be decoded or has a colour that KITTI Road labels do not have.
        """
        return read_label(self.label_path)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return image and label. SourceError if one is unreadable or their sizes differ."""
        image, label = self.read_image(), self.read_label()
        if image.shape[:2] != label.shape:
            raise SourceError(
                f'{self.label_path} is {label.shape[1]}x{label.shape[0]}, its image '
                f'{image.shape[1]}x{image.shape[0]}; they must have the same size'
            )
        if not np.any(label != NOT_SCORED):
            raise SourceError(
                f'{self.label_path} has no pixel with red > 0; KITTI Road labels are red for '
                'not road, magenta for road and black for not scored'
            )
        return image, label


def is_kitti_name(stem: str) -> bool:
    """Whether an image is called as KITTI Road's are, `um_000000`."""
    return stem.rpartition('_')[0] in KITTI_CATEGORIES


def has_kitti(pairs: Sequence[Pair]) -> bool:
    """Whether any of the images is called as KITTI Road's are."""
    return any(pair.is_kitti for pair in pairs)


def find_pairs(folder: str | Path) -> list[Pair]:
    """
    Return every labelled image under a KITTI Road folder, sorted by category and number.

    folder: holds `training/image_2/um_000000.png` (or .jpg, .webp) and
    `training/gt_image_2/um_road_000000.png`. Lane labels (`um_lane_...`) are left out.
    SourceError if there is nothing, a label has no image or an image no label, or a category is
    called URBAN.
    """
    images_dir = Path(folder) / 'training' / 'image_2'
    labels_dir = Path(folder) / 'training' / 'gt_image_2'
    for directory in (images_dir, labels_dir):
        if not directory.is_dir():
            raise SourceError(
                f'{directory} does not exist; --data takes the folder that holds '
                "training/image_2 and training/gt_image_2 (KITTI Road's own layout)"
            )
    paths = sorted(p for p in images_dir.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    images = {path.stem: path for path in paths}
    if len(images) < len(paths):
        twice = next(a for a, b in zip(paths, paths[1:], strict=False) if a.stem == b.stem)
        raise SourceError(f'{twice.stem} is there twice in {images_dir}, with two endings')
    labels = {
        f'{match[1]}_{match[2]}': path
        for path in labels_dir.iterdir()
        if path.suffix.lower() == '.png' and (match := re.fullmatch(r'(.+)_road_(\d+)', path.stem))
    }
    if ours := [name for name in images if name.rpartition('_')[0] == URBAN]:
        raise SourceError(f'{ours[0]}: {URBAN} stands for all categories; use another name')
    if not images:
        raise SourceError(f'{images_dir} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    for missing, kind, directory in (
        (images.keys() - labels.keys(), 'label', labels_dir),
        (labels.keys() - images.keys(), 'image', images_dir),
    ):
        if missing:
            raise SourceError(
                f'{len(missing)} files have no {kind} in {directory}: '
                f'{", ".join(sorted(missing)[:5])}'
            )
    pairs = [Pair(name, name.rpartition('_')[0], images[name], labels[name]) for name in images]
    return sorted(pairs, key=lambda pair: (pair.category, pair.number, pair.name))


def split_fold(pairs: Sequence[Pair], folds: int, fold: int) -> tuple[list[Pair], list[Pair]]:
    """
    Split into training and validation pairs; `fold` of `folds` validates.

    Each category is cut into `folds` runs of consecutive images, because neighbours come from the
    same drive and look alike: a random split would validate on what was trained on. The last fold
    of six is close to the val3 split of KittiSeg. With fold -1 everything trains.
    """
    training: list[Pair] = []
    validation: list[Pair] = []
    for category in sorted({pair.category for pair in pairs}):
        members = [pair for pair in pairs if pair.category == category]
        for index, pair in enumerate(members):
            chosen = index * folds // len(members) == fold
            (validation if chosen else training).append(pair)
    return training, validation


def read_all(pairs: Sequence[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Read every pair. SourceError counts the bad ones and names the first few.

    The 289 images of KITTI Road take 0.5 GB decoded, and every bad file is known before training
    starts.
    """
    return read_every([pair.read for pair in pairs], 'pairs')


def read_every(readers: Sequence[Callable[[], T]], kind: str) -> list[T]:
    """Return what each of them reads; see `require_none_bad` for what cannot be read."""
    read, errors = [], []
    for reader in readers:
        try:
            read.append(reader())
        except (SourceError, OSError) as error:
            errors.append(str(error))
    require_none_bad(errors, len(readers), kind)
    return read


def require_none_bad(errors: Sequence[str], count: int, kind: str = 'pairs') -> None:
    """Raise SourceError with the number of bad ones among so many, and the first ten."""
    if errors:
        raise SourceError('\n'.join([f'{len(errors)} of {count} {kind} are bad:', *errors[:10]]))
