"""Confidence intervals are percentiles over images drawn again, category by category."""

from __future__ import annotations

import time

import numpy as np
import pytest

from road_seg_ros.metrics import NOT_ROAD, ROAD, RoadCounts
from training.bootstrap import confidence_intervals


def _counts(confidence: list[int], road: list[bool]) -> RoadCounts:
    counts = RoadCounts()
    label = np.where(road, ROAD, NOT_ROAD).astype(np.uint8)
    counts.add(np.array([confidence], np.uint8), label[None])
    return counts


def _random_counts(rng: np.random.Generator) -> RoadCounts:
    road = rng.random(200) < 0.4
    confidence = np.clip(120 * road + rng.normal(60, 60, 200), 0, 255)
    return _counts(confidence.astype(int).tolist(), road.tolist())


PERFECT = _counts([255, 255, 0, 0], [True, True, False, False])
WRONG = _counts([0, 0, 255, 255], [True, True, False, False])


def test_two_images_give_the_scores_of_the_three_ways_to_draw_them() -> None:
    intervals = confidence_intervals({'um': [PERFECT, WRONG]}, 0.5)
    # A quarter of the draws is PERFECT twice, a quarter WRONG twice: the two ends. WRONG twice is
    # best at threshold 0, where all is called road: precision 1/2, recall 1.
    assert intervals['um']['iou'] == [0.0, 100.0]
    assert intervals['um']['max_f'] == pytest.approx([200 / 3, 100.0])


def test_images_that_score_alike_leave_no_doubt() -> None:
    intervals = confidence_intervals({'um': [PERFECT] * 3, 'uu': [PERFECT] * 4}, 0.5)
    assert set(intervals) == {'urban', 'um', 'uu'}
    for bounds in intervals.values():
        assert bounds == {'max_f': [100.0, 100.0], 'iou': [100.0, 100.0]}


def test_categories_keep_their_share_of_urban() -> None:
    # Drawn from all images at once, urban would move with the share of perfect ones.
    intervals = confidence_intervals({'um': [PERFECT] * 2, 'uu': [WRONG] * 2}, 0.5)
    # Both right, both wrong: 4 of 4 + 4 called road in vain, 4 of 8 missed.
    assert intervals['urban']['iou'] == pytest.approx([100 / 3, 100 / 3])


def test_intervals_equal_the_slow_reference() -> None:
    rng = np.random.default_rng(1)
    images = {
        'um': [_random_counts(rng) for _ in range(4)],
        'uu': [_random_counts(rng) for _ in range(6)],
    }
    draws = np.random.default_rng(0)
    weights = {
        category: draws.multinomial(len(counts), [1 / len(counts)] * len(counts), 1000)
        for category, counts in images.items()
    }
    samples: dict[str, list[dict[str, float]]] = {'urban': [], 'um': [], 'uu': []}
    for index in range(1000):
        drawn = {}
        for category, counts in images.items():
            drawn[category] = RoadCounts()
            for image, times in zip(counts, weights[category][index], strict=True):
                for _ in range(times):
                    drawn[category] = drawn[category] + image
        drawn['urban'] = drawn['um'] + drawn['uu']
        for category, counts in drawn.items():
            samples[category].append(counts.scores(0.6))
    intervals = confidence_intervals(images, 0.6)
    for category, scores in samples.items():
        for name in ('max_f', 'iou'):
            ordered = sorted(score[name] for score in scores)
            # Linear between the neighbours of places 24.975 and 974.025.
            low = ordered[24] + 0.975 * (ordered[25] - ordered[24])
            high = ordered[974] + 0.025 * (ordered[975] - ordered[974])
            assert intervals[category][name] == pytest.approx([low, high])


def test_the_same_images_give_the_same_interval() -> None:
    rng = np.random.default_rng(2)
    images = {'um': [_random_counts(rng) for _ in range(5)]}
    assert confidence_intervals(images, 0.5) == confidence_intervals(images, 0.5)


def test_all_of_kitti_road_takes_little_time() -> None:
    rng = np.random.default_rng(3)
    images = {category: [_random_counts(rng)] * 97 for category in ('um', 'umm', 'uu')}
    start = time.monotonic()
    confidence_intervals(images, 0.5)
    assert time.monotonic() - start < 5
