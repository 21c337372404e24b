"""Draw a road mask over its image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, color: Sequence[int] = (0, 255, 0), alpha: float = 0.5
) -> np.ndarray:
    """
    Return a copy of the image with the road tinted.

    image: uint8 (H, W, 3) BGR; mask: uint8 (H, W), road where it is not 0; color: RGB, three of
    0..255; alpha: 0 (the image) to 1 (the flat colour).
    """
    overlay = image.copy()
    bgr = np.array(color[::-1], np.float64) * alpha
    tinted = cv2.convertScaleAbs(image, alpha=1.0 - alpha)
    tinted = cv2.add(tinted, (*bgr, 0.0))
    cv2.copyTo(tinted, mask, overlay)
    return overlay
