"""
From an image to a drivable-road mask, without ROS.

    segmenter = RoadSegmenter.from_checkpoint()
    result = segmenter(cv2.imread('street.png'))
    cv2.imwrite('mask.png', result.mask)
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
from dataclasses import dataclass

import cv2
import numpy as np

from road_seg_ros import checkpoint, engines
from road_seg_ros.checkpoint import ModelInfo
from road_seg_ros.engines import Engine


@dataclass(frozen=True)
class Segmentation:
    """
    Where the road is in one image, at the image's own height and width.

    confidence: uint8 (H, W), round(255 x road probability).
    mask: uint8 (H, W), 255 where the confidence reaches the threshold, else 0.
    """

    confidence: np.ndarray
    mask: np.ndarray


class RoadSegmenter:
    """
    Segments images with one engine.

    `threshold` (of the road probability, 0..1) may be set at any time, from any thread; it holds
    from the next image on.
    """

    def __init__(self, engine: Engine, info: ModelInfo) -> None:
        self.engine = engine
        self.info = info
        self.threshold = info.threshold

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str] = '',
        device: str = 'auto',
        engine: str = 'auto',
        precision: str = 'auto',
    ) -> RoadSegmenter:
        """
        Load a model file and make it ready to run.

        path: as `checkpoint.find` takes it, '' for the default model. device, engine, precision:
        as `engines.create` takes them.
        CheckpointError or EngineError (both ValueErrors) say what is wrong and what to set.
        """
        network, info = checkpoint.load(path)
        segmenter = cls(engines.create(network, info, device, engine, precision), info)
        # The first run allocates and tunes; better now than on the first camera image.
        segmenter(np.zeros((info.input.height, info.input.width, 3), np.uint8))
        return segmenter

    @property
    def threshold(self) -> float:
        """The road probability from which a pixel counts as road, 0..1."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f'threshold must be in [0, 1], got {value}')
        self._threshold = float(value)

    def __call__(self, image: np.ndarray) -> Segmentation:
        """
        Segment one image.

        image: uint8 (H, W, 3) BGR, any H and W of at least 1; it is not changed.
        ValueError for any other shape or dtype; ArithmeticError if the network's answer is not
        finite.
        """
        confidence = self.confidence(image)
        return Segmentation(confidence, threshold_mask(confidence, self._threshold))

    def confidence(self, image: np.ndarray) -> np.ndarray:
        """Return round(255 x road probability), uint8 (H, W), for an image as in `__call__`."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f'image must be uint8 (H, W, 3) BGR and not empty, got {image.dtype} {image.shape}'
            )
        height, width = image.shape[:2]
        size = self.info.input.fit(height, width)
        probability = self.engine(resize(image, size))  # float32, size
        if not np.isfinite(probability).all():
            raise ArithmeticError(
                f'the network answered with values that are not finite (engine '
                f'{self.engine.name}, precision {self.engine.precision}); try precision fp32'
            )
        if (height, width) != size:
            probability = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.convertScaleAbs(probability, alpha=255.0)  # rounds

    def close(self) -> None:
        """Free the memory of the network."""
        self.engine.close()
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # not every libc has it
            ctypes.CDLL(None).malloc_trim(0)  # glibc would keep the pages for itself


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """
    Resize an image as the network was trained to see it: area-averaged when it shrinks.

    image: uint8 (H, W, 3); size: (height, width). Returns uint8 (height, width, 3).
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] > height and image.shape[1] > width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def threshold_mask(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """
    Return 255 where confidence / 255 >= threshold, else 0, as uint8.

    confidence: uint8 (H, W); threshold: 0..1.
    """
    # The smallest 8-bit confidence that counts as road; less a hair, for thresholds like 3 / 255.
    level = math.ceil(threshold * 255 - 1e-9)
    return cv2.threshold(confidence, level - 1, 255, cv2.THRESH_BINARY)[1]  # above level - 1
