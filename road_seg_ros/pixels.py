"""What happens to the pixels of an image before the network, and to its answer behind it."""

from __future__ import annotations

import math

import cv2
import numpy as np


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


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a label or mask, uint8 (H, W), to size, (height, width), without interpolation."""
    return cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def threshold_level(threshold: float) -> int:
    """Return the smallest 8-bit confidence, 0..255, that a threshold (0..1) calls road."""
    return math.ceil(threshold * 255 - 1e-9)  # less a hair, for thresholds like 3 / 255


def threshold_mask(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """
    Return 255 where confidence / 255 >= threshold, else 0, as uint8.

    confidence: uint8 (H, W); threshold: 0..1.
    """
    level = threshold_level(threshold)
    return cv2.threshold(confidence, level - 1, 255, cv2.THRESH_BINARY)[1]  # above level - 1


def class_confidence(confidence: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """
    Return how sure the network is of the class in the mask, road or not.

    confidence: uint8 (H, W), 255 x road probability; mask: uint8 (H, W), 255 for road, else 0.
    Returns uint8 (H, W), 255 x the probability of that class.
    """
    return cv2.absdiff(confidence, cv2.bitwise_not(mask))
