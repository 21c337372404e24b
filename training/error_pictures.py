"""Pictures of what a model gets wrong, the worst image first."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from road_seg_ros.image_files import write_image
from road_seg_ros.metrics import NOT_SCORED, ROAD

# BGR: right is green, road that was missed red, what was wrongly called road blue.
TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = (0, 255, 0), (0, 0, 255), (255, 0, 0)
UNRANKED = '.unranked'  # the folder of pictures before all are known
LEGEND = (('right', TRUE_POSITIVE), ('missed', FALSE_NEGATIVE), ('false', FALSE_POSITIVE))


class ErrorPictures:
    """A folder of one PNG per image, named by rank, F1 in percent and image."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, or empty it of the pictures of an evaluation before."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob('[0-9]*_f1_*.png'):
            old.unlink()
        self._folder = folder
        self._unranked = folder / UNRANKED
        shutil.rmtree(self._unranked, ignore_errors=True)  # of an evaluation that was ended
        self._unranked.mkdir()
        self._f1_by_name: dict[str, float] = {}

    def add(self, name: str, image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> None:
        """Draw one image; arguments as `draw_errors`. OSError if it cannot be written."""
        self._f1_by_name[name] = _f1(mask, label)
        picture = draw_errors(image, mask, label)
        for index, (text, color) in enumerate(LEGEND):
            style = (5 + 110 * index, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.8
            cv2.putText(picture, text, *style, (0, 0, 0), 6, cv2.LINE_AA)  # its outline
            cv2.putText(picture, text, *style, color, 2, cv2.LINE_AA)
        write_image(self._unranked / f'{name}.png', picture)

    def rank(self) -> None:
        """Name the pictures by rank, the worst F1 first."""
        for rank, name in enumerate(sorted(self._f1_by_name, key=self._f1_by_name.get)):
            ranked = f'{rank:04d}_f1_{100 * self._f1_by_name[name]:.1f}_{name}.png'
            (self._unranked / f'{name}.png').replace(self._folder / ranked)
        self._unranked.rmdir()


def draw_errors(image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> np.ndarray:
    """
    Return the image with right road green, missed road red and false road blue; unscored darker.

    image: uint8 (H, W, 3) BGR; mask: uint8 (H, W), road where not 0; label: as Pair.read_label.
    """
    called, road, scored = mask > 0, label == ROAD, label != NOT_SCORED
    picture = image.copy()
    picture[~scored] //= 2
    for where, color in (
        (called & road, TRUE_POSITIVE),
        (~called & road, FALSE_NEGATIVE),
        (called & ~road & scored, FALSE_POSITIVE),
    ):
        picture[where] = picture[where] // 2 + np.array(color, np.uint8) // 2
    return picture


def _f1(mask: np.ndarray, label: np.ndarray) -> float:
    called, road, scored = mask > 0, label == ROAD, label != NOT_SCORED
    hits = np.count_nonzero(called & road)
    total = np.count_nonzero(called & scored) + np.count_nonzero(road)
    return 2 * hits / total if total else 1.0
