"""From an image of any size to its mask, round a network that runs on the CPU."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from road_seg_ros.checkpoint import InputSize
from road_seg_ros.engines import Segmentation, Wanted
from road_seg_ros.overlay import draw_overlay
from road_seg_ros.pixels import resize, threshold_mask


class CpuEngine(ABC):
    """
    An `Engine` on the CPU, but for the network itself.

    `submit` does the work at once: the network alone keeps every core busy.
    """

    name: str
    device = 'cpu'

    def __init__(self, size: InputSize, precision: str) -> None:
        self._size = size
        self.precision = precision

    @abstractmethod
    def road_probability(self, pixels: np.ndarray) -> np.ndarray:
        """Run the network: uint8 (H, W, 3) BGR at its own size -> float32 (H, W), 0..1."""

    @abstractmethod
    def close(self) -> None:
        """Free the memory of the network."""

    def submit(self, image: np.ndarray, wanted: Wanted) -> Callable[[], Segmentation]:
        """Segment a uint8 (H, W, 3) BGR image of any size. See `Engine.submit`."""
        probability = self.road_probability(self._resized(image))
        mask, confidence = self._at_full_size(probability, image.shape[:2], wanted)
        result = Segmentation(mask, confidence, _overlay(image, mask, wanted))
        return lambda: result

    def stage_times(self, image: np.ndarray, wanted: Wanted) -> dict[str, float]:
        """Return the ms of resize, network, upsample_and_threshold and, if wanted, overlay."""
        times = [time.perf_counter()]

        def timed(value: Any) -> Any:
            times.append(time.perf_counter())
            return value

        pixels = timed(self._resized(image))
        probability = timed(self.road_probability(pixels))
        mask, _ = timed(self._at_full_size(probability, image.shape[:2], wanted))
        stages = ['resize', 'network', 'upsample_and_threshold']
        if wanted.tint is not None:
            timed(_overlay(image, mask, wanted))
            stages.append('overlay')
        return dict(zip(stages, (1e3 * np.diff(times)).tolist(), strict=True))

    def _resized(self, image: np.ndarray) -> np.ndarray:
        return resize(image, self._size.fit(*image.shape[:2]))

    def _at_full_size(
        self, probability: np.ndarray, size: tuple[int, int], wanted: Wanted
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return mask and, if wanted, confidence, at (height, width)."""
        if not np.isfinite(probability).all():
            raise ArithmeticError(
                f'the network answered with values that are not finite (engine {self.name}, '
                f'precision {self.precision}); try precision fp32'
            )
        if probability.shape != size:
            probability = cv2.resize(probability, size[::-1], interpolation=cv2.INTER_LINEAR)
        confidence = cv2.convertScaleAbs(probability, alpha=255.0)  # rounds
        mask = threshold_mask(confidence, wanted.threshold)
        return mask, confidence if wanted.confidence else None


def _overlay(image: np.ndarray, mask: np.ndarray, wanted: Wanted) -> np.ndarray | None:
    if wanted.tint is None:
        return None
    return draw_overlay(image, mask, wanted.tint.color, wanted.tint.alpha)
