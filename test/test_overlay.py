"""The overlay tints the road and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from road_seg_ros.overlay import draw_overlay


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[10:] = 255
    return mask


def test_road_is_blended_and_the_rest_untouched(image: np.ndarray, mask: np.ndarray) -> None:
    overlay = draw_overlay(image, mask, (200, 100, 50), 0.25)
    np.testing.assert_array_equal(overlay[:10], image[:10])
    expected = 0.75 * image[10:] + 0.25 * np.array([50, 100, 200])  # RGB given, BGR drawn
    assert np.abs(overlay[10:] - expected).max() <= 1


def test_alpha_runs_from_the_image_to_the_flat_colour(image: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_overlay(image, mask, (1, 2, 3), 0.0), image)
    assert (draw_overlay(image, mask, (1, 2, 3), 1.0)[10:] == (3, 2, 1)).all()


def test_the_image_is_not_changed(image: np.ndarray, mask: np.ndarray) -> None:
    before = image.copy()
    draw_overlay(image, mask)
    np.testing.assert_array_equal(image, before)
