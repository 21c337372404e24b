"""From an image of any size to its mask, round a network that runs on the CPU."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from road_seg_ros.checkpoint import InputSize
from road_seg_ros.engines import Segmentation, Wanted, not_finite
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.pixels import resize, threshold_mask


class CpuEngine(ABC):
    """
    An `Engine` on the CPU, but for the network itself.

    `submit` does the work at once: the network alone keeps every core busy.
    """

    name: str
    device = 'cpu'
    from_cache = False

    def __init__(self, size: InputSize, precision: str) -> None:
        self._size = size
        self.precision = precision

    @abstractmethod
    def run(self, pixels: np.ndarray) -> np.ndarray:
        """
        Run the network on an image of its own size.

        pixels: uint8 (H, W, 3) BGR. Returns round(255 x road probability), uint8 (H, W).
        ArithmeticError, by `require_finite`, if the answer is not finite.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the memory of the network."""

    def submit(self, image: np.ndarray, wanted: Wanted) -> Callable[[], Segmentation]:
        """Segment a uint8 (H, W, 3) BGR image of any size. See `Engine.submit`."""
        confidence = self.run(self._resized(image))
        mask, confidence = _at_full_size(confidence, image.shape[:2], wanted)
        result = Segmentation(mask, confidence, _overlay(image, mask, wanted))
        return lambda: result

    def stage_times(self, image: np.ndarray, wanted: Wanted) -> dict[str, float]:
        """Return the ms of resize, network, upsample_and_threshold and, if wanted, overlay."""
        times = [time.perf_counter()]

        def timed(value: Any) -> Any:
            times.append(time.perf_counter())
            return value

        pixels = timed(self._resized(image))
        confidence = timed(self.run(pixels))
        mask, _ = timed(_at_full_size(confidence, image.shape[:2], wanted))
        stages = ['resize', 'network', 'upsample_and_threshold']
        if wanted.tint is not None:
            timed(_overlay(image, mask, wanted))
            stages.append('overlay')
        return dict(zip(stages, (1e3 * np.diff(times)).tolist(), strict=True))

    def _resized(self, image: np.ndarray) -> np.ndarray:
        return resize(image, self._size.fit(*image.shape[:2]))

    def require_finite(self, values: np.ndarray) -> None:
        """Raise ArithmeticError if one of the network's values is not finite."""
        if not np.isfinite(values).all():
            raise not_finite(self)


def _at_full_size(
    confidence: np.ndarray, size: tuple[int, int], wanted: Wanted
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Return mask and, if wanted, confidence, uint8 at (height, width) each.

    confidence: at the network's size. In 8 bits from here: the 255 levels lose nothing that
    shows, and take a tenth of the time that float32 takes.
    """
    if confidence.shape != size:
        confidence = cv2.resize(confidence, size[::-1], interpolation=cv2.INTER_LINEAR)
    return threshold_mask(confidence, wanted.threshold), confidence if wanted.confidence else None


def _overlay(image: np.ndarray, mask: np.ndarray, wanted: Wanted) -> np.ndarray | None:
    if wanted.tint is None:
        return None
    return draw_overlay(image, mask, wanted.tint.color, wanted.tint.alpha)
